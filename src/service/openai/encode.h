// What is sent back: OpenAI's objects, with llama-server's `timings` and our own `exo` object
// beside them.
#pragma once

#include <memory>
#include <string>
#include <vector>

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
  uint32_t prompts = 1;
  uint32_t choices = 1;  // of each prompt, that are told
  uint32_t drawn = 1;    // of each prompt; more than told: the likeliest are (not in streams)
  bool logprobs = false;
  std::vector<std::string> echo = {};  // of each prompt: what comes before its answers; or none
};

std::unique_ptr<Encoder> MakeEncoder(EncoderOptions options);

}  // namespace exo::service::openai
