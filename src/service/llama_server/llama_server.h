// llama-server's own routes: /completion, /infill, /tokenize, /detokenize, /apply-template, /props,
// /slots. It has one model: a body that names none means the one that runs, or the first.
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::llama_server {

// `api` must outlive the server.
Dialect MakeDialect(node::Api& api);

}  // namespace exo::service::llama_server
