// GBNF, the grammars of llama.cpp: rules of literals, classes, groups and repetitions, the first
// one called "root".
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
