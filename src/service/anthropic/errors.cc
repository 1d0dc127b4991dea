#include "service/anthropic/errors.h"

#include "service/errors.h"
#include "sys/files.h"

namespace exo::service::anthropic {
namespace {

const char* TypeOf(unsigned status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
    case 529:
      return "overloaded_error";
    default:
      return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

}  // namespace

std::string NewId(const char* prefix) {
  return fmt::format("{}{:016x}{:016x}", prefix, sys::RandomValue<uint64_t>(),
                     sys::RandomValue<uint64_t>());
}

Json ErrorJson(const ApiError& error) {
  return {{"type", "error"},
          {"error", {{"type", TypeOf(error.status)}, {"message", error.message}}}};
}

HttpResponse ErrorResponse(const ApiError& error) {
  const std::string id = NewId("req_");
  Json json = ErrorJson(error);
  json["request_id"] = id;
  HttpResponse response = WithRetryAfter({.status = error.status, .body = Dump(json)}, error);
  response.headers.emplace_back("request-id", id);
  return response;
}

}  // namespace exo::service::anthropic
