// GET /v1/internal/events: one stream of server-sent events for all that a page follows.
//
// State changes of the node have their numbers as ids, so that a client that comes back goes on
// where it was (Last-Event-ID). States are told whole, at first and when they are others; which of
// the caller's conversations have changed is told once.
#pragma once

#include <memory>

#include "node/api.h"
#include "service/admin/live_states.h"
#include "service/http/dialect.h"

namespace exo::service::admin {

// What a stream is made of. `api` must outlive the server.
struct EventSources {
  node::Api& api;
  std::shared_ptr<LiveStates> states;
};

Route EventsRoute(EventSources sources);

}  // namespace exo::service::admin
