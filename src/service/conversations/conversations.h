// The conversations that the node keeps for people: listed, searched, read, written, exported and
// imported. Each API key has its own; callers without a key share those of the home.
#pragma once

#include <vector>

#include "node/api.h"
#include "service/conversations/stream.h"
#include "service/http/dialect.h"

namespace exo::service::conversations {

// For a dialect whose errors look like `render`. `api` must outlive the server.
std::vector<Route> MakeRoutes(node::Api& api, const Render& render);

}  // namespace exo::service::conversations
