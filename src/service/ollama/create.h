// /api/create and /api/copy: names with defaults over models that are here (node::Preset).
//
// Thread: reading any; the rest the event loop.
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::ollama {

Parsed<Action> ReadCreate(node::Api& api, const HttpRequest& request);
Parsed<Action> ReadCopy(node::Api& api, const HttpRequest& request);

}  // namespace exo::service::ollama
