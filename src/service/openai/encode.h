// What is sent back: OpenAI's objects, with llama-server's `timings` and our own `exo` object
// beside them.
#pragma once

#include <memory>
#include <string>

#include "service/encoder.h"

namespace exo::service::openai {

struct EncoderOptions {
  std::string id;            // "chatcmpl-..." or "cmpl-..."
  std::string model;         // as the client wrote it
  std::string prompt_param;  // the field that errors of the prompt name
  int64_t created = 0;       // seconds since 1970
  bool chat = false;         // else a text completion
  bool stream = false;
  bool include_usage = false;  // streams: a chunk of usage at the end
  uint32_t choices = 1;
  bool logprobs = false;
};

std::unique_ptr<Encoder> MakeEncoder(EncoderOptions options);

}  // namespace exo::service::openai
