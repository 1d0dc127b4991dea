#include "grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <optional>

#include "grammar/char_set.h"
#include "grammar/schema.h"
#include "grammar/trigger.h"

namespace exo::grammar {
namespace {

constexpr size_t kMaxNesting = 100;
constexpr uint32_t kMaxRepeat = 100'000;

bool IsNameChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

class Parser {
 public:
  Parser(std::string_view text, Rules& rules) : text_(text), rules_(rules), json_(rules) {}

  Result<ExprId> Run() {
    Space(true);
    while (at_ < text_.size()) TRY(Rule());
    for (const auto& [name, rule] : names_) {
      if (!rules_.IsDefined(rule))
        return Fail(ErrorCode::kInvalid, "the grammar uses the rule '{}' but does not define it",
                    name);
    }
    const auto root = names_.find("root");
    if (root == names_.end())
      return Fail(ErrorCode::kInvalid, "the grammar has no rule 'root', where a text begins");
    return rules_.Call(root->second);
  }

 private:
  char Peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  bool Take(std::string_view what) {
    if (!text_.substr(at_).starts_with(what)) return false;
    at_ += what.size();
    return true;
  }
  std::unexpected<Error> Bad(std::string_view what) const {
    const auto line = std::ranges::count(text_.substr(0, at_), '\n') + 1;
    return Fail(ErrorCode::kInvalid, "line {} of the grammar: {}", line, what);
  }
  // White space and comments; line breaks too where a rule cannot end.
  void Space(bool lines) {
    while (at_ < text_.size()) {
      const char c = Peek();
      if (c == '#') {
        while (at_ < text_.size() && Peek() != '\n' && Peek() != '\r') ++at_;
      } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  RuleId Named(const std::string& name) {
    const auto [at, is_new] = names_.try_emplace(name);
    if (is_new) at->second = rules_.AddRule();
    return at->second;
  }
  Result<std::string> Name() {
    const size_t begin = at_;
    while (IsNameChar(Peek())) ++at_;
    if (at_ == begin) return Bad("a rule's name is missing");
    return std::string(text_.substr(begin, at_ - begin));
  }

  Result<void> Rule() {
    const std::string name = TRY(Name());
    Space(false);
    if (!Take("::=")) return Bad("'::=' is missing");
    Space(true);
    const RuleId rule = Named(name);
    if (rules_.IsDefined(rule)) return Bad(fmt::format("the rule '{}' is defined twice", name));
    const ExprId body = TRY(Alternatives(0));
    if (at_ < text_.size() && Peek() != '\n' && Peek() != '\r')
      return Bad(fmt::format("'{}' is not expected here", Peek()));
    rules_.Define(rule, body);
    Space(true);
    return {};
  }

  Result<ExprId> Alternatives(size_t depth) {
    if (depth > kMaxNesting) return Bad("groups are nested too deeply");
    std::vector<ExprId> ways = {TRY(Sequence(depth))};
    while (Take("|")) {
      Space(true);
      ways.push_back(TRY(Sequence(depth)));
    }
    return rules_.Choice(std::move(ways));
  }

  Result<ExprId> Sequence(size_t depth) {
    std::vector<ExprId> parts;
    while (const auto part = TRY(Item(depth))) {
      parts.push_back(*part);
      // Inside a group a line break is white space; outside it ends the rule.
      Space(depth > 0);
    }
    return rules_.Sequence(std::move(parts));
  }

  Result<std::optional<ExprId>> Item(size_t depth) {
    ExprId item = 0;
    if (Peek() == '"') {
      item = TRY(Literal());
    } else if (Peek() == '[') {
      item = TRY(Class());
    } else if (Take(".")) {
      item = rules_.Char(CharSet::Any());
    } else if (Take("(")) {
      Space(true);
      item = TRY(Alternatives(depth + 1));
      if (!Take(")")) return Bad("a '(' without its ')'");
    } else if (IsNameChar(Peek())) {
      item = rules_.Call(Named(TRY(Name())));
    } else if (Take("<[")) {
      item = TRY(Token());
    } else if (Take("%json")) {
      item = TRY(Schema());
    } else if (Take("%until")) {
      item = TRY(Until());
    } else if (Peek() == '<' || Peek() == '!') {
      return Bad("a token in a grammar must be a number: <[1000]>");
    } else {
      return std::nullopt;
    }
    for (;;) {
      Space(depth > 0);
      const auto times = TRY(Repetition());
      if (!times) return item;
      item = rules_.Repeat(item, times->first, times->second);
    }
  }

  Result<std::optional<std::pair<uint32_t, uint32_t>>> Repetition() {
    if (Take("*")) return std::pair(0u, kNoLimit);
    if (Take("+")) return std::pair(1u, kNoLimit);
    if (Take("?")) return std::pair(0u, 1u);
    if (!Take("{")) return std::nullopt;
    Space(false);
    const auto least = TRY(Number());
    Space(false);
    auto most = least;
    if (Take(",")) {
      Space(false);
      most = Peek() == '}' ? std::optional(kNoLimit) : TRY(Number());
      Space(false);
    }
    if ((!least && !most) || !most || !Take("}")) return Bad("a repetition must be like {1,3}");
    const std::pair times(least.value_or(0), *most);
    if (times.first > times.second)
      return Bad("a repetition whose numbers are the wrong way round");
    return times;
  }
  // Nullopt: there is none.
  Result<std::optional<uint32_t>> Number() {
    if (Peek() < '0' || Peek() > '9') return std::nullopt;
    uint32_t value = 0;
    for (; Peek() >= '0' && Peek() <= '9'; ++at_) {
      value = value * 10 + static_cast<uint32_t>(Peek() - '0');
      if (value > kMaxRepeat) return Bad(fmt::format("a repetition of more than {}", kMaxRepeat));
    }
    return value;
  }

  Result<ExprId> Token() {
    uint32_t id = 0;
    size_t digits = 0;
    for (; Peek() >= '0' && Peek() <= '9' && digits < 9; ++at_, ++digits)
      id = id * 10 + static_cast<uint32_t>(Peek() - '0');
    if (digits == 0 || !Take("]>")) return Bad("a token in a grammar must be a number: <[1000]>");
    return rules_.Token(static_cast<TokenId>(id));
  }

  // The schema ends where its brackets close.
  Result<ExprId> Schema() {
    Space(true);
    const size_t begin = at_;
    size_t open = 0;
    bool quoted = false;
    do {
      const char c = Peek();
      if (quoted && c == '\\') {
        ++at_;
      } else if (c == '"') {
        quoted = !quoted;
      } else if (!quoted && c == '{') {
        ++open;
      } else if (!quoted && c == '}' && open > 0) {
        --open;
      }
      ++at_;
    } while (open > 0 && at_ < text_.size());
    if (open > 0 || text_[begin] != '{') return Bad("%json must be followed by a schema, {…}");
    // A rule of its own: it may be called from several places.
    const RuleId rule = rules_.AddRule();
    rules_.Define(rule, TRY(AddSchema(text_.substr(begin, at_ - begin), {}, json_)));
    return rules_.Call(rule);
  }

  Result<ExprId> Until() {
    Space(true);
    if (Peek() != '"') return Bad("%until must be followed by a literal, \"…\"");
    std::vector<uint32_t> end = TRY(Chars());
    if (end.empty()) return Bad("%until must be followed by a literal that is not empty");
    const std::vector<std::vector<uint32_t>> triggers = {std::move(end)};
    return rules_.Dfa(TRY(WaitFor(triggers)).Until(0), Encoding::kText);
  }

  Result<std::vector<uint32_t>> Chars() {
    ++at_;
    std::vector<uint32_t> chars;
    while (Peek() != '"') {
      if (at_ >= text_.size() || Peek() == '\n') return Bad("a literal that does not end");
      chars.push_back(TRY(Char()));
    }
    ++at_;
    return chars;
  }
  Result<ExprId> Literal() {
    std::string bytes;
    for (const uint32_t c : TRY(Chars())) bytes += Utf8Of(c);
    return rules_.Bytes(bytes);
  }

  Result<ExprId> Class() {
    ++at_;
    const bool negated = Take("^");
    CharSet set;
    while (Peek() != ']') {
      if (at_ >= text_.size() || Peek() == '\n') return Bad("a '[' without its ']'");
      const uint32_t low = TRY(Char());
      uint32_t high = low;
      if (Peek() == '-' && Peek(1) != ']') {
        ++at_;
        if (at_ >= text_.size()) return Bad("a '[' without its ']'");
        high = TRY(Char());
      }
      if (high < low) return Bad("a range of a class that is the wrong way round");
      set.Add(low, high);
    }
    ++at_;
    return rules_.Char(negated ? set.Negated() : set);
  }

  Result<uint32_t> Hex(size_t digits) {
    uint32_t value = 0;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const char c = Peek();
      const int digit = c >= '0' && c <= '9'                 ? c - '0'
                        : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                             : -1;
      if (digit < 0) return Bad("a bad hexadecimal escape");
      value = value * 16 + static_cast<uint32_t>(digit);
    }
    if (value > kLastChar || (value >= 0xD800 && value < 0xE000))
      return Bad("an escape that is no character");
    return value;
  }

  // One character, or an escape of one. The text is UTF-8 (AddGbnf).
  Result<uint32_t> Char() {
    if (Peek() == '\\') {
      ++at_;
      const char c = Peek();
      ++at_;
      switch (c) {
        case 'x':
          return Hex(2);
        case 'u':
          return Hex(4);
        case 'U':
          return Hex(8);
        case 'n':
          return '\n';
        case 'r':
          return '\r';
        case 't':
          return '\t';
        case '\\':
        case '"':
        case '[':
        case ']':
        case '-':
        case '^':
        case '\'':
        case '/':
          return static_cast<uint32_t>(c);
        default:
          return Bad("an unknown escape");
      }
    }
    const auto lead = static_cast<uint8_t>(Peek());
    const size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    std::vector<uint32_t> chars;
    if (!CharsOf(text_.substr(at_, size), chars) || chars.size() != 1) return Bad("bad UTF-8");
    at_ += size;
    return chars[0];
  }

  const std::string_view text_;
  Rules& rules_;
  JsonRules json_;
  std::map<std::string, RuleId> names_;
  size_t at_ = 0;
};

}  // namespace

Result<ExprId> AddGbnf(std::string_view text, Rules& rules) {
  std::vector<uint32_t> chars;
  if (!CharsOf(text, chars)) return Fail(ErrorCode::kInvalid, "the grammar is not UTF-8");
  return Parser(text, rules).Run();
}

}  // namespace exo::grammar
