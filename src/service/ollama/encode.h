// What is sent back: a JSON object per line, times in nanoseconds.
#pragma once

#include <memory>
#include <string>

#include "service/encoder.h"
#include "service/json.h"

namespace exo::service::ollama {

struct EncoderOptions {
  std::string model;  // as the client wrote it
  bool chat = false;
  bool stream = true;
  bool context = false;  // the token ids of prompt and answer are told at the end
};
std::unique_ptr<Encoder> MakeEncoder(EncoderOptions options);

// "2026-08-21T10:00:00Z"
std::string Timestamp(int64_t seconds);
// The answer to an order that is no question; `why` is "load" or "unload".
Json EmptyAnswer(const std::string& model, bool chat, const char* why);
// {"error": message}
Json ErrorJson(const ApiError& error);
HttpResponse ErrorResponse(const ApiError& error);
// Of a question about a model.
HttpResponse Failed(const Error& error);

}  // namespace exo::service::ollama
