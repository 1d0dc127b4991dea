#include "grammar/char_dfa.h"

#include <algorithm>
#include <map>
#include <utility>

namespace exo::grammar {
namespace {

constexpr uint32_t kDead = UINT32_MAX;
// Larger ones, and those that take more rounds, keep their states: a chain takes as many rounds as
// it has states.
constexpr size_t kMaxMinimized = 256;
constexpr size_t kMaxRounds = 16;

std::unexpected<Error> TooLarge() {
  return Fail(ErrorCode::kUnsupported,
              "the rules for a text need more than {} states together; make lengths or patterns "
              "simpler",
              kMaxCharStates);
}

// Appends, joined with what is there when they touch and lead to the same state.
void AddEdge(std::vector<CharDfa::Edge>& edges, CharRange range, uint32_t to) {
  if (!edges.empty() && edges.back().to == to && edges.back().range.high + 1 == range.low) {
    edges.back().range.high = range.high;
  } else {
    edges.push_back({range, to});
  }
}

uint32_t Next(const CharDfa& dfa, uint32_t state, uint32_t c) {
  for (const CharDfa::Edge& edge : dfa.states[state].edges) {
    if (c >= edge.range.low && c <= edge.range.high) return edge.to;
  }
  return kDead;
}

// Calls f(range, to of a, to of b) for the pieces of all characters, kDead where there is no edge.
template <class F>
void ForPieces(const CharDfa& a, uint32_t p, const CharDfa& b, uint32_t q, F f) {
  static const std::vector<CharDfa::Edge> kNone;
  const auto& left = p == kDead ? kNone : a.states[p].edges;
  const auto& right = q == kDead ? kNone : b.states[q].edges;
  size_t i = 0, j = 0;
  for (uint32_t at = 0; at <= kLastChar;) {
    while (i < left.size() && left[i].range.high < at) ++i;
    while (j < right.size() && right[j].range.high < at) ++j;
    uint32_t end = kLastChar, to_left = kDead, to_right = kDead;
    const auto look = [&](const std::vector<CharDfa::Edge>& edges, size_t k, uint32_t& to) {
      if (k == edges.size()) return;
      const bool inside = edges[k].range.low <= at;
      if (inside) to = edges[k].to;
      end = std::min(end, inside ? edges[k].range.high : edges[k].range.low - 1);
    };
    look(left, i, to_left);
    look(right, j, to_right);
    f(CharRange{at, end}, to_left, to_right);
    at = end + 1;
  }
}

template <class Final>
Result<CharDfa> Product(const CharDfa& a, const CharDfa& b, bool both, Final final) {
  CharDfa out;
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> known;
  std::vector<std::pair<uint32_t, uint32_t>> all;
  const auto id = [&](uint32_t p, uint32_t q) {
    const auto [at, is_new] = known.try_emplace({p, q}, static_cast<uint32_t>(all.size()));
    if (is_new) all.emplace_back(p, q);
    return at->second;
  };
  id(0, 0);
  for (size_t i = 0; i < all.size(); ++i) {
    if (all.size() > kMaxCharStates) return TooLarge();
    const auto [p, q] = all[i];
    CharDfa::State state;
    state.final = final(p != kDead && a.states[p].final, q != kDead && b.states[q].final);
    ForPieces(a, p, b, q, [&](CharRange range, uint32_t to_a, uint32_t to_b) {
      if (both ? to_a == kDead || to_b == kDead : to_a == kDead && to_b == kDead) return;
      AddEdge(state.edges, range, id(to_a, to_b));
    });
    out.states.push_back(std::move(state));
  }
  return Minimized(out);
}

// States from which a final one is reached.
std::vector<bool> Useful(const CharDfa& dfa) {
  std::vector<bool> useful(dfa.states.size());
  for (size_t i = 0; i < useful.size(); ++i) useful[i] = dfa.states[i].final;
  for (bool more = true; more;) {
    more = false;
    for (size_t i = dfa.states.size(); i-- > 0;) {
      if (useful[i]) continue;
      useful[i] = std::ranges::any_of(dfa.states[i].edges,
                                      [&](const CharDfa::Edge& edge) { return useful[edge.to]; });
      more = more || useful[i];
    }
  }
  return useful;
}

}  // namespace

bool CharDfa::Accepts(std::string_view text) const {
  std::vector<uint32_t> chars;
  if (!CharsOf(text, chars)) return false;
  uint32_t state = 0;
  for (const uint32_t c : chars) {
    state = Next(*this, state, c);
    if (state == kDead) return false;
  }
  return states[state].final;
}

bool CharDfa::Empty() const {
  return !Useful(*this)[0];
}

bool CharDfa::Everything(uint32_t state) const {
  const State& s = states[state];
  CharSet all;
  for (const Edge& edge : s.edges) {
    if (edge.to != state) return false;
    all.Add(edge.range.low, edge.range.high);
  }
  return s.final && all == CharSet::Any();
}

CharDfa CharDfa::Any() {
  return {.states = {{.edges = {{{0, kLastChar}, 0}}, .final = true}}};
}

CharDfa CharDfa::Of(std::span<const std::string> texts) {
  CharDfa out{.states = {{}}};
  for (const std::string& text : texts) {
    std::vector<uint32_t> chars;
    if (!CharsOf(text, chars)) continue;
    uint32_t state = 0;
    for (const uint32_t c : chars) {
      uint32_t to = Next(out, state, c);
      if (to == kDead) {
        to = static_cast<uint32_t>(out.states.size());
        out.states.emplace_back();
        auto& edges = out.states[state].edges;
        edges.insert(
            std::ranges::upper_bound(edges, c, {}, [](const Edge& e) { return e.range.low; }),
            Edge{{c, c}, to});
      }
      state = to;
    }
    out.states[state].final = true;
  }
  return out;
}

Result<CharDfa> CharDfa::OfLength(uint32_t least, uint32_t most) {
  const uint32_t last = most == UINT32_MAX ? least : most;
  if (last >= kMaxCharStates) return TooLarge();
  CharDfa out;
  for (uint32_t i = 0; i <= last; ++i) {
    State state{.final = i >= least};
    if (i < last) state.edges = {{{0, kLastChar}, i + 1}};
    if (i == last && most == UINT32_MAX) state.edges = {{{0, kLastChar}, i}};
    out.states.push_back(std::move(state));
  }
  return out;
}

Result<CharDfa> And(const CharDfa& a, const CharDfa& b) {
  return Product(a, b, true, [](bool x, bool y) { return x && y; });
}
Result<CharDfa> Or(const CharDfa& a, const CharDfa& b) {
  return Product(a, b, false, [](bool x, bool y) { return x || y; });
}

CharDfa Not(const CharDfa& a) {
  CharDfa out;
  const auto rest = static_cast<uint32_t>(a.states.size());
  for (uint32_t i = 0; i <= rest; ++i) {
    CharDfa::State state{.final = i == rest || !a.states[i].final};
    ForPieces(a, i == rest ? kDead : i, a, kDead, [&](CharRange range, uint32_t to, uint32_t) {
      AddEdge(state.edges, range, to == kDead ? rest : to);
    });
    out.states.push_back(std::move(state));
  }
  return Minimized(out);
}

CharDfa Minimized(const CharDfa& dfa) {
  const std::vector<bool> useful = Useful(dfa);
  using Signature = std::pair<uint32_t, std::vector<CharDfa::Edge>>;
  const auto less = [](const Signature& a, const Signature& b) {
    if (a.first != b.first) return a.first < b.first;
    return std::ranges::lexicographical_compare(
        a.second, b.second, [](const auto& x, const auto& y) {
          return std::tie(x.range, x.to) < std::tie(y.range, y.to);
        });
  };
  std::vector<uint32_t> part(dfa.states.size());
  const bool small = part.size() <= kMaxMinimized;
  for (uint32_t i = 0; i < part.size(); ++i) part[i] = !small ? i : dfa.states[i].final ? 1 : 0;
  size_t rounds = 0;
  for (size_t parts = 0; small;) {
    if (++rounds > kMaxRounds) {
      for (uint32_t i = 0; i < part.size(); ++i) part[i] = i;
      break;
    }
    std::map<Signature, uint32_t, decltype(less)> known(less);
    std::vector<uint32_t> next(part.size());
    // The start comes first, so that its part is 0.
    for (size_t i = 0; i < part.size(); ++i) {
      Signature signature{part[i], {}};
      for (const CharDfa::Edge& edge : dfa.states[i].edges) {
        if (useful[edge.to]) AddEdge(signature.second, edge.range, part[edge.to]);
      }
      next[i] = known.try_emplace(std::move(signature), static_cast<uint32_t>(known.size()))
                    .first->second;
    }
    part = std::move(next);
    if (known.size() == parts) break;
    parts = known.size();
  }
  CharDfa out;
  for (size_t i = 0; i < part.size(); ++i) {
    if (part[i] != out.states.size()) continue;
    CharDfa::State state{.final = dfa.states[i].final};
    for (const CharDfa::Edge& edge : dfa.states[i].edges) {
      if (useful[edge.to]) AddEdge(state.edges, edge.range, part[edge.to]);
    }
    out.states.push_back(std::move(state));
  }
  return out;
}

}  // namespace exo::grammar
