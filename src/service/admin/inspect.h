// GET /v1/internal/doctor and GET /v1/internal/models/{id}: what the command line shows of a
// device's state and of a model's place.
#pragma once

#include <vector>

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::admin {

std::vector<Route> InspectRoutes(node::Api& api);

}  // namespace exo::service::admin
