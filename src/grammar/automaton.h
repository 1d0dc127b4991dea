// A compiled grammar: for each rule a deterministic automaton over bytes whose edges may also be
// calls of other rules. With the stack of calls that have not returned (stacks.h) it recognizes any
// context-free language without left recursion.
//
// A counted rule is one loop that ends at least `least` and at most `most` times at its start
// state: its length is a number beside the state, not a state for each.
//
// Immutable. Thread: any.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "grammar/expression.h"

namespace exo::grammar {

using StateId = uint32_t;

// Calls that have not returned, at most: JSON that is nested about as deep.
inline constexpr uint32_t kMostDepth = 128;

struct Automaton {
  struct Edge {
    uint8_t low = 0, high = 0;
    StateId to = 0;
  };
  struct Call {
    RuleId rule = 0;
    StateId to = 0;
    bool tail = false;  // nothing happens in `to` but the return
  };
  struct TokenEdge {
    TokenId token = -1;  // -1: every special token that is not in `begin_tokens`
    StateId to = 0;
  };
  struct State {
    uint32_t first_edge = 0, edges = 0;
    uint32_t first_call = 0, calls = 0;
    uint32_t first_token = 0, tokens = 0;
    RuleId rule = 0;
    uint32_t need = 0;   // calls on top of each other that it takes to the rule's end at least
    bool final = false;  // of a counted rule's start: where it was repeated often enough
  };
  struct Rule {
    StateId start = 0;
    bool counted = false;
    uint32_t least = 0, most = kNoLimit;
    uint32_t need = 0;  // of its start, where a counted rule has been repeated less than `least`
    RuleId body = 0;    // the first counted rule with the same states, but other limits
  };

  std::vector<State> states;
  std::vector<Rule> rules;
  RuleId root = 0;
  std::vector<TokenId> begin_tokens;  // ascending
  uint32_t check = 0;                 // of all of it: tells a state of another grammar

  std::span<const Edge> EdgesOf(const State& s) const {
    return std::span(edges_).subspan(s.first_edge, s.edges);
  }
  std::span<const Call> CallsOf(const State& s) const {
    return std::span(calls_).subspan(s.first_call, s.calls);
  }
  std::span<const TokenEdge> TokensOf(const State& s) const {
    return std::span(tokens_).subspan(s.first_token, s.tokens);
  }
  uint64_t bytes() const;  // of memory

  std::vector<Edge> edges_;
  std::vector<Call> calls_;
  std::vector<TokenEdge> tokens_;
};

// Errors: kUnsupported (left recursion, too large), kInvalid (no text at all fits the grammar).
// Cost: linear in practice; bounded by kMaxAutomatonStates and kMaxCompileWork.
Result<std::shared_ptr<const Automaton>> Compile(const Rules& rules);

inline constexpr size_t kMaxAutomatonStates = 1u << 17;
inline constexpr uint64_t kMaxCompileWork = 20'000'000;  // steps of a few nanoseconds

}  // namespace exo::grammar
