#include "net/tls_link.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "sys/system.h"
#include "wire/codec.h"

namespace exo::net {
namespace {

// A TLS record: the head of a frame and the start of its tensor share the first one.
constexpr size_t kFirstRecord = 16 << 10;
// Unread frames beyond this many bytes stop the reading, unless there are fewer than two of them.
constexpr size_t kMaxQueuedBytes = 64 << 20;

}  // namespace

TlsLink::TlsLink(std::unique_ptr<TlsStream> stream, Sequences sequences)
    : stream_(std::move(stream)), sequences_(sequences), filling_(std::make_unique<FrameBuffer>()) {
  SetLinkOptions(stream_->fd());
}

std::unexpected<Error> TlsLink::Dead(ErrorCode code, std::string reason) {
  if (!dead_) dead_ = Error{code, fmt::format("link to {}: {}", peer().Short(), reason)};
  return std::unexpected(*dead_);
}

TlsLink::Buffer TlsLink::Fresh() {
  if (free_.empty()) return std::make_unique<FrameBuffer>();
  Buffer buffer = std::move(free_.back());
  free_.pop_back();
  buffer->Clear();
  return buffer;
}

bool TlsLink::QueueIsFull() const {
  if (queue_.size() < 2) return false;
  size_t bytes = 0;
  for (const Buffer& buffer : queue_) bytes += buffer->size();
  return queue_.size() >= kMaxQueuedFrames || bytes > kMaxQueuedBytes;
}

void TlsLink::Receive() {
  drained_ = false;
  while (!dead_ && !QueueIsFull()) {
    uint64_t budget = UINT64_MAX;
    const auto state = filling_->Fill(*stream_, limit_, sequences_.receive, &budget);
    if (!state) {
      (void)Dead(state.error().code, state.error().message);
    } else if (*state == FrameBuffer::State::kClosed) {
      (void)Dead(ErrorCode::kDisconnected, stream_->error());
    } else if (*state == FrameBuffer::State::kMore) {
      drained_ = true;
      return;
    } else {
      ++sequences_.receive;
      if (wire::IsKnown(filling_->header().type)) {
        queue_.push_back(std::exchange(filling_, Fresh()));
      } else {
        filling_->Clear();  // of a newer version
      }
    }
  }
}

Result<void> TlsLink::WaitToWrite(Time deadline) {
  if (!drained_) Receive();
  pollfd fds[1] = {{stream_->fd(), POLLOUT, 0}};
  if (!QueueIsFull() && !dead_) fds[0].events |= POLLIN;
  if (PollUntil(fds, 1, deadline) == 0) {
    return Dead(ErrorCode::kDisconnected, "the peer takes no data");
  }
  if ((fds[0].revents & POLLIN) != 0) Receive();
  if (dead_) return std::unexpected(*dead_);
  return {};
}

Result<void> TlsLink::WriteAll(std::span<const std::byte> bytes, Time deadline) {
  while (!bytes.empty()) {
    size_t sent = 0;
    switch (stream_->Write(bytes, &sent)) {
      case TlsStream::Step::kDone:
        bytes = bytes.subspan(sent);
        break;
      case TlsStream::Step::kClosed:
        return Dead(ErrorCode::kDisconnected, stream_->error());
      default:
        TRY(WaitToWrite(deadline));
    }
  }
  return {};
}

Result<void> TlsLink::Send(const wire::Message& message, std::span<const std::byte> tensor,
                           Time deadline) {
  if (dead_) return std::unexpected(*dead_);
  const auto head = wire::EncodeFrame(message, sequences_.send, tensor.size());
  if (head.size() + tensor.size() > wire::kMaxDataFrame) {
    return Fail(ErrorCode::kInvalid, "a frame of {} bytes is over the limit",
                head.size() + tensor.size());
  }
  ++sequences_.send;
  const size_t room = kFirstRecord > head.size() ? kFirstRecord - head.size() : 0;
  const size_t joined = std::min(room, tensor.size());
  head_.assign(head.begin(), head.end());
  head_.insert(head_.end(), tensor.begin(), tensor.begin() + static_cast<ptrdiff_t>(joined));
  TRY(WriteAll(head_, deadline));
  TRY(WriteAll(tensor.subspan(joined), deadline));
  for (;;) {
    switch (stream_->Flush()) {
      case TlsStream::Step::kDone:
        return {};
      case TlsStream::Step::kClosed:
        return Dead(ErrorCode::kDisconnected, stream_->error());
      default:
        TRY(WaitToWrite(deadline));
    }
  }
}

Result<DataLink::Outcome> TlsLink::Take() {
  borrowed_ = std::move(queue_.front());
  queue_.pop_front();
  auto message = wire::DecodeMessage(borrowed_->header().type, borrowed_->metadata());
  if (!message) return Dead(ErrorCode::kCorrupt, message.error().message);
  borrowed_message_ = std::move(*message);
  return Outcome{Event::kFrame, {&borrowed_message_, borrowed_->tensor()}};
}

void TlsLink::Spin(Time deadline) {
  const Time end = std::min(deadline, sys::Now() + spin_);
  while (queue_.empty() && !dead_ && sys::Now() < end) Receive();
}

Result<DataLink::Outcome> TlsLink::Poll(Time deadline, int wake_fd) {
  if (borrowed_) free_.push_back(std::move(borrowed_));
  if (queue_.empty()) Receive();
  if (spin_ > Time(0)) Spin(deadline);
  for (;;) {
    if (queue_.empty()) Receive();
    if (!queue_.empty()) return Take();
    if (dead_) return std::unexpected(*dead_);
    pollfd fds[2] = {{stream_->fd(), POLLIN, 0}, {wake_fd, POLLIN, 0}};
    if (PollUntil(fds, wake_fd < 0 ? 1 : 2, deadline) == 0) return Outcome{Event::kTimeout, {}};
    if (fds[0].revents == 0 && wake_fd >= 0 && fds[1].revents != 0)
      return Outcome{Event::kWoken, {}};
  }
}

void TlsLink::SetFrameLimit(uint64_t bytes) {
  limit_ = std::min<uint64_t>(bytes, wire::kMaxDataFrame);
  filling_->Reserve(limit_);
  if (free_.empty()) free_.push_back(std::make_unique<FrameBuffer>());
  free_.back()->Reserve(limit_);
}

void TlsLink::Shutdown() {
  ::shutdown(stream_->fd(), SHUT_RDWR);
}

}  // namespace exo::net
