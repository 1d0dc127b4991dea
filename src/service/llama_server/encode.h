// What /completion and /infill send back: an object with "content", or events of such objects.
#pragma once

#include <memory>
#include <string>

#include "service/encoder.h"
#include "service/json.h"

namespace exo::service::llama_server {

struct EncoderOptions {
  std::string model;
  bool stream = false;
  bool warms = false;  // the prompt alone was asked for: the answer has no text
};
std::unique_ptr<Encoder> MakeEncoder(EncoderOptions options);
// {"error": {"code": status, "message", "type"}}
Json ErrorJson(const ApiError& error);
HttpResponse ErrorResponse(const ApiError& error);

}  // namespace exo::service::llama_server
