// Anthropic's dialect: POST /v1/messages and /v1/messages/count_tokens.
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::anthropic {

// `api` must outlive the server.
Dialect MakeDialect(node::Api& api);

}  // namespace exo::service::anthropic
