// Regular expressions as JSON schema's `pattern` and the field `regex` have them: ECMA-262 with the
// flag u, as far as its language is regular. What is not (look-around, back references, word
// boundaries) and Unicode properties are refused by name.
//
// Thread: pure.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "grammar/char_dfa.h"
#include "grammar/expression.h"

namespace exo::grammar {

struct Regex {
  enum class Kind : uint8_t { kSet, kSequence, kChoice, kRepeat, kBegin, kEnd };
  Kind kind = Kind::kSequence;
  CharSet set = {};
  std::vector<Regex> parts = {};
  uint32_t least = 0, most = kNoLimit;
};

// Errors: kInvalid (says what, and where), kUnsupported (likewise).
Result<Regex> ParseRegex(std::string_view pattern);

// What must match: a part of the text, or all of it.
enum class Match : uint8_t { kPart, kAll };

// Errors: kUnsupported (too large).
Result<CharDfa> ToDfa(const Regex& regex, Match match);

// The same as an expression, where long repetitions cost nothing; nullopt: it has an anchor
// elsewhere than at its ends. `any`: one character of any kind.
std::optional<ExprId> ToExpression(const Regex& regex, Match match, Encoding encoding, ExprId any,
                                   Rules& rules);

}  // namespace exo::grammar
