// /api/pull: a model from the hub or a registry, told in Ollama's words.
//
// Thread: reading any; the rest the event loop.
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::ollama {

Parsed<Action> ReadPull(node::Api& api, const HttpRequest& request);

}  // namespace exo::service::ollama
