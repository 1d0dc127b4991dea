// For tests: which texts a compiled grammar accepts, and random ones of it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "grammar/stacks.h"

namespace exo::grammar {

inline bool Accepts(const Automaton& automaton, std::string_view text) {
  Stacks stacks(automaton);
  SetId set = stacks.Start();
  for (const char c : text) set = stacks.Step(set, static_cast<uint8_t>(c));
  return stacks.Ends(set);
}

// Bytes drawn evenly from those that may come; ends where it may with one chance in `stop`. Empty:
// longer than `most` (a grammar of tests has no empty text), or nothing could come.
inline std::string RandomText(const Automaton& automaton, Rng& rng, size_t most, uint32_t stop) {
  Stacks stacks(automaton);
  SetId set = stacks.Start();
  std::string text;
  while (text.size() < most) {
    std::vector<uint8_t> next;
    for (int byte = 0; byte < 256; ++byte) {
      if (stacks.Step(set, static_cast<uint8_t>(byte)) != kDeadSet)
        next.push_back(static_cast<uint8_t>(byte));
    }
    if (next.empty() || (stacks.Ends(set) && rng.Below(stop) == 0))
      return stacks.Ends(set) ? text : "";
    // Rather the brackets that close and the quotes than any other byte.
    uint8_t byte = next[rng.Below(next.size())];
    for (const uint8_t end : {'"', '}', ']'}) {
      const bool there = std::find(next.begin(), next.end(), end) != next.end();
      if (there && rng.Below(4) == 0) byte = end;
    }
    text += static_cast<char>(byte);
    set = stacks.Step(set, byte);
  }
  return "";
}

}  // namespace exo::grammar
