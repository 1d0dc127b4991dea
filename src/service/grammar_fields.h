// What an answer must be, from the fields in which requests say it. A grammar is compiled here to
// see that it can be, so that what is wrong with it is known before anything is computed; the
// lead of the model takes it from the same cache where it is this node.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "grammar/cache.h"
#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

// Sets the grammar of a request. Errors: 400 that names `param`; also when it has one already.
Parsed<> SetGrammar(wire::GrammarKind kind, std::string text, const char* param,
                    grammar::Cache& grammars, node::GenerateRequest& request);

// The member at `path` of a body that has it, a schema, with its keys in the order in which they
// were written: that is the order of the answer's.
Parsed<> SetSchema(std::string_view body, const std::vector<std::string>& path, const char* param,
                   grammar::Cache& grammars, node::GenerateRequest& request);

// OpenAI's form, which others have taken over: {"type": "text"}, {"type": "json_object"}, or
// {"type": "json_schema"} with a schema. `format` (null: it is absent) lies at `path` in `body`.
Parsed<> ReadFormat(const Json* format, std::string_view body, std::vector<std::string> path,
                    const char* param, grammar::Cache& grammars, node::GenerateRequest& request);

// OpenAI's "response_format" (text, json_object, json_schema), llama-server's "grammar" and
// "json_schema", vLLM's "guided_json", "guided_regex", "guided_choice" and "guided_grammar", and
// "regex" and "choice". `text` is what `body` was parsed from.
Parsed<> ReadGrammar(const Json& body, std::string_view text, grammar::Cache& grammars,
                     node::GenerateRequest& request);

}  // namespace exo::service
