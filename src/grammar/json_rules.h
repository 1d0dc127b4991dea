// What all JSON texts are made of: white space, texts, any value. Written once for all schemas of
// one grammar, which may be hundreds (the arguments of tools). Private to schema*.cc and gbnf.cc.
//
// Thread: one caller at a time. Owner: whoever fills `rules`, which outlives it.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "grammar/expression.h"

namespace exo::grammar {

class JsonRules {
 public:
  explicit JsonRules(Rules& rules);

  Rules& rules() { return rules_; }
  // None or little.
  ExprId space() const { return space_; }
  // `,` and white space before `part`.
  ExprId Comma(ExprId part);
  // One character in a JSON string, as itself or as any escape.
  ExprId AnyChar();
  // Any characters, and the closing quote.
  RuleId RestOfText();
  ExprId AnyText();
  ExprId AnyValue();
  // The rule of what `key` describes, and whether the caller must still define it.
  std::pair<RuleId, bool> Shared(const std::string& key);

 private:
  Rules& rules_;
  ExprId space_;
  std::optional<ExprId> any_char_;
  std::optional<RuleId> rest_, any_;
  std::map<std::string, RuleId> shared_;
};

}  // namespace exo::grammar
