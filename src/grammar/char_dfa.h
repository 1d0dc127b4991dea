// Deterministic automata over characters: the languages of string values and of keys, where sets of
// texts must be cut, joined and complemented. A missing edge rejects.
//
// Values. Thread: any.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "grammar/char_set.h"

namespace exo::grammar {

// States of one automaton at most: a compile ends in milliseconds.
inline constexpr size_t kMaxCharStates = 8192;

struct CharDfa {
  struct Edge {
    CharRange range;
    uint32_t to = 0;
    friend bool operator==(const Edge&, const Edge&) = default;
  };
  struct State {
    std::vector<Edge> edges;  // ascending, disjoint
    bool final = false;
  };
  std::vector<State> states;  // [0] is the start

  bool Accepts(std::string_view text) const;
  // No text at all.
  bool Empty() const;
  // From this state on every text is accepted.
  bool Everything(uint32_t state) const;

  static CharDfa Any();
  static CharDfa Of(std::span<const std::string> texts);
  // Texts of `least` to `most` characters; most UINT32_MAX: no limit.
  static Result<CharDfa> OfLength(uint32_t least, uint32_t most);
};

// Errors of these: kUnsupported, more than kMaxCharStates.
Result<CharDfa> And(const CharDfa& a, const CharDfa& b);
Result<CharDfa> Or(const CharDfa& a, const CharDfa& b);
CharDfa Not(const CharDfa& a);
// The same language with as few states as may be.
CharDfa Minimized(const CharDfa& dfa);

}  // namespace exo::grammar
