// The parts of an answer that tell about it: usage, timings, and where it was computed.
#pragma once

#include <span>

#include "node/api.h"
#include "service/json.h"

namespace exo::service::openai {

Json UsageJson(const node::GenerateStats& stats);
// Adds llama-server's `timings` and our `exo` object.
void AddReports(Json& json, const node::GenerateStats& stats, std::span<const TokenId> token_ids);

// The entries of `logprobs.content` of a chat.
Json ChatLogprobs(std::span<const node::SampledLogprob> tokens);
// The older shape of /v1/completions; `offset` is where in the text the first token begins.
Json CompletionLogprobs(std::span<const node::SampledLogprob> tokens, size_t offset);

}  // namespace exo::service::openai
