#include "service/grammar_fields.h"

#include <array>

#include "grammar/grammar.h"
#include "service/fields.h"

namespace exo::service {
namespace {

using wire::GrammarKind;

constexpr const char* kAnyObject = R"({"type":"object"})";

struct NamedKind {
  const char* name;
  GrammarKind kind;
};
constexpr std::array kFields = {NamedKind{"json_schema", GrammarKind::kJsonSchema},
                                NamedKind{"guided_json", GrammarKind::kJsonSchema},
                                NamedKind{"grammar", GrammarKind::kGbnf},
                                NamedKind{"guided_grammar", GrammarKind::kGbnf},
                                NamedKind{"regex", GrammarKind::kRegex},
                                NamedKind{"guided_regex", GrammarKind::kRegex},
                                NamedKind{"choice", GrammarKind::kChoices},
                                NamedKind{"guided_choice", GrammarKind::kChoices}};

// llama-server's clients send its fields without a text when they mean none.
bool IsNone(const NamedKind& field, const Json& value) {
  return (field.kind == GrammarKind::kJsonSchema || field.kind == GrammarKind::kGbnf) &&
         value == "";
}

}  // namespace

Parsed<> SetGrammar(GrammarKind kind, std::string text, const char* param, grammar::Cache& grammars,
                    node::GenerateRequest& request) {
  if (!request.sampler.grammar.parts.empty())
    return BadValue(param, fmt::format("'{}' says what the answer must be, but another field does "
                                       "already; send one of them",
                                       param));
  wire::Grammar grammar = grammar::WholeAnswer(kind, std::move(text));
  const auto compiled = grammars.Compile(grammar);
  if (!compiled) {
    const bool known = compiled.error().code == ErrorCode::kUnsupported;
    std::string message = fmt::format("'{}': {}", param, compiled.error().message);
    return known ? NotSupported(param, std::move(message)) : BadValue(param, std::move(message));
  }
  request.sampler.grammar = std::move(grammar);
  return {};
}

Parsed<> SetSchema(std::string_view body, const std::vector<std::string>& path, const char* param,
                   grammar::Cache& grammars, node::GenerateRequest& request) {
  return SetGrammar(GrammarKind::kJsonSchema, MemberText(body, path), param, grammars, request);
}

Parsed<> ReadFormat(const Json* format, std::string_view body, std::vector<std::string> path,
                    const char* param, grammar::Cache& grammars, node::GenerateRequest& request) {
  if (format == nullptr) return {};
  const Json* type = format->is_object() ? Find(*format, "type") : nullptr;
  if (type == nullptr)
    return BadValue(param, fmt::format("'{}' must be an object with a 'type'", param));
  if (*type == "text") return {};
  if (*type != "json_object" && *type != "json_schema") {
    return NotSupported(param, fmt::format("'{}' has the type {}, but must be text, json_object or "
                                           "json_schema",
                                           param, Shown(*type)));
  }
  // OpenAI's chats have the schema one level deeper than its responses and other dialects.
  const Json* at = Find(*format, "json_schema");
  if (at != nullptr && at->is_object()) path.emplace_back("json_schema");
  if (at == nullptr || !at->is_object()) at = format;
  path.emplace_back("schema");
  if (Find(*at, "schema") != nullptr) return SetSchema(body, path, param, grammars, request);
  if (*type == "json_object")
    return SetGrammar(GrammarKind::kJsonSchema, kAnyObject, param, grammars, request);
  return BadValue(param, fmt::format("'{}' of type json_schema needs a 'schema'", param));
}

Parsed<> ReadGrammar(const Json& body, std::string_view text, grammar::Cache& grammars,
                     node::GenerateRequest& request) {
  constexpr const char* kFormat = "response_format";
  TRY(ReadFormat(Find(body, kFormat), text, {kFormat}, kFormat, grammars, request));
  for (const NamedKind& field : kFields) {
    const Json* value = Find(body, field.name);
    if (value == nullptr || IsNone(field, *value)) continue;
    if (field.kind == GrammarKind::kRegex && *value == "")
      return BadValue(
          field.name,
          fmt::format("'{}' is empty: no answer but an empty one would match", field.name));
    if (field.kind == GrammarKind::kChoices) {
      TRY(SetGrammar(field.kind, Dump(*value), field.name, grammars, request));
    } else if (value->is_string()) {  // a schema, too, may be a text that holds it
      TRY(SetGrammar(field.kind, value->get<std::string>(), field.name, grammars, request));
    } else if (field.kind == GrammarKind::kJsonSchema) {
      TRY(SetSchema(text, {field.name}, field.name, grammars, request));
    } else {
      return BadValue(field.name, fmt::format("'{}' must be a text", field.name));
    }
  }
  return {};
}

}  // namespace exo::service
