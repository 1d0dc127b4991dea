// The bodies of /v1/chat/completions and /v1/completions, checked and turned into a
// GenerateRequest. A known field is done or refused with 400; unknown fields are ignored.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "grammar/cache.h"
#include "service/errors.h"

namespace exo::service::openai {

struct CompletionCall {
  std::vector<node::GenerateRequest> requests;  // one for each prompt; alike in all but that
  uint32_t choices = 1;                         // of each prompt, as told
  // More are drawn where the request says `best_of`: requests[0].choices; the likeliest are told.
  bool logprobs = false;  // are told
  bool echo = false;      // the prompt comes before its answers
  std::string user;       // whom the caller asks for, if it says so
  bool chat = false;
  bool stream = false;
  bool include_usage = false;
};

// OpenAI's default for /v1/completions; chat has none (what is left of the context).
inline constexpr uint32_t kDefaultCompletionTokens = 16;

Parsed<CompletionCall> ParseChatRequest(std::string_view body, grammar::Cache& grammars);
Parsed<CompletionCall> ParseCompletionRequest(std::string_view body, grammar::Cache& grammars);

}  // namespace exo::service::openai
