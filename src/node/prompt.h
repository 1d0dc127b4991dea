// From a request to the token ids of its prompt: template, tokenizer, filling in the middle.
// Thread: pure, any; templates and long texts take milliseconds, so not the loop.
#pragma once

#include <string>
#include <vector>

#include "node/api.h"
#include "node/vocabulary.h"

namespace exo::node {

struct Prompt {
  std::string text;  // of a chat: what the template wrote
  std::vector<TokenId> ids;
  Time text_at{};  // when the text was there (sys::Now)
};

// `local_time`: for templates that write the date, seconds since 1970. Errors: kInvalid,
// kUnsupported (what the model or this program cannot do yet), kOverloaded (template budget).
Result<Prompt> MakePrompt(const GenerateRequest& request, const Vocabulary& vocabulary,
                          int64_t local_time);

// Errors: kUnsupported (a kind that says nothing in a model that reads forward).
Result<wire::Readout> KindOfReadout(const ReadoutRequest& readout, const Vocabulary& vocabulary);
// Errors: kInvalid (a text that is not one token).
Result<std::vector<TokenId>> TokensToRead(const ReadoutRequest& readout,
                                          const Vocabulary& vocabulary);

}  // namespace exo::node
