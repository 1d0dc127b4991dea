// The new device's call to a device that may be inviting: one connection, one try of the code.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "net/identity.h"
#include "net/pairing.h"

namespace exo::net {

struct PairCall {
  wire::Address address;
  PairJoiner::Ask ask;
  std::optional<NodeId> expected;  // any other key is refused
  std::vector<NodeId> known;       // keys that have answered already: they are told nothing more
  Time deadline{};                 // sys::Now time
};
struct PairOutcome {
  NodeId peer;                               // who answered
  std::optional<wire::PairRefused> refusal;  // unset: paired
  wire::TrustUpdate trust;                   // when paired
};
// Blocks until the deadline at most: never on the loop. Errors: kDisconnected (nobody there, or no
// exo that knows pairing), kInvalid (another key than expected, one of
// the known ones, or this device itself).
Result<PairOutcome> CallToPair(const Identity& identity, const PairCall& call);

}  // namespace exo::net
