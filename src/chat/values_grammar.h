// What holds arguments to their schema in formats with a language of their own for values, as in a
// program: (city="Rome", days=3), {city:<|"|>Rome<|"|>,days:3}.
//
// Thread: pure, any.
#pragma once

#include <string>

#include "chat/answer_format.h"
#include "chat/gbnf_texts.h"
#include "chat/schema_view.h"

namespace exo::chat {

// GBNF: the rule `name`, arguments of the schema with what stands around them, and the rules that
// it needs, whose names begin with it. Members come in the order of `properties`.
std::string ValueRules(const CallSyntax& syntax, const GbnfTexts& texts, const OrderedJson& schema,
                       const std::string& name);

// As KeywordNotHeld of call_grammar.h.
std::string NotHeldOfValues(const CallSyntax& syntax, const OrderedJson& schema);

}  // namespace exo::chat
