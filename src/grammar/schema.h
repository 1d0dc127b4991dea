// JSON schema (draft 2020-12, and what draft 7 wrote otherwise) to a grammar of the JSON texts that
// satisfy it. What is written is always valid: where that takes it, fewer texts are written than
// the schema allows, never more.
//
//   - Members come in the order of `properties`; those that no key of the schema names are written
//     only where `additionalProperties` or `patternProperties` asks for them, or where nothing is
//     said about members at all.
//   - White space is none or little: a space, or a line break with up to 20 spaces.
//   - Numbers have up to 16 digits in front of the point and behind it.
//   - More than six values of a list whose elements differ come in the order of the schema.
//   - A keyword that cannot be kept so is refused by name.
//
// Thread: pure.
#pragma once

#include <string_view>

#include "base/result.h"
#include "grammar/json_rules.h"

namespace exo::grammar {

struct SchemaOptions {
  // Members that no key of the schema names are written wherever the schema allows them.
  bool open_objects = false;
};

// Adds the rules of a schema; the expression of its texts. Errors: kInvalid (no schema),
// kUnsupported (a keyword, named; too large).
Result<ExprId> AddSchema(std::string_view text, const SchemaOptions& options, JsonRules& json);

}  // namespace exo::grammar
