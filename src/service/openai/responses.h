// /v1/responses and what is below it: answers, conversations that go on, and responses that are
// read again.
//
// Thread: reading any; the rest the event loop.
#pragma once

#include <vector>

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::openai {

// `api` must outlive the server that serves them. They share one store.
std::vector<Route> ResponseRoutes(node::Api& api);

}  // namespace exo::service::openai
