// POST /v1/internal/pull: a model from the hub or a registry, with all that is known of its way
// here, as server-sent events.
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::admin {

Route PullRoute(node::Api& api);

}  // namespace exo::service::admin
