// What an answer must be so that its calls are ones of the tools, with arguments of their schemas:
// as a grammar for the sampler, in a model's own format.
//
// Thread: pure, any.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "chat/answer_format.h"
#include "chat/tools.h"
#include "wire/messages.h"

namespace exo::chat {

// A control token of the vocabulary that a format's texts hold.
struct ControlToken {
  std::string text;
  TokenId id = -1;
  bool ends = false;  // ends a generation
};

struct CallGrammarOptions {
  std::vector<ControlToken> controls;
  bool required = false;  // the answer is calls, behind what is thought
  bool thinking = false;  // the prompt has begun what is thought
  bool many = true;       // more than one call may come
};

// Nullopt: what begins a call cannot be told from text, so nothing is held to a form. With
// `required` there always is a grammar, but for kValues.
std::optional<wire::Grammar> CallGrammar(const AnswerFormat& format, const std::vector<Tool>& tools,
                                         const CallGrammarOptions& options);

}  // namespace exo::chat
