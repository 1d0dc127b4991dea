// A message of MCP as one server-sent event.
#pragma once

#include <string>

#include "service/json.h"

namespace exo::service::mcp {

inline std::string Event(const Json& message) {
  return "event: message\ndata: " + Dump(message) + "\n\n";
}

}  // namespace exo::service::mcp
