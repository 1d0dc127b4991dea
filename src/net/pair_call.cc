#include "net/pair_call.h"

#include "net/blocking_stream.h"

namespace exo::net {

Result<PairOutcome> CallToPair(const Identity& identity, const PairCall& call) {
  BlockingStream stream = TRY(BlockingStream::Open(identity, call.address, call.deadline));
  const SecureChannel channel = stream.tls().channel();
  if (channel.peer == identity.id())
    return Fail(ErrorCode::kInvalid, "{} port {}: that is this device", call.address.host,
                call.address.port);
  if (call.expected && channel.peer != *call.expected) {
    return Fail(ErrorCode::kInvalid, "{} port {}: another device answers there ({})",
                call.address.host, call.address.port, channel.peer.Short());
  }
  PairJoiner joiner(channel, identity.id(), call.ask);
  TRY(stream.Send({joiner.Begin()}));
  while (joiner.state() == PairJoiner::State::kGoing) {
    if (auto answer = joiner.On(TRY(stream.Receive()))) TRY(stream.Send({*std::move(answer)}));
  }
  PairOutcome outcome{.peer = channel.peer};
  if (joiner.state() == PairJoiner::State::kRefused) {
    outcome.refusal = joiner.refusal();
    return outcome;
  }
  outcome.trust = joiner.trust();
  return outcome;
}

}  // namespace exo::net
