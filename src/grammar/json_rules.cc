#include "grammar/json_rules.h"

#include "grammar/schema_writer.h"

namespace exo::grammar {
namespace {

// The same for every schema.
const CharDfa& AnyNumber() {
  static const CharDfa numbers = NumberTexts({}).value();
  return numbers;
}

}  // namespace

JsonRules::JsonRules(Rules& rules) : rules_(rules) {
  const ExprId line = rules_.Sequence(
      {rules_.Bytes("\n"), rules_.Repeat(rules_.Char(CharSet::OfAscii(" \t")), 0, 20)});
  space_ = rules_.Choice({rules_.Empty(), rules_.Bytes(" "), line});
}

ExprId JsonRules::Comma(ExprId part) {
  return rules_.Sequence({space_, rules_.Bytes(","), space_, part});
}

ExprId JsonRules::AnyChar() {
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

RuleId JsonRules::RestOfText() {
  if (!rest_) {
    rest_ = rules_.AddRule();
    rules_.Define(*rest_,
                  rules_.Sequence({rules_.Repeat(AnyChar(), 0, kNoLimit), rules_.Bytes("\"")}));
  }
  return *rest_;
}

ExprId JsonRules::AnyText() {
  return rules_.Sequence({rules_.Bytes("\""), rules_.Call(RestOfText())});
}

ExprId JsonRules::AnyValue() {
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

std::pair<RuleId, bool> JsonRules::Shared(const std::string& key) {
  const auto [at, is_new] = shared_.try_emplace(key);
  if (is_new) at->second = rules_.AddRule();
  return {at->second, is_new};
}

}  // namespace exo::grammar
