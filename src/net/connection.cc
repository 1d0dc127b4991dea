#include "net/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "wire/codec.h"
#include "wire/limits.h"

namespace exo::net {
namespace {
// A refusal is one small frame; a peer that has not read it by then never will.
constexpr Time kLinger = std::chrono::seconds(1);
// Memory that an idle session keeps for frames.
constexpr size_t kKeepBytes = 64 << 10;
}  // namespace

Connection::Connection(EventLoop& loop, const Identity& identity, Fd fd, ProofSide side,
                       Owner& owner)
    : loop_(loop),
      owner_(owner),
      stream_(std::make_unique<TlsStream>(identity, std::move(fd), side)),
      watch_(std::make_unique<FdWatch>(loop, stream_->fd())),
      limit_(wire::kMaxHandshakeFrame),
      linger_(loop) {}

Connection::~Connection() {
  Close();
}

void Connection::Close() {
  closed_ = true;
  *alive_ = false;
  linger_.Cancel();
  watch_.reset();
  stream_.reset();
}

// A callback may close this object; nothing of it is touched then.
void Connection::Later(void (Connection::*what)()) {
  loop_.Post([this, what, alive = alive_] {
    if (*alive) (this->*what)();
  });
}

void Connection::Start() {
  Later(&Connection::Handshake);
}

void Connection::Handshake() {
  const TlsStream::Step step = stream_->Handshake();
  switch (step) {
    case TlsStream::Step::kWantRead:
      return watch_->OnReadable([this] { Handshake(); });
    case TlsStream::Step::kWantWrite:
      return watch_->OnWritable([this] { Handshake(); });
    case TlsStream::Step::kClosed:
      return Fail(stream_->error());
    case TlsStream::Step::kDone:
      break;
  }
  up_ = true;
  const auto alive = alive_;
  owner_.OnTls();
  if (*alive) ReadSome();
}

void Connection::WaitToRead() {
  watch_->OnReadable([this] { closing_ ? Discard() : ReadSome(); });
}

void Connection::ReadSome() {
  const auto alive = alive_;
  uint64_t budget = kTurnBytes;
  while (reading_ && !closing_ && failure_.empty()) {
    const auto state = buffer_.Fill(*stream_, limit_, sequences_.receive, &budget);
    if (!state) return Fail(state.error().message);
    if (*state == FrameBuffer::State::kClosed) return Fail(stream_->error());
    if (*state == FrameBuffer::State::kMore) {
      if (budget == 0) return Later(&Connection::ReadSome);
      return WaitToRead();
    }
    ++sequences_.receive;
    // Of a newer version; never before the peer is accepted.
    if (!wire::IsKnown(buffer_.header().type) && limit_ > wire::kMaxHandshakeFrame) {
      ++skipped_;
      buffer_.Clear(kKeepBytes);
      continue;
    }
    auto message = wire::DecodeMessage(buffer_.header().type, buffer_.metadata());
    if (message && buffer_.header().tensor_bytes > 0) {
      message = exo::Fail(ErrorCode::kCorrupt, "tensor bytes on a control connection");
    }
    buffer_.Clear(kKeepBytes);
    if (!message) return Fail(message.error().message);
    owner_.OnFrame(std::move(*message));
    if (!*alive) return;
  }
}

// After the last frame: reads and discards, so that the system does not reset the connection under
// it.
void Connection::Discard() {
  std::byte scrap[4096];
  for (size_t left = 64 << 10; left > 0;) {
    size_t got = 0;
    const TlsStream::Step step = stream_->Read(scrap, &got);
    if (step == TlsStream::Step::kClosed) return Fail("closed");
    if (step != TlsStream::Step::kDone) return WaitToRead();
    left -= std::min(left, got);
  }
  Fail("closed");
}

bool Connection::Send(const wire::Message& message) {
  if (closed_ || closing_ || broken_ || !failure_.empty()) return false;
  auto frame = wire::EncodeFrame(message, sequences_.send);
  if (unsent_ + frame.size() > kMaxUnsent || frame.size() > wire::kMaxControlFrame) return false;
  ++sequences_.send;
  unsent_ += frame.size();
  queue_.push_back(std::move(frame));
  // Together with what the rest of this turn sends.
  if (queue_.size() == 1 && !writing_) {
    writing_ = true;
    Later(&Connection::WriteSome);
  }
  return true;
}

void Connection::WriteSome() {
  writing_ = true;
  while (!queue_.empty()) {
    const auto& front = queue_.front();
    size_t sent = 0;
    const TlsStream::Step step = stream_->Write(std::span(front).subspan(offset_), &sent);
    if (step == TlsStream::Step::kClosed) return WriteFailed();
    if (step != TlsStream::Step::kDone) return watch_->OnWritable([this] { WriteSome(); });
    offset_ += sent;
    unsent_ -= sent;
    if (offset_ == front.size()) {
      queue_.pop_front();
      offset_ = 0;
    }
  }
  if (closing_ && !std::exchange(ended_, true)) stream_->WriteClose();
  switch (stream_->Flush()) {
    case TlsStream::Step::kDone:
      break;
    case TlsStream::Step::kClosed:
      return WriteFailed();
    default:
      return watch_->OnWritable([this] { WriteSome(); });
  }
  writing_ = false;
  if (!closing_) return owner_.OnSent();
  ::shutdown(stream_->fd(), SHUT_WR);
  Discard();
}

// The peer may have said why it closes, and that is still in the socket.
void Connection::WriteFailed() {
  if (closing_ || !up_ || !reading_) return Fail(stream_->error());
  broken_ = true;
  queue_.clear();
  unsent_ = offset_ = 0;
  const std::string reason = stream_->error();
  const auto alive = alive_;
  ReadSome();
  if (*alive) Fail(reason);
}

void Connection::CloseWhenSent() {
  if (closed_ || closing_) return;
  closing_ = true;
  linger_.Start(kLinger, [this] { Fail("closed"); });
  if (!writing_) {
    writing_ = true;
    Later(&Connection::WriteSome);
  }
}

void Connection::Fail(const std::string& reason) {
  if (closed_ || !failure_.empty()) return;
  failure_ = reason.empty() ? "closed" : reason;
  ReportFailure();
}

void Connection::ReportFailure() {
  const std::string reason = failure_;
  Close();
  owner_.OnClosed(reason);
}

std::unique_ptr<DataLink> Connection::Release() {
  CHECK(!reading_ && queue_.empty());
  closed_ = true;
  *alive_ = false;
  watch_.reset();
  return std::make_unique<TlsLink>(std::move(stream_), sequences_);
}

}  // namespace exo::net
