// Tokens to a tree. Nesting and heights are bounded, so that neither parsing nor running can
// exhaust the stack.
#pragma once

#include <string_view>

#include "model/jinja/ast.h"

namespace exo::model::jinja {

// Errors: kInvalid (syntax, with the line), kUnsupported (a construct, filter or test we do not
// have).
Result<Body> Parse(std::string_view source);

}  // namespace exo::model::jinja
