// Errors in Anthropic's shape: {"type": "error", "error": {"type", "message"}, "request_id"}.
#pragma once

#include "service/http/exchange.h"
#include "service/json.h"

namespace exo::service::anthropic {

std::string NewId(const char* prefix);
Json ErrorJson(const ApiError& error);
HttpResponse ErrorResponse(const ApiError& error);

}  // namespace exo::service::anthropic
