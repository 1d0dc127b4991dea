// The parts of an answer that tell about it: usage, timings, and where it was computed.
#pragma once

#include <span>
#include <string_view>

#include "node/api.h"
#include "service/json.h"

namespace exo::service::openai {

Json UsageJson(const node::GenerateStats& stats);
// Adds llama-server's `timings` and our `exo` object.
void AddReports(Json& json, const node::GenerateStats& stats, std::span<const TokenId> token_ids);

// The entries of `logprobs.content` of a chat.
Json ChatLogprobs(std::span<const node::SampledLogprob> tokens);
// Characters (Unicode code points) that begin in a piece of UTF-8.
size_t Characters(std::string_view text);
// The older shape of /v1/completions. `characters`: of all tokens before these, and of these after
// the call. A token's text_offset is the character in which it begins, `most` at most.
Json CompletionLogprobs(std::span<const node::SampledLogprob> tokens, size_t& characters,
                        size_t most);

}  // namespace exo::service::openai
