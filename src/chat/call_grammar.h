// What an answer must be so that its calls are ones of the tools, with arguments of their schemas:
// as a grammar for the sampler, in a model's own format.
//
// Thread: pure, any.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chat/answer_format.h"
#include "chat/gbnf_texts.h"
#include "chat/tools.h"
#include "wire/messages.h"

namespace exo::chat {

struct CallGrammarOptions {
  std::vector<ControlToken> controls;
  bool required = false;  // the answer is calls, behind what is thought
  bool thinking = false;  // the prompt has begun what is thought
  bool many = true;       // more than one call may come
  // Where nothing but its first character tells a call from text, no text begins with that.
  bool strict = false;
};

// A keyword of the schema of a tool's arguments that the format cannot hold them to, though their
// JSON could be; empty: there is none. Of schemas that compile.
std::string KeywordNotHeld(const AnswerFormat& format, const Tool& tool);

// Nullopt: what begins a call cannot be told from text, so nothing is held to a form. With
// `required` there always is a grammar.
std::optional<wire::Grammar> CallGrammar(const AnswerFormat& format, const std::vector<Tool>& tools,
                                         const CallGrammarOptions& options);

}  // namespace exo::chat
