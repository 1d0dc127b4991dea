#include "service/errors.h"

namespace exo::service {

ApiError FromError(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalid:
      return {400, error.message, "", "invalid_value"};
    case ErrorCode::kNotFound:
      return {404, error.message, "", "not_found"};
    case ErrorCode::kUnsupported:
      return {400, error.message, "", "not_supported"};
    case ErrorCode::kOverloaded:
      return {503, error.message, "", "overloaded"};
    case ErrorCode::kDisconnected:
      return {503, error.message, "", "device_lost"};
    case ErrorCode::kCorrupt:  // the user's file, not our fault: no client should try again
      return {422, error.message, "", "corrupt"};
    case ErrorCode::kIo:
      return {500, error.message, "", "io_error"};
    case ErrorCode::kCancelled:
      return {503, error.message, "", "canceled"};
    case ErrorCode::kDenied:
      return {403, error.message, "", "denied"};
  }
  return {500, error.message, "", ""};
}

ApiError FromGenerateError(const node::GenerateError& error, const std::string& prompt_param) {
  const std::string& message = error.error.message;
  switch (error.refusal) {
    case node::Refusal::kUnknownModel:
      return {404, message, "model", "model_not_found"};
    case node::Refusal::kBadModel: {
      ApiError answer = FromError(error.error);
      answer.param = "model";
      return answer;
    }
    case node::Refusal::kContextLength:
      return {400, message, prompt_param, "context_length_exceeded"};
    case node::Refusal::kQueueFull:
      return {429, message, "", "queue_full"};
    case node::Refusal::kNoPlan:
      return {503, message, "model", "no_plan"};
    case node::Refusal::kLost:
      return {503, message, "", "device_lost"};
    case node::Refusal::kBadInput:
      return {400, message, error.field.empty() ? prompt_param : error.field,
              error.error.code == ErrorCode::kUnsupported ? "not_supported" : "invalid_value"};
    case node::Refusal::kQuota:
      return {429, message, "", "insufficient_quota", error.retry_after_s};
    case node::Refusal::kCanceled:
      return {499, message, "", "request_canceled"};
    case node::Refusal::kNone:
      break;
  }
  return FromError(error.error);
}

ApiError FromModelError(const Error& error) {
  if (error.code == ErrorCode::kNotFound) return {404, error.message, "model", "model_not_found"};
  return FromError(error);
}

HttpResponse WithRetryAfter(HttpResponse response, const ApiError& error) {
  const bool waiting_helps = error.code != "insufficient_quota";
  uint32_t seconds = error.retry_after;
  if (seconds == 0 && waiting_helps)
    seconds = response.status == 429 ? 1 : response.status == 503 ? 5 : 0;
  if (seconds > 0) response.headers.emplace_back("Retry-After", std::to_string(seconds));
  // The official clients try again at once otherwise.
  if (!waiting_helps) response.headers.emplace_back("x-should-retry", "false");
  return response;
}

std::unexpected<ApiError> BadValue(std::string param, std::string message) {
  return std::unexpected(ApiError{400, std::move(message), std::move(param), "invalid_value"});
}

std::unexpected<ApiError> NotSupported(std::string param, std::string message) {
  if (message.empty()) {
    message = "'" + param + "' is not supported yet; leave it out or send its default";
  }
  return std::unexpected(ApiError{400, std::move(message), std::move(param), "not_supported"});
}

}  // namespace exo::service
