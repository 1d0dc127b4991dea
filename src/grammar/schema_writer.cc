#include "grammar/schema_writer.h"

#include <algorithm>

#include "grammar/regex.h"

namespace exo::grammar {
namespace {

constexpr uint32_t kMaxElements = 4096;  // that are counted one by one

// The same for every schema.
const CharDfa& AnyNumber() {
  static const CharDfa numbers = NumberTexts({}).value();
  return numbers;
}

std::unexpected<Error> Cannot(const std::string& keyword) {
  return Fail(ErrorCode::kUnsupported,
              "\"{}\" of the schema is not supported; leave it out or say it otherwise", keyword);
}

}  // namespace

SchemaWriter::SchemaWriter(const SchemaDocument& document, const SchemaOptions& options,
                           Rules& rules)
    : facts_(document, texts_), options_(options), rules_(rules) {
  const ExprId line = rules_.Sequence(
      {rules_.Bytes("\n"), rules_.Repeat(rules_.Char(CharSet::OfAscii(" \t")), 0, 20)});
  space_ = rules_.Choice({rules_.Empty(), rules_.Bytes(" "), line});
}

ExprId SchemaWriter::Comma(ExprId part) {
  return rules_.Sequence({space_, rules_.Bytes(","), space_, part});
}

ExprId SchemaWriter::AnyChar() {
  if (any_char_) return *any_char_;
  CharSet plain(0x20, kLastChar);
  plain = plain.And(CharSet::OfAscii("\"\\").Negated());
  const ExprId hex = rules_.Char(CharSet::OfAscii("0123456789abcdefABCDEF"));
  const auto set = [&](std::string_view chars) { return rules_.Char(CharSet::OfAscii(chars)); };
  // Any but a surrogate, or a pair of them.
  const ExprId four =
      rules_.Choice({rules_.Sequence({set("0123456789abcefABCEF"), hex, hex, hex}),
                     rules_.Sequence({set("dD"), set("01234567"), hex, hex}),
                     rules_.Sequence({set("dD"), set("89abAB"), hex, hex, rules_.Bytes("\\u"),
                                      set("dD"), set("cdefCDEF"), hex, hex})});
  any_char_ = rules_.Choice(
      {rules_.Char(plain),
       rules_.Sequence(
           {rules_.Bytes("\\"),
            rules_.Choice({set("\"\\/bfnrt"), rules_.Sequence({rules_.Bytes("u"), four})})})});
  return *any_char_;
}

RuleId SchemaWriter::RestOfText() {
  if (!rest_) {
    rest_ = rules_.AddRule();
    rules_.Define(*rest_,
                  rules_.Sequence({rules_.Repeat(AnyChar(), 0, kNoLimit), rules_.Bytes("\"")}));
  }
  return *rest_;
}

ExprId SchemaWriter::AnyText() {
  return rules_.Sequence({rules_.Bytes("\""), rules_.Call(RestOfText())});
}

// The closing quote belongs to the rest, which is the same rule for all texts.
ExprId SchemaWriter::Quoted(CharDfa texts) {
  const bool any = texts.states.size() == 1 && texts.Everything(0);
  if (any) return AnyText();
  return rules_.Sequence(
      {rules_.Bytes("\""), rules_.Dfa(std::move(texts), Encoding::kJson, "\"", RestOfText())});
}

ExprId SchemaWriter::AnyValue() {
  if (any_) return rules_.Call(*any_);
  any_ = rules_.AddRule();
  const ExprId value = rules_.Call(*any_);
  const ExprId pair = rules_.Sequence({AnyText(), space_, rules_.Bytes(":"), space_, value});
  const auto list = [&](const char* open, ExprId part, const char* close) {
    const ExprId parts = rules_.Sequence({part, rules_.Repeat(Comma(part), 0, kNoLimit), space_});
    return rules_.Sequence(
        {rules_.Bytes(open), space_, rules_.Optional(parts), rules_.Bytes(close)});
  };
  rules_.Define(*any_,
                rules_.Choice({list("{", pair, "}"), list("[", value, "]"), AnyText(),
                               rules_.Dfa(AnyNumber(), Encoding::kText), rules_.Bytes("true"),
                               rules_.Bytes("false"), rules_.Bytes("null")}));
  return value;
}

Result<RuleId> SchemaWriter::ValueOf(const Goal& goal) {
  if (const auto known = known_.find(goal); known != known_.end()) return known->second;
  const RuleId rule = known_[goal] = rules_.AddRule();
  rules_.Define(rule, TRY(Values(goal)));
  return rule;
}

Result<ExprId> SchemaWriter::Values(const Goal& goal) {
  if (goal.empty()) return AnyValue();
  std::vector<ExprId> ways;
  const std::vector<Facts> alternatives = TRY(facts_.Of(goal));
  for (const Facts& facts : alternatives) ways.push_back(TRY(Value(facts, goal)));
  return rules_.Choice(std::move(ways));
}

Result<ExprId> SchemaWriter::Value(const Facts& facts, const Goal& goal) {
  if (!facts.values.empty()) return Listed(facts, goal);
  if (!facts.refused.empty()) return Cannot(facts.refused);
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
  const bool any =
      !facts.integer && facts.lower.empty() && facts.upper.empty() && facts.factors.empty();
  return rules_.Dfa(any ? AnyNumber() : TRY(NumberTexts(facts)), Encoding::kText);
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
    if (!length) return AnyText();
    if (facts.min_length > facts.max_length) return rules_.Never();
    return quoted(rules_.Repeat(AnyChar(), facts.min_length, facts.max_length));
  }
  if (!length && facts.formats.size() + facts.patterns.size() == 1) {
    const bool pattern = facts.formats.empty();
    const char* known = pattern ? facts.patterns[0].c_str() : FormatPattern(facts.formats[0]);
    const auto regex = ParseRegex(known == nullptr ? "" : known);
    if (known != nullptr && regex) {
      if (const auto text = ToExpression(*regex, pattern ? Match::kPart : Match::kAll,
                                         Encoding::kJson, AnyChar(), rules_))
        return quoted(*text);
    }
  }
  return Quoted(TRY(TextsOf(facts)));
}

Result<ExprId> SchemaWriter::Elements(const Facts& facts, uint32_t most) {
  size_t prefix = 0;
  for (const ArrayFacts& array : facts.arrays) prefix = std::max(prefix, array.prefix.size());
  prefix = std::min<size_t>(prefix, most);
  const auto element = [&](size_t i) -> Result<ExprId> {
    return rules_.Call(TRY(ValueOf(*facts.Element(i))));
  };
  const uint32_t least = facts.min_items;
  // From the last element to the first: what follows the element before.
  ExprId behind = rules_.Empty();
  const auto fixed = static_cast<uint32_t>(prefix);
  if (most > fixed) {
    const ExprId one = TRY(element(prefix));
    const uint32_t lacks = least > fixed ? least - fixed : 0;
    const uint32_t more = most == kNoLimit ? kNoLimit : most - fixed;
    if (prefix > 0) {
      behind = rules_.Repeat(Comma(one), lacks, more);
    } else {
      const uint32_t after = more == kNoLimit ? kNoLimit : more - 1;
      const ExprId all = rules_.Sequence(
          {one, rules_.Repeat(Comma(one), lacks > 0 ? lacks - 1 : 0, after), space_});
      return least > 0 ? all : rules_.Optional(all);
    }
  }
  for (size_t i = prefix; i-- > 0;) {
    const ExprId one = TRY(element(i));
    const ExprId here = rules_.Sequence({i == 0 ? one : Comma(one), behind});
    behind = i < least ? here : rules_.Optional(here);
  }
  return rules_.Sequence({behind, space_});
}

Result<ExprId> SchemaWriter::Array(const Facts& facts) {
  if (!facts.refused_array.empty()) return Cannot(facts.refused_array);
  uint32_t most = facts.max_items;
  // The first place where there may be no element.
  size_t places = 0;
  for (const ArrayFacts& array : facts.arrays) places = std::max(places, array.prefix.size());
  for (size_t i = 0; i <= places && i < most; ++i) {
    if (!facts.Element(i)) most = static_cast<uint32_t>(i);
  }
  if (facts.unique && most > 1) return Cannot("uniqueItems");
  if (facts.min_items > most) return rules_.Never();
  if (facts.min_items > kMaxElements || (most != kNoLimit && most > kMaxElements))
    return Fail(ErrorCode::kUnsupported,
                "\"minItems\" and \"maxItems\" of the schema may be {} at most", kMaxElements);
  const ExprId open = rules_.Bytes("["), close = rules_.Bytes("]");
  if (most == 0) return rules_.Sequence({open, space_, close});
  return rules_.Sequence({open, space_, TRY(Elements(facts, most)), close});
}

Result<ExprId> AddSchema(std::string_view text, const SchemaOptions& options, Rules& rules) {
  const SchemaDocument document = TRY(SchemaDocument::Parse(text));
  SchemaWriter writer(document, options, rules);
  return rules.Call(TRY(writer.ValueOf({&document.root()})));
}

}  // namespace exo::grammar
