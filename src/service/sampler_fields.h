// The fields that decide which tokens come: OpenAI's, and llama-server's by its names.
#pragma once

#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

inline constexpr uint32_t kMaxChoices = 32;
inline constexpr size_t kMaxStopTokenIds = 64;
inline constexpr size_t kMaxDryBreakers = 16;

// What differs between dialects.
struct SamplerForm {
  // Logprobs are asked for as chats do (a truth value and `top_logprobs`), else as text completions
  // do (a number).
  bool chat = true;
  const Json* defaults = nullptr;  // in place of OpenAI's
};
// Everything but `seed` and the stop texts, `lora` too; notes what is given (service/presets.h).
Parsed<> ReadSampler(const Json& body, SamplerForm form, node::GenerateRequest& request);

// Of these, what decides between tokens, and only what `body` has.
Parsed<> ReadSettings(const Json& body, node::GenerateRequest& request);

}  // namespace exo::service
