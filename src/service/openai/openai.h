// OpenAI's dialect: chat completions, text completions and models (docs/api.md).
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::openai {

// `api` must outlive the server that serves it.
Dialect MakeDialect(node::Api& api);

}  // namespace exo::service::openai
