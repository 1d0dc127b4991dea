// What /completion and /infill send back: an object with "content", or events of such objects.
#pragma once

#include <memory>
#include <string>

#include "service/encoder.h"
#include "service/json.h"

namespace exo::service::llama_server {

std::unique_ptr<Encoder> MakeEncoder(std::string model, bool stream);
// {"error": {"code": status, "message", "type"}}
Json ErrorJson(const ApiError& error);
HttpResponse ErrorResponse(const ApiError& error);

}  // namespace exo::service::llama_server
