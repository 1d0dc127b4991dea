#include "grammar/trigger.h"

#include <algorithm>

namespace exo::grammar {

Result<Waiting> WaitFor(const std::vector<std::vector<uint32_t>>& triggers) {
  // States are the beginnings of triggers, as in Aho and Corasick's automaton.
  std::vector<std::vector<uint32_t>> states = {{}};
  for (const auto& trigger : triggers) {
    for (size_t size = 1; size <= trigger.size(); ++size) {
      std::vector<uint32_t> begin(trigger.begin(), trigger.begin() + static_cast<ptrdiff_t>(size));
      if (std::ranges::find(states, begin) == states.end()) states.push_back(std::move(begin));
    }
  }
  if (states.size() > kMaxCharStates / 8)
    return Fail(ErrorCode::kUnsupported, "the texts that begin a grammar are too long together");
  Waiting out;
  out.found.assign(states.size(), -1);
  for (size_t i = 0; i < states.size(); ++i) {
    for (size_t t = 0; t < triggers.size() && out.found[i] < 0; ++t) {
      const size_t size = triggers[t].size();
      if (size == 0 || size > states[i].size()) continue;
      if (std::equal(triggers[t].begin(), triggers[t].end(),
                     states[i].end() - static_cast<ptrdiff_t>(size)))
        out.found[i] = static_cast<int>(t);
    }
  }
  CharSet letters;
  for (const auto& trigger : triggers) {
    for (const uint32_t c : trigger) letters.Add(c, c);
  }
  for (size_t i = 0; i < states.size(); ++i) {
    CharDfa::State state;
    const auto next = [&](uint32_t c) {
      std::vector<uint32_t> text = states[i];
      text.push_back(c);
      for (; !text.empty(); text.erase(text.begin())) {
        const auto at = std::ranges::find(states, text);
        if (at != states.end()) return static_cast<uint32_t>(at - states.begin());
      }
      return 0u;
    };
    if (out.found[i] < 0) {
      for (const CharRange& range : letters.ranges()) {
        for (uint32_t c = range.low; c <= range.high; ++c) state.edges.push_back({{c, c}, next(c)});
      }
      for (const CharRange& range : letters.Negated().ranges()) state.edges.push_back({range, 0});
      std::ranges::sort(state.edges, {}, [](const CharDfa::Edge& e) { return e.range.low; });
    }
    out.dfa.states.push_back(std::move(state));
  }
  return out;
}

CharDfa Waiting::Until(int trigger) const {
  CharDfa until = dfa;
  for (size_t i = 0; i < until.states.size(); ++i) until.states[i].final = found[i] == trigger;
  return Minimized(until);
}

}  // namespace exo::grammar
