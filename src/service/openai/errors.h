// Errors in OpenAI's shape: {"error": {"message", "type", "param", "code"}}.
#pragma once

#include "service/http/exchange.h"
#include "service/json.h"

namespace exo::service::openai {

// The `type` that goes with a status, as OpenAI names them.
const char* ErrorType(unsigned status);
Json ErrorJson(const ApiError& error);
// The whole response, with Retry-After where waiting helps.
HttpResponse ErrorResponse(const ApiError& error);

}  // namespace exo::service::openai
