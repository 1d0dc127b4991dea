// GET /v1/internal/requests, …/{id}/trace and DELETE …/{id}: the calls of this node's clients, and
// where the time of one went. Never a text of a prompt or an answer. A key sees and ends its own,
// and an administrator all.
#pragma once

#include <vector>

#include "node/api.h"
#include "service/http/dialect.h"
#include "service/json.h"

namespace exo::service::admin {

std::vector<Route> RequestRoutes(node::Api& api);

// {"data": [...]}: those that `caller` may see, the newest first. Thread: the event loop.
Json RequestsJson(const node::Api& api, const Caller& caller);

}  // namespace exo::service::admin
