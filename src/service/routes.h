// The routes of the API: which path and method does what (docs/api.md).
#pragma once

#include <memory>

#include "node/api.h"
#include "service/exchange.h"
#include "service/limits.h"

namespace exo::service {

// `api` and `options` must outlive the router. own_port is the port that the server listens on.
std::unique_ptr<Router> MakeRouter(node::Api& api, const HttpOptions& options, uint16_t own_port);

}  // namespace exo::service
