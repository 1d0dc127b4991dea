#include "service/openai/errors.h"

#include "service/errors.h"

namespace exo::service::openai {

const char* ErrorType(unsigned status) {
  switch (status) {
    case 403:
      return "permission_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

Json ErrorJson(const ApiError& error) {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  return {{"error",
           {{"message", error.message},
            {"type", ErrorType(error.status)},
            {"param", or_null(error.param)},
            {"code", or_null(error.code)}}}};
}

HttpResponse ErrorResponse(const ApiError& error) {
  return WithRetryAfter({.status = error.status, .body = Dump(ErrorJson(error))}, error);
}

}  // namespace exo::service::openai
