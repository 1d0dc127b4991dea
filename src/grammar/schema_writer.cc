#include "grammar/schema_writer.h"

#include <algorithm>

#include "grammar/regex.h"

namespace exo::grammar {
namespace {

// What the rule of such values depends on; nullopt: on more than can be compared.
std::optional<std::string> ScalarKey(const std::vector<Facts>& alternatives) {
  Json key = Json::array();
  const auto add_bounds = [&](const std::vector<Bound>& bounds) {
    Json& list = key.emplace_back(Json::array());
    for (const Bound& bound : bounds) list.push_back({*bound.value, bound.exclusive});
  };
  for (const Facts& facts : alternatives) {
    if ((facts.types & (kObject | kArray)) != 0) return std::nullopt;
    if (!facts.values.empty() || !facts.refused.empty()) return std::nullopt;
    for (const uint32_t number :
         {facts.types, uint32_t{facts.integer}, facts.min_length, facts.max_length})
      key.push_back(number);
    add_bounds(facts.lower);
    add_bounds(facts.upper);
    Json& factors = key.emplace_back(Json::array());
    for (const Json* factor : facts.factors) factors.push_back(*factor);
    key.push_back(facts.patterns);
    key.push_back(facts.formats);
  }
  return TextOf(key);
}

}  // namespace

SchemaWriter::SchemaWriter(const SchemaDocument& document, const SchemaOptions& options,
                           JsonRules& json)
    : facts_(document, texts_), options_(options), json_(json), rules_(json.rules()) {}

// The closing quote belongs to the rest, which is the same rule for all texts.
ExprId SchemaWriter::Quoted(CharDfa texts) {
  const bool any = texts.states.size() == 1 && texts.Everything(0);
  if (any) return json_.AnyText();
  return rules_.Sequence({rules_.Bytes("\""),
                          rules_.Dfa(std::move(texts), Encoding::kJson, "\"", json_.RestOfText())});
}

Result<RuleId> SchemaWriter::ValueOf(const Goal& goal) {
  if (const auto known = known_.find(goal); known != known_.end()) return known->second;
  const std::vector<Facts> alternatives = TRY(facts_.Of(goal));
  if (const auto key = ScalarKey(alternatives)) {
    const auto [rule, is_new] = json_.Shared(*key);
    known_[goal] = rule;
    if (is_new) rules_.Define(rule, TRY(Values(alternatives, goal)));
    return rule;
  }
  const RuleId rule = known_[goal] = rules_.AddRule();
  rules_.Define(rule, goal.empty() ? json_.AnyValue() : TRY(Values(alternatives, goal)));
  return rule;
}

Result<ExprId> SchemaWriter::Values(const std::vector<Facts>& alternatives, const Goal& goal) {
  std::vector<ExprId> ways;
  for (const Facts& facts : alternatives) ways.push_back(TRY(Value(facts, goal)));
  return rules_.Choice(std::move(ways));
}

Result<ExprId> SchemaWriter::Value(const Facts& facts, const Goal& goal) {
  if (!facts.values.empty()) return Listed(facts, goal);
  if (!facts.refused.empty()) return CannotWrite(facts.refused);
  std::vector<ExprId> ways;
  if ((facts.types & kObject) != 0) ways.push_back(TRY(Object(facts)));
  if ((facts.types & kArray) != 0) ways.push_back(TRY(Array(facts)));
  if ((facts.types & kString) != 0) ways.push_back(TRY(Text(facts)));
  if ((facts.types & kNumber) != 0) ways.push_back(TRY(Number(facts)));
  if ((facts.types & kBoolean) != 0)
    ways.push_back(rules_.Choice({rules_.Bytes("true"), rules_.Bytes("false")}));
  if ((facts.types & kNull) != 0) ways.push_back(rules_.Bytes("null"));
  return rules_.Choice(std::move(ways));
}

// Values of the first list that everything allows: the schemas say so themselves.
Result<ExprId> SchemaWriter::Listed(const Facts& facts, const Goal& goal) {
  std::vector<ExprId> ways;
  for (const Json* value : facts.values[0].All()) {
    if (TRY(facts_.Allows(*value, goal))) ways.push_back(rules_.Bytes(TextOf(*value)));
  }
  return rules_.Choice(std::move(ways));
}

Result<ExprId> SchemaWriter::Number(const Facts& facts) {
  return rules_.Dfa(TRY(NumberTexts(facts)), Encoding::kText);
}

Result<CharDfa> SchemaWriter::TextsOf(const Facts& facts) {
  CharDfa texts = CharDfa::Any();
  for (const std::string& pattern : facts.patterns)
    texts = TRY(And(texts, *TRY(facts_.texts().Pattern(pattern))));
  for (const std::string& format : facts.formats)
    texts = TRY(And(texts, *TRY(facts_.texts().Format(format))));
  if (facts.min_length > 0 || facts.max_length != UINT32_MAX)
    texts = TRY(And(texts, TRY(CharDfa::OfLength(facts.min_length, facts.max_length))));
  return texts;
}

Result<ExprId> SchemaWriter::Text(const Facts& facts) {
  const bool length = facts.min_length > 0 || facts.max_length != UINT32_MAX;
  const auto quoted = [&](ExprId text) {
    return rules_.Sequence({rules_.Bytes("\""), text, rules_.Bytes("\"")});
  };
  if (facts.patterns.empty() && facts.formats.empty()) {
    if (!length) return json_.AnyText();
    if (facts.min_length > facts.max_length) return rules_.Never();
    return quoted(rules_.Repeat(json_.AnyChar(), facts.min_length, facts.max_length));
  }
  if (!length && facts.formats.size() + facts.patterns.size() == 1) {
    const bool pattern = facts.formats.empty();
    const char* known = pattern ? facts.patterns[0].c_str() : FormatPattern(facts.formats[0]);
    const auto regex = ParseRegex(known == nullptr ? "" : known);
    if (known != nullptr && regex) {
      if (const auto text = ToExpression(*regex, pattern ? Match::kPart : Match::kAll,
                                         Encoding::kJson, json_.AnyChar(), rules_))
        return quoted(*text);
    }
  }
  return Quoted(TRY(TextsOf(facts)));
}

Result<ExprId> AddSchema(std::string_view text, const SchemaOptions& options, JsonRules& json) {
  const SchemaDocument document = TRY(SchemaDocument::Parse(text));
  SchemaWriter writer(document, options, json);
  return json.rules().Call(TRY(writer.ValueOf({&document.root()})));
}

}  // namespace exo::grammar
