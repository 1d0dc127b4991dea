// Errors of the internal routes: {"error": {"message", "param", "code"}}. The command line reads
// the status and the message.
#pragma once

#include "service/http/exchange.h"

namespace exo::service::admin {

// The whole response, with Retry-After where waiting helps.
HttpResponse ErrorResponse(const ApiError& error);

}  // namespace exo::service::admin
