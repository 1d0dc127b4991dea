// The Model Context Protocol over streamable HTTP (docs/mcp.md): `/mcp`. A client calls this node's
// models, devices and plans as tools.
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::mcp {

// `api` must outlive the server.
Dialect MakeDialect(node::Api& api);

}  // namespace exo::service::mcp
