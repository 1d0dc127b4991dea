// Numbers between bounds, and multiples, as automata over their digits. What is compared is the
// text: exact, whatever binary64 makes of it.
#include <algorithm>

#include "grammar/regex.h"
#include "grammar/schema_writer.h"

namespace exo::grammar {
namespace {

constexpr uint64_t kMaxResidues = 8000;  // states of a multiple's automaton

// |value| in decimal: no leading zeros in `whole` but a single one, no trailing zeros in `part`.
struct Decimal {
  bool negative = false;
  std::string whole, part;
};

Decimal DecimalOf(const Json& value) {
  std::string text = TextOf(value);
  Decimal out;
  out.negative = text.starts_with('-');
  if (out.negative) text.erase(0, 1);
  int exponent = 0;
  if (const size_t e = text.find_first_of("eE"); e != std::string::npos) {
    exponent = std::stoi(text.substr(e + 1));
    text.resize(e);
  }
  const size_t point = std::min(text.find('.'), text.size());
  std::string digits = text.substr(0, point) + (point < text.size() ? text.substr(point + 1) : "");
  int places = static_cast<int>(point) + exponent;  // digits in front of the point
  if (places <= 0) {
    digits.insert(0, static_cast<size_t>(1 - places), '0');
    places = 1;
  }
  if (digits.size() < static_cast<size_t>(places)) digits.resize(static_cast<size_t>(places), '0');
  out.whole = digits.substr(0, static_cast<size_t>(places));
  out.part = digits.substr(static_cast<size_t>(places));
  out.whole.erase(0, std::min(out.whole.find_first_not_of('0'), out.whole.size() - 1));
  out.part.resize(out.part.find_last_not_of('0') + 1);
  if (out.whole == "0" && out.part.empty()) out.negative = false;
  return out;
}

Result<CharDfa> DfaOf(std::string_view pattern) {
  return ToDfa(TRY(ParseRegex(pattern)), Match::kAll);
}

// Magnitudes above the bound, or equal to it when `equal`.
Result<CharDfa> Above(const Decimal& bound, bool equal) {
  constexpr const char* kPart = "(?:\\.[0-9]+)?";
  const std::string &whole = bound.whole, &part = bound.part;
  std::string all = fmt::format("[1-9][0-9]{{{},}}{}", whole.size(), kPart);
  for (size_t i = 0; i < whole.size(); ++i) {
    if (whole[i] == '9') continue;
    all += fmt::format("|{}[{}-9][0-9]{{{}}}{}", whole.substr(0, i), char(whole[i] + 1),
                       whole.size() - i - 1, kPart);
  }
  for (size_t i = 0; i < part.size(); ++i) {
    if (part[i] == '9') continue;
    all += fmt::format("|{}\\.{}[{}-9][0-9]*", whole, part.substr(0, i), char(part[i] + 1));
  }
  const std::string same = part.empty() ? whole : whole + "\\." + part;
  if (part.empty()) {
    all += fmt::format("|{}\\.0*[1-9][0-9]*", same);
    if (equal) all += fmt::format("|{}(?:\\.0+)?", same);
  } else {
    all += fmt::format("|{}0*[1-9][0-9]*", same);
    if (equal) all += fmt::format("|{}0*", same);
  }
  return DfaOf(all);
}

// The texts of `positive`, and those of `negative` behind a minus.
CharDfa Signed(const CharDfa& positive, const CharDfa& negative) {
  CharDfa out;
  out.states.emplace_back();
  const auto add = [&](const CharDfa& dfa) {
    const auto first = static_cast<uint32_t>(out.states.size());
    for (CharDfa::State state : dfa.states) {
      for (CharDfa::Edge& edge : state.edges) edge.to += first;
      out.states.push_back(std::move(state));
    }
    return first;
  };
  const uint32_t plain = add(positive);
  out.states[0] = out.states[plain];
  const uint32_t minus = add(negative);
  auto& edges = out.states[0].edges;
  edges.insert(edges.begin(), {{'-', '-'}, minus});
  return out;
}

Result<CharDfa> Within(const Bound& limit, bool lower, const CharDfa& all) {
  const Decimal bound = DecimalOf(*limit.value);
  const CharDfa none{.states = {{}}};
  // Away from zero in the direction of the bound, the bound included or not.
  if (bound.negative != lower) {
    const CharDfa far = TRY(And(all, TRY(Above(bound, !limit.exclusive))));
    return lower ? Signed(far, none) : Signed(none, far);
  }
  const CharDfa near = TRY(And(all, Not(TRY(Above(bound, limit.exclusive)))));
  return lower ? Signed(all, near) : Signed(near, all);
}

// Digits whose number, with up to `places` digits behind the point, is a multiple.
Result<CharDfa> Multiples(const Json& factor) {
  const Decimal decimal = DecimalOf(factor);
  const std::string digits = decimal.whole + decimal.part;
  const size_t places = decimal.part.size();
  const uint64_t step = digits.size() > 12 ? UINT64_MAX : std::stoull(digits);
  if (step == 0 || step > kMaxResidues / (places + 2))
    return Fail(ErrorCode::kUnsupported,
                "\"multipleOf\" {} of the schema is not supported: it has too many digits",
                Shown(factor));
  // State: how many digits behind the point (0: none yet; 1: the point alone), and the residue.
  CharDfa dfa;
  const auto id = [&](size_t phase, uint64_t rest) {
    return static_cast<uint32_t>(phase * step + rest);
  };
  for (size_t phase = 0; phase <= places + 1; ++phase) {
    uint64_t scale = 1;
    const size_t behind = phase == 0 ? 0 : phase - 1;
    for (size_t i = behind; i < places; ++i) scale = scale * 10 % step;
    for (uint64_t rest = 0; rest < step; ++rest) {
      CharDfa::State state{.final = rest * scale % step == 0};
      if (phase == 0) state.edges.push_back({{'.', '.'}, id(1, rest)});
      for (uint32_t digit = 0; digit <= 9; ++digit) {
        const bool full = phase == places + 1;
        if (full && digit > 0) break;
        const uint64_t next = full ? rest : (rest * 10 + digit) % step;
        state.edges.push_back(
            {{'0' + digit, '0' + digit}, id(phase == 0 || full ? phase : phase + 1, next)});
      }
      dfa.states.push_back(std::move(state));
    }
  }
  return dfa;
}

// Of the texts of numbers, those within all bounds that are multiples of all factors. `all`: the
// texts without a sign.
Result<CharDfa> Kept(CharDfa texts, const Facts& facts, const CharDfa& all) {
  for (const Bound& bound : facts.lower) texts = TRY(And(texts, TRY(Within(bound, true, all))));
  for (const Bound& bound : facts.upper) texts = TRY(And(texts, TRY(Within(bound, false, all))));
  for (const Json* factor : facts.factors) {
    const CharDfa digits = TRY(Multiples(*factor));
    texts = TRY(And(texts, Signed(digits, digits)));
  }
  return Minimized(texts);
}

}  // namespace

Result<CharDfa> NumberTexts(const Facts& facts) {
  const bool limited = !facts.lower.empty() || !facts.upper.empty() || !facts.factors.empty();
  // Where exact multiples are asked for, as many digits as binary64 tells apart.
  const char* whole = facts.factors.empty() ? "(?:0|[1-9][0-9]{0,15})" : "(?:0|[1-9][0-9]{0,8})";
  if (facts.integer) {
    const CharDfa all = TRY(DfaOf(whole)), above = TRY(DfaOf(std::string(whole).replace(3, 2, "")));
    return Kept(Signed(all, above), facts, all);
  }
  const char* part = facts.factors.empty() ? "(?:\\.[0-9]{1,16})?" : "(?:\\.[0-9]{1,6})?";
  const CharDfa all = TRY(DfaOf(std::string(whole) + part));
  if (!limited) return DfaOf(fmt::format("-?{}{}(?:[eE][+-]?[0-9]{{1,2}})?", whole, part));
  return Kept(Signed(all, all), facts, all);
}

}  // namespace exo::grammar
