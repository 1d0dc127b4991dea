// What a text may be, from the forms in which requests say it: a JSON schema, a regular expression,
// a GBNF grammar, a list of choices; the whole answer, or parts of it behind a trigger
// (wire::Grammar).
//
// Thread: pure.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "grammar/automaton.h"
#include "grammar/schema.h"
#include "wire/messages.h"

namespace exo::grammar {

// Errors: kInvalid (not one of its kind), kUnsupported (what is known and not done, named; too
// large). Cost: under 2 ms for three of four schemas; bounded.
Result<std::shared_ptr<const Automaton>> Compile(const wire::Grammar& grammar,
                                                 const SchemaOptions& options = {});

// The whole answer is such a text.
wire::Grammar WholeAnswer(wire::GrammarKind kind, std::string text);

// A function that a model may call, with the JSON schema of its arguments.
struct Tool {
  std::string name;
  std::string parameters = "{}";
};
// The schema of a call written as one JSON object: {"name": one of the tools', "arguments": what
// its schema allows}. The fields are named by the family's syntax. Errors: kInvalid (a schema is no
// JSON).
struct ToolCallFields {
  std::string name = "name";
  std::string arguments = "arguments";
};
Result<std::string> ToolCallSchema(std::span<const Tool> tools, const ToolCallFields& fields);

}  // namespace exo::grammar
