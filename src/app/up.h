// `exo up`: a node and its HTTP API until SIGINT or SIGTERM.
#pragma once

#include <string>

#include "base/result.h"
#include "node/node.h"

namespace exo::app {

inline constexpr uint16_t kDefaultApiPort = 52415;
inline constexpr uint16_t kDefaultPeerPort = 52416;

struct UpOptions {
  node::NodeOptions node;
  uint16_t api_port = kDefaultApiPort;  // 0: any free one
};
// Prints where it listens and, on a terminal, who joins. Returns after a clean stop.
Result<void> RunUp(UpOptions options);

}  // namespace exo::app
