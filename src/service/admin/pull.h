// POST /v1/internal/pull: a model from the hub or a registry, with all that is known of its way
// here, as server-sent events.
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"
#include "service/json.h"

namespace exo::service::admin {

// How far a pull is, as its answer and the stream of events tell it.
Json ProgressJson(const node::PullProgress& progress);

Route PullRoute(node::Api& api);

}  // namespace exo::service::admin
