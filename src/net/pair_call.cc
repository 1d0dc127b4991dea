#include "net/pair_call.h"

#include <algorithm>

#include "net/blocking_stream.h"

namespace exo::net {

Result<PairOutcome> CallToPair(const Identity& identity, const PairCall& call) {
  BlockingStream stream = TRY(BlockingStream::Open(identity, call.address, call.deadline));
  const SecureChannel channel = stream.tls().channel();
  const bool known = channel.peer == identity.id() ||
                     std::ranges::find(call.known, channel.peer) != call.known.end();
  if (known || (call.expected && channel.peer != *call.expected)) {
    return Fail(ErrorCode::kInvalid, "{} port {}: {} answers there ({})", call.address.host,
                call.address.port, known ? "a device that is known already" : "another device",
                channel.peer.Short());
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
