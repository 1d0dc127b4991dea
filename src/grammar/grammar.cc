#include "grammar/grammar.h"

#include <algorithm>

#include "grammar/gbnf.h"
#include "grammar/regex.h"
#include "grammar/schema_document.h"
#include "grammar/trigger.h"
#include "wire/limits.h"

namespace exo::grammar {
namespace {

Result<ExprId> AddChoices(std::string_view text, Rules& rules) {
  const Json list = TRY(ParseOrderedJson(text));
  if (!list.is_array() || list.empty())
    return Fail(ErrorCode::kInvalid, "the choices must be a list of texts, at least one");
  std::vector<ExprId> ways;
  for (const Json& one : list) {
    if (!one.is_string() || one.get_ref<const std::string&>().empty())
      return Fail(ErrorCode::kInvalid, "a choice is {}, but must be a text that is not empty",
                  Shown(one));
    ways.push_back(rules.Bytes(one.get_ref<const std::string&>()));
  }
  return rules.Choice(std::move(ways));
}

Result<ExprId> AddRegex(std::string_view pattern, Rules& rules) {
  const Regex regex = TRY(ParseRegex(pattern));
  const ExprId any = rules.Char(CharSet::Any());
  if (const auto text = ToExpression(regex, Match::kAll, Encoding::kText, any, rules)) return *text;
  return rules.Dfa(TRY(ToDfa(regex, Match::kAll)), Encoding::kText);
}

Result<ExprId> AddBody(wire::GrammarKind kind, std::string_view text, const SchemaOptions& options,
                       Rules& rules) {
  if (text.size() > wire::kMaxGrammarText)
    return Fail(ErrorCode::kInvalid, "the grammar has {} bytes, but at most {} are allowed",
                text.size(), wire::kMaxGrammarText);
  switch (kind) {
    case wire::GrammarKind::kJsonSchema: {
      JsonRules json(rules);
      return AddSchema(text, options, json);
    }
    case wire::GrammarKind::kRegex:
      return AddRegex(text, rules);
    case wire::GrammarKind::kGbnf:
      return AddGbnf(text, rules);
    case wire::GrammarKind::kChoices:
      return AddChoices(text, rules);
  }
  return Fail(ErrorCode::kUnsupported, "a grammar of kind {}, which this version does not know",
              static_cast<int>(kind));
}

// Any text and any special tokens, until a part begins.
Result<ExprId> AddParts(const wire::Grammar& grammar, const SchemaOptions& options, Rules& rules) {
  std::vector<std::vector<uint32_t>> triggers(grammar.parts.size());
  for (size_t i = 0; i < triggers.size(); ++i) {
    const wire::GrammarPart& part = grammar.parts[i];
    if (part.begin.empty() && part.begin_token < 0)
      return Fail(ErrorCode::kInvalid, "a part of the grammar has nothing that begins it");
    if (part.begin_token < 0 && !CharsOf(part.begin, triggers[i]))
      return Fail(ErrorCode::kInvalid, "the text that begins a part of the grammar is not UTF-8");
  }
  for (const wire::GrammarPart& part : grammar.parts) {
    if (part.begin_token >= 0) rules.begin_tokens.push_back(part.begin_token);
  }
  const Waiting waiting = TRY(WaitFor(triggers));
  const ExprId silence = rules.Dfa(waiting.Until(-1), Encoding::kText);
  // Special tokens may stand anywhere before; what was read of a trigger is forgotten by them.
  const ExprId before = rules.Repeat(rules.Sequence({silence, rules.Token(-1)}), 0, kNoLimit);
  std::vector<ExprId> ways;
  for (size_t i = 0; i < triggers.size(); ++i) {
    const wire::GrammarPart& part = grammar.parts[i];
    const RuleId rule = rules.AddRule();
    rules.Define(rule, TRY(AddBody(part.kind, part.text, options, rules)));
    const ExprId begin =
        part.begin_token >= 0
            ? rules.Sequence({silence, rules.Token(part.begin_token), rules.Bytes(part.begin)})
            : rules.Dfa(waiting.Until(static_cast<int>(i)), Encoding::kText);
    std::vector<ExprId> all = {begin, rules.Call(rule), rules.Bytes(part.end)};
    if (part.end_token >= 0) all.push_back(rules.Token(part.end_token));
    ways.push_back(rules.Sequence(std::move(all)));
  }
  const ExprId once = rules.Sequence({before, rules.Choice(std::move(ways))});
  const ExprId nothing = rules.Sequence({before, silence});
  if (grammar.repeated) {
    const ExprId many = rules.Repeat(once, grammar.required ? 1 : 0, kNoLimit);
    return rules.Sequence({many, rules.Optional(nothing)});
  }
  return grammar.required ? once : rules.Choice({once, nothing});
}

}  // namespace

Result<std::shared_ptr<const Automaton>> Compile(const wire::Grammar& grammar,
                                                 const SchemaOptions& options) {
  if (grammar.parts.empty()) return Fail(ErrorCode::kInvalid, "a grammar without a part");
  Rules rules;
  const RuleId root = rules.AddRule();
  rules.root = root;
  const wire::GrammarPart& first = grammar.parts[0];
  rules.Define(root, grammar.triggered ? TRY(AddParts(grammar, options, rules))
                                       : TRY(AddBody(first.kind, first.text, options, rules)));
  return Compile(rules);
}

wire::Grammar WholeAnswer(wire::GrammarKind kind, std::string text) {
  return {.parts = {{.kind = kind, .text = std::move(text)}}};
}

Result<std::string> ToolCallSchema(std::span<const Tool> tools, const ToolCallFields& fields) {
  Json calls = Json::array();
  for (size_t i = 0; i < tools.size(); ++i) {
    auto parameters = ParseOrderedJson(tools[i].parameters);
    if (!parameters)
      return Wrap(parameters.error(), fmt::format("the parameters of the tool {}", tools[i].name));
    // References within it begin at itself.
    if (parameters->is_object() && !parameters->contains("$id"))
      (*parameters)["$id"] = fmt::format("tool:{}", i);
    Json call = {{"type", "object"}};
    call["properties"][fields.name] = {{"const", tools[i].name}};
    call["properties"][fields.arguments] = *std::move(parameters);
    call["required"] = {fields.name, fields.arguments};
    call["additionalProperties"] = false;
    calls.push_back(std::move(call));
  }
  Json schema = Json::object();
  schema["anyOf"] = std::move(calls);
  return TextOf(schema);
}

}  // namespace exo::grammar
