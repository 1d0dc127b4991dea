// Errors in OpenAI's shape: {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <expected>
#include <string>

#include "base/result.h"
#include "node/api.h"
#include "service/json.h"

namespace exo::service {

struct ApiError {
  unsigned status = 400;
  std::string message;
  std::string param;  // the field that is wrong; empty: null
  std::string code;   // empty: null
};

template <class T = void>
using Parsed = std::expected<T, ApiError>;

// The `type` that goes with a status, as OpenAI names them.
const char* ErrorType(unsigned status);
Json ErrorJson(const ApiError& error);

ApiError FromError(const Error& error);
// `prompt_param` is the field that holds the prompt ("messages" or "prompt").
ApiError FromGenerateError(const node::GenerateError& error, const std::string& prompt_param);

// 400 for a field: wrong value, or known but not done yet.
std::unexpected<ApiError> BadValue(std::string param, std::string message);
std::unexpected<ApiError> NotSupported(std::string param, std::string message = "");

}  // namespace exo::service
