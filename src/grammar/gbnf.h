// GBNF, the grammars of llama.cpp: rules of literals, classes, groups and repetitions, the first
// one called "root". Beyond literals:
//
//   - `<[1000]>` is the special token of this number, which no literal writes;
//   - `%json {…}` is a JSON text of this schema;
//   - `%until "…"` is any text up to the first of this literal, which it ends with.
//
// Thread: pure.
#pragma once

#include <string_view>

#include "base/result.h"
#include "grammar/expression.h"

namespace exo::grammar {

// Adds the rules of a grammar; the expression of its root. Errors: kInvalid (says what, and in
// which line).
Result<ExprId> AddGbnf(std::string_view text, Rules& rules);

}  // namespace exo::grammar
