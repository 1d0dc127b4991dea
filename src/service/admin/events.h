// GET /v1/internal/events: the state changes of the node as server-sent events, with their numbers
// as ids, so that a client that comes back goes on where it was (Last-Event-ID).
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::admin {

Route EventsRoute(node::Api& api);

}  // namespace exo::service::admin
