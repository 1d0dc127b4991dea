// ConnectLink: connect, TLS and handshake of a data link, blocking in the caller's thread.
#include <algorithm>
#include <cstring>

#include "net/handshake.h"
#include "net/tls_link.h"
#include "sys/system.h"
#include "wire/codec.h"
#include "wire/limits.h"

namespace exo::net {
namespace {

// One address must not use up the time of the others.
constexpr Time kConnectTimeout = std::chrono::seconds(3);

class ExpectOne final : public Handshake::Gate {
 public:
  explicit ExpectOne(const NodeId& expected) : expected_(expected) {}
  std::optional<wire::HelloReply> CheckMember(const NodeId& peer, bool) override {
    if (peer == expected_) return std::nullopt;
    return wire::HelloReply{.code = wire::RefusalCode::kNotMember,
                            .reason = "another device answers at this address"};
  }
  std::optional<wire::HelloReply> Decide(const NodeId&, const wire::Hello&) override {
    return std::nullopt;
  }

 private:
  const NodeId expected_;
};

// What a thread does between the steps of a non-blocking connection.
Result<void> WaitFor(const TlsStream& stream, TlsStream::Step step, Time deadline) {
  if (step == TlsStream::Step::kClosed) return Fail(ErrorCode::kDisconnected, "{}", stream.error());
  pollfd fd{stream.fd(), static_cast<short>(step == TlsStream::Step::kWantWrite ? POLLOUT : POLLIN),
            0};
  if (PollUntil(&fd, 1, deadline) == 0) return Fail(ErrorCode::kDisconnected, "no answer in time");
  return {};
}

Result<Fd> Connect(const wire::Address& address, Time deadline) {
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

Result<void> SendAll(TlsStream& stream, const std::vector<wire::Message>& messages,
                     uint64_t* sequence, Time deadline) {
  for (const wire::Message& message : messages) {
    const auto frame = wire::EncodeFrame(message, (*sequence)++);
    std::span<const std::byte> rest = frame;
    while (!rest.empty()) {
      size_t sent = 0;
      const auto step = stream.Write(rest, &sent);
      if (step != TlsStream::Step::kDone) TRY(WaitFor(stream, step, deadline));
      rest = rest.subspan(sent);
    }
  }
  for (auto step = stream.Flush(); step != TlsStream::Step::kDone; step = stream.Flush()) {
    TRY(WaitFor(stream, step, deadline));
  }
  return {};
}

Result<wire::Message> Receive(TlsStream& stream, FrameBuffer& buffer, uint64_t* sequence,
                              Time deadline) {
  buffer.Clear();
  for (;;) {
    uint64_t budget = wire::kMaxHandshakeFrame;
    const auto state = TRY(buffer.Fill(stream, wire::kMaxHandshakeFrame, *sequence, &budget));
    if (state == FrameBuffer::State::kClosed)
      return Fail(ErrorCode::kDisconnected, "{}", stream.error());
    if (state == FrameBuffer::State::kMore) {
      TRY(WaitFor(stream, TlsStream::Step::kWantRead, deadline));
      continue;
    }
    ++*sequence;
    return wire::DecodeMessage(buffer.header().type, buffer.metadata());
  }
}

Result<std::unique_ptr<DataLink>> ConnectOne(const Identity& identity,
                                             const ConnectOptions& options,
                                             const wire::Address& address) {
  Fd fd = TRY(Connect(address, options.deadline));
  auto stream = std::make_unique<TlsStream>(identity, std::move(fd), ProofSide::kInitiator);
  for (auto step = stream->Handshake(); step != TlsStream::Step::kDone;
       step = stream->Handshake()) {
    TRY(WaitFor(*stream, step, options.deadline));
  }
  ExpectOne gate(options.expected);
  Handshake handshake(stream->channel(), identity.id(), nullptr, options.hello, gate);
  TlsLink::Sequences sequences;
  FrameBuffer buffer;
  TRY(SendAll(*stream, handshake.Begin(), &sequences.send, options.deadline));
  while (handshake.state() == Handshake::State::kGoing) {
    const auto message = TRY(Receive(*stream, buffer, &sequences.receive, options.deadline));
    TRY(SendAll(*stream, handshake.On(message), &sequences.send, options.deadline));
  }
  if (handshake.state() != Handshake::State::kAccepted) {
    return Fail(
        ErrorCode::kInvalid, "{}: {}",
        handshake.state() == Handshake::State::kRefused ? "refused here" : "refused by the peer",
        handshake.refusal().reason);
  }
  return std::make_unique<TlsLink>(std::move(stream), sequences);
}

}  // namespace

Result<std::unique_ptr<DataLink>> ConnectLink(const Identity& identity,
                                              const ConnectOptions& options) {
  Error last{ErrorCode::kDisconnected, "no address is known"};
  for (const wire::Address& address : options.addresses) {
    auto link = ConnectOne(identity, options, address);
    if (link) return link;
    last = Wrap(link.error(), fmt::format("link to {} at {} port {}", options.expected.Short(),
                                          address.host, address.port))
               .error();
    if (sys::Now() >= options.deadline) break;
  }
  return std::unexpected(last);
}

}  // namespace exo::net
