// The fields that decide which tokens come: OpenAI's, and llama-server's by its names.
#pragma once

#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

inline constexpr uint32_t kMaxChoices = 32;
inline constexpr size_t kMaxStopTokenIds = 64;
inline constexpr size_t kMaxDryBreakers = 16;

// Everything but `seed` and the stop texts. `chat`: logprobs are asked for as chats do (a truth
// value and `top_logprobs`), else as text completions do (a number).
Parsed<> ReadSampler(const Json& body, bool chat, node::GenerateRequest& request);

}  // namespace exo::service
