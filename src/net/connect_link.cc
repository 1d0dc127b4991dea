// ConnectLink: connect, TLS and handshake of a data link, blocking in the caller's thread.
#include "net/connect_link.h"

#include "net/blocking_stream.h"
#include "net/handshake.h"
#include "sys/system.h"

namespace exo::net {
namespace {

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

Result<std::unique_ptr<DataLink>> ConnectOne(const Identity& identity,
                                             const ConnectOptions& options,
                                             const wire::Address& address) {
  BlockingStream stream = TRY(BlockingStream::Open(identity, address, options.deadline));
  ExpectOne gate(options.expected);
  Handshake handshake(stream.tls().channel(), identity.id(), nullptr, options.hello, gate);
  TRY(stream.Send(handshake.Begin()));
  while (handshake.state() == Handshake::State::kGoing)
    TRY(stream.Send(handshake.On(TRY(stream.Receive()))));
  if (handshake.state() != Handshake::State::kAccepted) {
    return Fail(
        ErrorCode::kInvalid, "{}: {}",
        handshake.state() == Handshake::State::kRefused ? "refused here" : "refused by the peer",
        handshake.refusal().reason);
  }
  return std::move(stream).IntoLink();
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
