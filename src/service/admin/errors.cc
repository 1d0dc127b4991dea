#include "service/admin/errors.h"

#include "service/errors.h"
#include "service/json.h"

namespace exo::service::admin {

HttpResponse ErrorResponse(const ApiError& error) {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  const Json json = {{"error",
                      {{"message", error.message},
                       {"param", or_null(error.param)},
                       {"code", or_null(error.code)}}}};
  return WithRetryAfter({.status = error.status, .body = Dump(json)}, error);
}

}  // namespace exo::service::admin
