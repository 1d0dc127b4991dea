// `exo mcp`: the MCP server of this device's node for programs that start their servers themselves
// and talk to them over standard input and output, a message of JSON-RPC in each line. The node
// answers (service/mcp); this carries the messages, each on a connection of its own.
#pragma once

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

// Returns when standard input has ended and everything is answered. A node that does not run is
// told as the answer to each message, since it may be started later. Errors: kIo: standard input or
// output is broken.
Result<void> RunMcp(const Settings& settings);

}  // namespace exo::app
