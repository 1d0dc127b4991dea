#include "net/blocking_stream.h"

#include <algorithm>
#include <cstring>

#include "sys/system.h"
#include "wire/codec.h"
#include "wire/limits.h"

namespace exo::net {
namespace {

// One address must not use up the time of the others.
constexpr Time kConnectTimeout = std::chrono::seconds(3);

Result<Fd> ConnectWithin(const wire::Address& address, Time deadline) {
  Fd fd = TRY(BeginConnect(address, ""));
  pollfd poll{fd.get(), POLLOUT, 0};
  if (PollUntil(&poll, 1, std::min(deadline, sys::Now() + kConnectTimeout)) == 0) {
    return Fail(ErrorCode::kDisconnected, "{} port {}: no answer", address.host, address.port);
  }
  if (const int error = ConnectError(fd.get()); error != 0) {
    return Fail(ErrorCode::kDisconnected, "{} port {}: {}", address.host, address.port,
                std::strerror(error));
  }
  return fd;
}

}  // namespace

Result<BlockingStream> BlockingStream::Open(const Identity& identity, const wire::Address& address,
                                            Time deadline) {
  Fd fd = TRY(ConnectWithin(address, deadline));
  BlockingStream opened(std::make_unique<TlsStream>(identity, std::move(fd), ProofSide::kInitiator),
                        deadline);
  TlsStream& stream = *opened.stream_;
  for (auto step = stream.Handshake(); step != TlsStream::Step::kDone; step = stream.Handshake())
    TRY(opened.WaitFor(step));
  return opened;
}

// What a thread does between the steps of a non-blocking connection.
Result<void> BlockingStream::WaitFor(TlsStream::Step step) const {
  if (step == TlsStream::Step::kClosed)
    return Fail(ErrorCode::kDisconnected, "{}", stream_->error());
  pollfd fd{stream_->fd(),
            static_cast<short>(step == TlsStream::Step::kWantWrite ? POLLOUT : POLLIN), 0};
  if (PollUntil(&fd, 1, deadline_) == 0) return Fail(ErrorCode::kDisconnected, "no answer in time");
  return {};
}

Result<void> BlockingStream::Send(const std::vector<wire::Message>& messages) {
  for (const wire::Message& message : messages) {
    const auto frame = wire::EncodeFrame(message, sequences_.send++);
    std::span<const std::byte> rest = frame;
    while (!rest.empty()) {
      size_t sent = 0;
      const auto step = stream_->Write(rest, &sent);
      if (step != TlsStream::Step::kDone) TRY(WaitFor(step));
      rest = rest.subspan(sent);
    }
  }
  for (auto step = stream_->Flush(); step != TlsStream::Step::kDone; step = stream_->Flush())
    TRY(WaitFor(step));
  return {};
}

Result<wire::Message> BlockingStream::Receive() {
  buffer_->Clear();
  for (;;) {
    uint64_t budget = wire::kMaxHandshakeFrame;
    const auto state =
        TRY(buffer_->Fill(*stream_, wire::kMaxHandshakeFrame, sequences_.receive, &budget));
    if (state == FrameBuffer::State::kClosed)
      return Fail(ErrorCode::kDisconnected, "{}", stream_->error());
    if (state == FrameBuffer::State::kMore) {
      TRY(WaitFor(TlsStream::Step::kWantRead));
      continue;
    }
    ++sequences_.receive;
    return wire::DecodeMessage(buffer_->header().type, buffer_->metadata());
  }
}

std::unique_ptr<DataLink> BlockingStream::IntoLink() && {
  return std::make_unique<TlsLink>(std::move(stream_), sequences_);
}

}  // namespace exo::net
