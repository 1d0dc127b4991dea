// How the answer to a chat is read, and what holds its calls to the tools: from the request, the
// model's format and the prompt.
//
// Thread: pure, any; not the loop, since grammars are compiled.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat/answer_reader.h"
#include "grammar/cache.h"
#include "node/api.h"
#include "node/vocabulary.h"

namespace exo::node {

struct Reading {
  std::shared_ptr<const chat::AnswerFormat> format;
  chat::ReaderOptions options;  // make_id included
  std::optional<wire::Grammar> grammar;
  std::vector<std::string> loose_tools;  // whose arguments are not held to all of their schema
};

// Null: the answer is text and nothing else. `prompt`: what the template wrote. Errors: kInvalid (a
// tool that must be called is not there; two fields say what the answer must be), those of
// compiling the tools' schemas where a call must come.
Result<std::shared_ptr<const Reading>> PlanReading(const GenerateRequest& request,
                                                   const Vocabulary& vocabulary,
                                                   std::string_view prompt,
                                                   grammar::Cache& grammars);

// A control token that the reader of the answer must see.
bool IsShown(const Vocabulary& vocabulary, TokenId token);

}  // namespace exo::node
