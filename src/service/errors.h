// Errors of the node and of bodies, as the statuses and codes that clients tell apart.
#pragma once

#include <string>

#include "node/api.h"
#include "service/http/exchange.h"

namespace exo::service {

ApiError FromError(const Error& error);
// `prompt_param` is the dialect's field that holds the prompt.
ApiError FromGenerateError(const node::GenerateError& error, const std::string& prompt_param);

// Of a question about a model: kNotFound means that there is none of that name.
ApiError FromModelError(const Error& error);

// The response to `error`, with the headers that say when to try again, or that it does not help.
HttpResponse WithRetryAfter(HttpResponse response, const ApiError& error);

// 400 for a field: wrong value, or known but not done yet.
std::unexpected<ApiError> BadValue(std::string param, std::string message);
std::unexpected<ApiError> NotSupported(std::string param, std::string message = "");

}  // namespace exo::service
