// Opens a data link to another node: the initiator's side, for stage and loader threads.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "engine/data_link.h"
#include "net/identity.h"
#include "wire/messages.h"

namespace exo::net {

using engine::DataLink;

struct ConnectOptions {
  std::vector<wire::Address> addresses;  // tried in order
  NodeId expected;                       // any other key is refused
  wire::Hello hello;                     // Peers::LinkHello
  Time deadline{};                       // sys::Now time
};
// Connects, does both handshakes and waits for the peer's acceptance. Blocks: stage and loader
// threads only. Errors: kDisconnected (nobody reachable), kInvalid (wrong key, refused: with the
// peer's words).
Result<std::unique_ptr<DataLink>> ConnectLink(const Identity& identity,
                                              const ConnectOptions& options);

}  // namespace exo::net
