#include "grammar/regex.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace exo::grammar {
namespace {

constexpr size_t kMaxNesting = 100;
constexpr uint32_t kMaxRepeat = 100'000;
constexpr size_t kMaxNfaNodes = 50'000;
constexpr uint64_t kMaxWork = 8'000'000;

CharSet Digits() {
  return {'0', '9'};
}
CharSet WordChars() {
  CharSet set = CharSet::OfAscii("_");
  set.Add('0', '9');
  set.Add('a', 'z');
  set.Add('A', 'Z');
  return set;
}
CharSet Spaces() {
  CharSet set(9, 13);
  for (const uint32_t c :
       {0x20u, 0xA0u, 0x1680u, 0x2028u, 0x2029u, 0x202Fu, 0x205Fu, 0x3000u, 0xFEFFu})
    set.Add(c, c);
  set.Add(0x2000, 0x200A);
  return set;
}
CharSet Dot() {
  CharSet ends = CharSet::OfAscii("\n\r");
  ends.Add(0x2028, 0x2029);
  return ends.Negated();
}

class Parser {
 public:
  explicit Parser(std::vector<uint32_t> chars) : chars_(std::move(chars)) {}
  Result<Regex> Run() {
    Regex regex = TRY(Choice(0));
    if (at_ < chars_.size()) return Bad("a ')' without its '('");
    return regex;
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  uint32_t Peek(size_t ahead = 0) const {
    return at_ + ahead < chars_.size() ? chars_[at_ + ahead] : kNone;
  }
  bool Take(uint32_t c) {
    if (Peek() != c) return false;
    ++at_;
    return true;
  }
  std::unexpected<Error> Bad(std::string_view what) const {
    return Fail(ErrorCode::kInvalid, "the regular expression has {} at character {}", what,
                at_ + 1);
  }
  std::unexpected<Error> Cannot(std::string_view what) const {
    return Fail(ErrorCode::kUnsupported,
                "the regular expression has {} at character {}, which is not supported", what,
                at_ + 1);
  }

  Result<Regex> Choice(size_t depth) {
    if (depth > kMaxNesting) return Cannot(fmt::format("more than {} nested groups", kMaxNesting));
    Regex choice{.kind = Regex::Kind::kChoice};
    do {
      Regex sequence{.kind = Regex::Kind::kSequence};
      while (Peek() != kNone && Peek() != '|' && Peek() != ')') {
        Regex term = TRY(Term(depth));
        sequence.parts.push_back(TRY(Quantified(std::move(term))));
      }
      choice.parts.push_back(std::move(sequence));
    } while (Take('|'));
    return choice.parts.size() == 1 ? std::move(choice.parts[0]) : std::move(choice);
  }

  Result<Regex> Term(size_t depth) {
    using enum Regex::Kind;
    const uint32_t c = chars_[at_];
    switch (c) {
      case '^':
        ++at_;
        return Regex{.kind = kBegin};
      case '$':
        ++at_;
        return Regex{.kind = kEnd};
      case '.':
        ++at_;
        return Regex{.kind = kSet, .set = Dot()};
      case '(':
        return Group(depth);
      case '[':
        return Regex{.kind = kSet, .set = TRY(Class())};
      case '\\':
        return Regex{.kind = kSet, .set = TRY(Escape(false))};
      case '*':
      case '+':
      case '?':
        return Bad("a quantifier without what it repeats");
      default:
        ++at_;
        return Regex{.kind = kSet, .set = CharSet(c, c)};
    }
  }

  Result<Regex> Group(size_t depth) {
    ++at_;
    if (Peek() == '?') {
      const uint32_t kind = Peek(1), more = Peek(2);
      if (kind == '=' || kind == '!' || (kind == '<' && (more == '=' || more == '!')))
        return Cannot("look-around");
      if (kind == ':') {
        at_ += 2;
      } else if (kind == '<') {
        while (Peek() != kNone && Peek() != '>') ++at_;
        if (!Take('>')) return Bad("a group name that does not end");
      } else {
        return Cannot("an unknown kind of group");
      }
    }
    Regex inside = TRY(Choice(depth + 1));
    if (!Take(')')) return Bad("a '(' without its ')'");
    return inside;
  }

  std::optional<uint32_t> Number() {
    if (Peek() < '0' || Peek() > '9') return std::nullopt;
    uint32_t value = 0;
    while (Peek() >= '0' && Peek() <= '9') {
      value = std::min(value * 10 + (Peek() - '0'), kMaxRepeat + 1);
      ++at_;
    }
    return value;
  }

  // {2}, {2,} or {2,5}; anything else in braces stands for itself.
  std::optional<std::pair<uint32_t, uint32_t>> Braces() {
    const size_t start = at_;
    ++at_;
    const auto least = Number();
    auto most = least;
    if (least && Take(',')) most = Peek() == '}' ? std::optional(kNoLimit) : Number();
    if (least && most && Take('}')) return std::pair(*least, *most);
    at_ = start;
    return std::nullopt;
  }

  Result<Regex> Quantified(Regex term) {
    for (;;) {
      uint32_t least = 0, most = kNoLimit;
      const uint32_t c = Peek();
      if (c == '*' || c == '+' || c == '?') {
        ++at_;
        least = c == '+' ? 1 : 0;
        most = c == '?' ? 1 : kNoLimit;
      } else if (c == '{') {
        const auto braces = Braces();
        if (!braces) return Bad("a '{' that begins no repetition (write \\{)");
        std::tie(least, most) = *braces;
      } else {
        return term;
      }
      if (least > most) return Bad("a repetition whose numbers are the wrong way round");
      if (least > kMaxRepeat || (most != kNoLimit && most > kMaxRepeat))
        return Cannot(fmt::format("a repetition of more than {}", kMaxRepeat));
      Take('?');  // lazy: the same language
      if (term.kind == Regex::Kind::kBegin || term.kind == Regex::Kind::kEnd)
        return Bad("a repeated anchor");
      Regex repeat{.kind = Regex::Kind::kRepeat, .least = least, .most = most};
      repeat.parts.push_back(std::move(term));
      term = std::move(repeat);
      if (Peek() == '*' || Peek() == '+' || Peek() == '?')
        return Bad("a quantifier behind a quantifier");
    }
  }

  Result<uint32_t> Hex(size_t digits) {
    uint32_t value = 0;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const uint32_t c = Peek();
      const bool digit = c >= '0' && c <= '9';
      const uint32_t low = c | 0x20;
      if (c == kNone || (!digit && (low < 'a' || low > 'f')))
        return Bad("a bad hexadecimal escape");
      value = value * 16 + (digit ? c - '0' : low - 'a' + 10);
    }
    return value;
  }

  Result<uint32_t> UnicodeEscape() {
    if (Take('{')) {
      uint32_t value = 0;
      while (Peek() != '}') value = std::min(value * 16 + TRY(Hex(1)), kLastChar + 1);
      ++at_;
      if (value > kLastChar) return Bad("a character beyond U+10FFFF");
      return value;
    }
    const uint32_t first = TRY(Hex(4));
    if (first < 0xD800 || first > 0xDBFF || Peek() != '\\' || Peek(1) != 'u') return first;
    at_ += 2;
    const uint32_t second = TRY(Hex(4));
    if (second < 0xDC00 || second > 0xDFFF) return Bad("half of a surrogate pair");
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
  }

  Result<CharSet> Escape(bool in_class) {
    ++at_;
    const uint32_t c = Peek();
    if (c == kNone) return Bad("a '\\' at its end");
    ++at_;
    const auto one = [](uint32_t value) { return CharSet(value, value); };
    switch (c) {
      case 'd':
        return Digits();
      case 'D':
        return Digits().Negated();
      case 'w':
        return WordChars();
      case 'W':
        return WordChars().Negated();
      case 's':
        return Spaces();
      case 'S':
        return Spaces().Negated();
      case 't':
        return one('\t');
      case 'n':
        return one('\n');
      case 'v':
        return one('\v');
      case 'f':
        return one('\f');
      case 'r':
        return one('\r');
      case 'x':
        return one(TRY(Hex(2)));
      case 'u':
        return one(TRY(UnicodeEscape()));
      case '0':
        return one(0);
      case 'c': {
        const uint32_t letter = Peek() | 0x20;
        if (letter < 'a' || letter > 'z') return Bad("a bad control escape");
        ++at_;
        return one(letter - 'a' + 1);
      }
      case 'b':
        if (in_class) return one('\b');
        return Cannot("a word boundary");
      case 'B':
        return Cannot("a word boundary");
      case 'k':
        return Cannot("a back reference");
      case 'p':
      case 'P':
        return Cannot("a Unicode property");
      default:
        if (c >= '1' && c <= '9') return Cannot("a back reference");
        if (c < 128 && WordChars().Has(c)) return Bad(fmt::format("the escape \\{}", char(c)));
        return one(c);
    }
  }

  Result<CharSet> ClassItem() {
    if (Peek() == kNone) return Bad("a '[' without its ']'");
    if (Peek() == '\\') return Escape(true);
    const uint32_t c = chars_[at_++];
    return CharSet(c, c);
  }

  Result<CharSet> Class() {
    ++at_;
    const bool negated = Take('^');
    CharSet set;
    while (Peek() != ']') {
      const CharSet low = TRY(ClassItem());
      if (Peek() != '-' || Peek(1) == ']') {
        set.Add(low);
        continue;
      }
      ++at_;
      const CharSet high = TRY(ClassItem());
      const auto single = [](const CharSet& s) {
        return s.ranges().size() == 1 && s.ranges()[0].low == s.ranges()[0].high;
      };
      if (!single(low) || !single(high)) return Bad("a range of a class with a set at its end");
      if (low.ranges()[0].low > high.ranges()[0].low)
        return Bad("a range of a class that is the wrong way round");
      set.Add(low.ranges()[0].low, high.ranges()[0].low);
    }
    ++at_;
    return negated ? set.Negated() : set;
  }

  const std::vector<uint32_t> chars_;
  size_t at_ = 0;
};

// Thompson's automaton with steps that count only at the beginning or the end of the text.
struct Nfa {
  struct Node {
    std::vector<uint32_t> empty, begin, end;
    std::vector<std::pair<CharSet, uint32_t>> sets;
  };
  std::vector<Node> nodes;

  uint32_t Add() {
    nodes.emplace_back();
    return static_cast<uint32_t>(nodes.size() - 1);
  }
  Result<uint32_t> Emit(const Regex& regex, uint32_t from) {
    using enum Regex::Kind;
    if (nodes.size() > kMaxNfaNodes)
      return Fail(ErrorCode::kUnsupported, "the regular expression is too large");
    switch (regex.kind) {
      case kSet: {
        const uint32_t to = Add();
        nodes[from].sets.emplace_back(regex.set, to);
        return to;
      }
      case kSequence:
        for (const Regex& part : regex.parts) from = TRY(Emit(part, from));
        return from;
      case kChoice: {
        const uint32_t to = Add();
        for (const Regex& part : regex.parts) {
          const uint32_t begin = Add();
          nodes[from].empty.push_back(begin);
          const uint32_t end = TRY(Emit(part, begin));
          nodes[end].empty.push_back(to);
        }
        return to;
      }
      case kRepeat:
        return EmitRepeat(regex, from);
      case kBegin:
      case kEnd: {
        const uint32_t to = Add();
        (regex.kind == kBegin ? nodes[from].begin : nodes[from].end).push_back(to);
        return to;
      }
    }
    return from;
  }
  Result<uint32_t> EmitRepeat(const Regex& regex, uint32_t from) {
    for (uint32_t i = 0; i < regex.least; ++i) {
      if (nodes.size() > kMaxNfaNodes || i > kMaxNfaNodes)
        return Fail(ErrorCode::kUnsupported, "the regular expression is too large");
      from = TRY(Emit(regex.parts[0], from));
    }
    const uint32_t to = Add();
    if (regex.most == kNoLimit) {
      nodes[from].empty.push_back(to);
      const uint32_t end = TRY(Emit(regex.parts[0], to));
      nodes[end].empty.push_back(to);
      return to;
    }
    for (uint32_t i = regex.least; i < regex.most; ++i) {
      if (i > kMaxNfaNodes)
        return Fail(ErrorCode::kUnsupported, "the regular expression is too large");
      nodes[from].empty.push_back(to);
      const uint32_t begin = Add();
      nodes[from].empty.push_back(begin);
      from = TRY(Emit(regex.parts[0], begin));
    }
    nodes[from].empty.push_back(to);
    return to;
  }

  std::vector<uint32_t> Closure(std::vector<uint32_t> set, bool begin, bool end) const {
    std::vector<bool> seen(nodes.size());
    for (const uint32_t node : set) seen[node] = true;
    for (size_t i = 0; i < set.size(); ++i) {
      const auto follow = [&](const std::vector<uint32_t>& to) {
        for (const uint32_t node : to) {
          if (!seen[node]) set.push_back(node);
          seen[node] = true;
        }
      };
      const Node& node = nodes[set[i]];
      follow(node.empty);
      if (begin) follow(node.begin);
      if (end) follow(node.end);
    }
    // What leads on only makes no difference, and behind `everything` nothing does.
    if (everything < nodes.size() && seen[everything]) return {everything};
    std::erase_if(set, [&](uint32_t node) {
      return node != last && nodes[node].sets.empty() && nodes[node].begin.empty() &&
             nodes[node].end.empty();
    });
    std::ranges::sort(set);
    return set;
  }
  uint32_t last = UINT32_MAX;        // where the text matches
  uint32_t everything = UINT32_MAX;  // and whatever follows
};

Result<CharDfa> Determinize(const Nfa& nfa, uint32_t start) {
  CharDfa dfa;
  std::map<std::vector<uint32_t>, uint32_t> known;
  std::vector<std::vector<uint32_t>> sets;
  uint64_t work = 0;
  // The start is a state of its own: only there the text has just begun.
  sets.push_back(nfa.Closure({start}, true, false));
  const auto id = [&](std::vector<uint32_t> nodes) {
    std::ranges::sort(nodes);
    nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
    work += nfa.nodes.size() / 16 + nodes.size();
    const auto [at, is_new] = known.try_emplace(nfa.Closure(std::move(nodes), false, false),
                                                static_cast<uint32_t>(sets.size()));
    if (is_new) sets.push_back(at->first);
    return at->second;
  };
  for (size_t i = 0; i < sets.size(); ++i) {
    if (sets.size() > kMaxCharStates || work > kMaxWork)
      return Fail(ErrorCode::kUnsupported, "the regular expression is too large or too ambiguous");
    const std::vector<uint32_t> set = sets[i];
    CharDfa::State state;
    const auto at_end = nfa.Closure(set, i == 0, true);
    state.final = std::ranges::binary_search(at_end, nfa.last);
    std::vector<uint32_t> cuts;
    for (const uint32_t node : set) {
      for (const auto& [chars, to] : nfa.nodes[node].sets) {
        for (const CharRange& range : chars.ranges()) {
          cuts.push_back(range.low);
          cuts.push_back(range.high + 1);
        }
      }
    }
    std::ranges::sort(cuts);
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    for (size_t k = 0; k + 1 < cuts.size(); ++k) {
      std::vector<uint32_t> next;
      for (const uint32_t node : set) {
        for (const auto& [chars, to] : nfa.nodes[node].sets) {
          if (chars.Has(cuts[k])) next.push_back(to);
        }
      }
      work += set.size();
      if (next.empty()) continue;
      const uint32_t to = id(std::move(next));
      if (!state.edges.empty() && state.edges.back().to == to &&
          state.edges.back().range.high + 1 == cuts[k]) {
        state.edges.back().range.high = cuts[k + 1] - 1;
      } else {
        state.edges.push_back({{cuts[k], cuts[k + 1] - 1}, to});
      }
    }
    dfa.states.push_back(std::move(state));
  }
  return Minimized(dfa);
}

bool HasAnchor(const Regex& regex) {
  return regex.kind == Regex::Kind::kBegin || regex.kind == Regex::Kind::kEnd ||
         std::ranges::any_of(regex.parts, HasAnchor);
}

ExprId Inner(const Regex& regex, Encoding encoding, Rules& rules) {
  using enum Regex::Kind;
  if (regex.kind == kSet) return rules.Char(regex.set, encoding);
  std::vector<ExprId> parts;
  for (const Regex& part : regex.parts) parts.push_back(Inner(part, encoding, rules));
  if (regex.kind == kRepeat) return rules.Repeat(parts[0], regex.least, regex.most);
  return regex.kind == kChoice ? rules.Choice(std::move(parts)) : rules.Sequence(std::move(parts));
}

}  // namespace

Result<Regex> ParseRegex(std::string_view pattern) {
  std::vector<uint32_t> chars;
  if (!CharsOf(pattern, chars))
    return Fail(ErrorCode::kInvalid, "the regular expression is not UTF-8");
  return Parser(std::move(chars)).Run();
}

Result<CharDfa> ToDfa(const Regex& regex, Match match) {
  Nfa nfa;
  uint32_t at = nfa.Add();
  const uint32_t start = at;
  const bool part = match == Match::kPart;
  if (part) nfa.nodes[at].sets.emplace_back(CharSet::Any(), at);
  const uint32_t begin = nfa.Add();
  nfa.nodes[at].empty.push_back(begin);
  at = TRY(nfa.Emit(regex, begin));
  nfa.last = nfa.Add();
  nfa.nodes[at].empty.push_back(nfa.last);
  if (part) {
    nfa.nodes[nfa.last].sets.emplace_back(CharSet::Any(), nfa.last);
    nfa.everything = nfa.last;
  }
  return Determinize(nfa, start);
}

std::optional<ExprId> ToExpression(const Regex& regex, Match match, Encoding encoding, ExprId any,
                                   Rules& rules) {
  using enum Regex::Kind;
  const bool choice = regex.kind == kChoice;
  std::vector<ExprId> branches;
  for (const Regex& branch : choice ? std::span(regex.parts) : std::span(&regex, 1)) {
    const bool list = branch.kind == kSequence;
    std::span<const Regex> parts = list ? std::span(branch.parts) : std::span(&branch, 1);
    const bool begin = !parts.empty() && parts.front().kind == kBegin;
    if (begin) parts = parts.subspan(1);
    const bool end = !parts.empty() && parts.back().kind == kEnd;
    if (end) parts = parts.first(parts.size() - 1);
    if (std::ranges::any_of(parts, HasAnchor)) return std::nullopt;
    std::vector<ExprId> exprs;
    const bool part = match == Match::kPart;
    if (part && !begin) exprs.push_back(rules.Repeat(any, 0, kNoLimit));
    for (const Regex& one : parts) exprs.push_back(Inner(one, encoding, rules));
    if (part && !end) exprs.push_back(rules.Repeat(any, 0, kNoLimit));
    branches.push_back(rules.Sequence(std::move(exprs)));
  }
  return rules.Choice(std::move(branches));
}

}  // namespace exo::grammar
