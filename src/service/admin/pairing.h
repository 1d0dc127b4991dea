// The internal routes about who takes part: invite, join, approve, forget, the list of trusted
// devices, and the secret. All need the admin token.
#pragma once

#include <vector>

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::admin {

std::vector<Route> PairingRoutes(node::Api& api);

}  // namespace exo::service::admin
