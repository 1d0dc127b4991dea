#include "grammar/expression.h"

#include <fmt/format.h>

#include <utility>

namespace exo::grammar {

std::string JsonEscape(uint32_t c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return c < 0x20 ? fmt::format("\\u{:04x}", c) : "";
  }
}

ExprId Rules::Add(Expression expression) {
  expressions_.push_back(std::move(expression));
  return static_cast<ExprId>(expressions_.size() - 1);
}

ExprId Rules::Bytes(std::string_view bytes) {
  return Add({.kind = Expression::Kind::kBytes, .bytes = std::string(bytes)});
}

ExprId Rules::Char(const CharSet& set, Encoding encoding) {
  // Once for each set: what repeats the same characters is the same loop.
  const auto known = chars_.find({set, encoding});
  if (known != chars_.end()) return known->second;
  return chars_[{set, encoding}] = AddChar(set, encoding);
}

ExprId Rules::AddChar(const CharSet& set, Encoding encoding) {
  using enum Expression::Kind;
  if (encoding == Encoding::kText) return Add({.kind = kUtf8, .sequences = Utf8Of(set)});
  CharSet special(0, 0x1F);
  special.Add(CharSet::OfAscii("\"\\"));
  std::vector<ExprId> parts = {
      Add({.kind = kUtf8, .sequences = Utf8Of(set.And(special.Negated()))})};
  for (const CharRange& range : set.And(special).ranges()) {
    for (uint32_t c = range.low; c <= range.high; ++c) {
      const std::string escape = JsonEscape(c);
      if (escape.size() == 2 || range.low == range.high) parts.push_back(Bytes(escape));
    }
  }
  return parts.size() == 1 ? parts[0] : Choice(std::move(parts));
}

ExprId Rules::Sequence(std::vector<ExprId> parts) {
  return parts.size() == 1 ? parts[0]
                           : Add({.kind = Expression::Kind::kSequence, .parts = std::move(parts)});
}

ExprId Rules::Choice(std::vector<ExprId> parts) {
  return parts.size() == 1 ? parts[0]
                           : Add({.kind = Expression::Kind::kChoice, .parts = std::move(parts)});
}

ExprId Rules::Repeat(ExprId part, uint32_t least, uint32_t most) {
  return Add({.kind = Expression::Kind::kRepeat, .parts = {part}, .least = least, .most = most});
}

ExprId Rules::Call(RuleId rule) {
  return Add({.kind = Expression::Kind::kCall, .rule = rule});
}

ExprId Rules::Dfa(CharDfa dfa, Encoding encoding, std::string_view bytes, RuleId rest) {
  return Add({.kind = Expression::Kind::kDfa,
              .bytes = std::string(bytes),
              .dfa = std::make_shared<const CharDfa>(std::move(dfa)),
              .encoding = encoding,
              .rest = rest});
}

ExprId Rules::Token(TokenId token) {
  return Add({.kind = Expression::Kind::kToken, .token = token});
}

RuleId Rules::AddRule() {
  bodies_.push_back(kNoLimit);
  return static_cast<RuleId>(bodies_.size() - 1);
}

}  // namespace exo::grammar
