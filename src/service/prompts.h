// Raw prompts and texts to read: what is no chat.
#pragma once

#include <string>
#include <vector>

#include "node/api.h"
#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

// Of one request to a completions route: answers to all are held until the last one is there.
inline constexpr size_t kMaxPrompts = 128;
inline constexpr size_t kMaxTexts = 2048;  // to read, in one request: OpenAI's limit

// A list of token ids. Errors: 400 that names `field`.
Parsed<std::vector<TokenId>> ReadTokenIds(const Json& list, const char* field);

struct PromptRules {
  size_t most = 1;
  bool may_be_empty = false;  // a text of no bytes
};
// `field`: a text, token ids, or a list of texts or of lists of token ids; a request as `like` for
// each. Errors: 400 that names `field`.
Parsed<std::vector<node::GenerateRequest>> ReadPrompts(const Json& body, const char* field,
                                                       const node::GenerateRequest& like,
                                                       PromptRules rules);

}  // namespace exo::service
