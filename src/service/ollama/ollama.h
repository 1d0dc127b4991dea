// Ollama's dialect, at the root: /api/chat, /api/generate, /api/tags and the others.
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::ollama {

// `api` must outlive the server.
Dialect MakeDialect(node::Api& api);

}  // namespace exo::service::ollama
