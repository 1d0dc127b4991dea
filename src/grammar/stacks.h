// Where a text is in a grammar: the set of all stacks of states that its bytes can have led to.
// Sets are kept once each and known by their number; what they share below is shared. Steps are
// remembered, so that walking over a vocabulary follows a table.
//
// A number is valid until Clear. Serialized, a set is the same on every device that has compiled
// the same grammar.
//
// Thread: one caller at a time. The automaton must outlive it.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/automaton.h"

namespace exo::grammar {

using SetId = uint32_t;
inline constexpr SetId kDeadSet = 0;    // no text goes on from here
inline constexpr SetId kBottomSet = 1;  // below the root: nothing is left to return to
inline constexpr StateId kEnd = UINT32_MAX;

// A stack: its top, and the set of what may lie below.
struct StackTop {
  StateId state = 0;   // kEnd: the text is complete
  uint32_t count = 0;  // of a counted rule: how often it has come to its start
  SetId below = kBottomSet;
  friend auto operator<=>(const StackTop&, const StackTop&) = default;
};

// Tops of one set at most. More are left out, the last ones: each stack that stays can end by
// itself, so that the language gets smaller and never larger.
inline constexpr size_t kMostTops = 512;

class Stacks {
 public:
  explicit Stacks(const Automaton& automaton);

  // The beginning of a text.
  SetId Start();
  // A set with one stack that is below nothing: kEnd means that the state's rule has ended.
  SetId Alone(StateId state, uint32_t count);
  SetId Step(SetId set, uint8_t byte) {
    const uint32_t table = sets_[set].table;
    if (table != kNoTable) {
      const SetId known = tables_[table][byte];
      if (known != kUnknown) return known;
    }
    return StepNew(set, byte);
  }
  SetId StepToken(SetId set, TokenId token);
  // What goes on when the rule on top has ended.
  SetId Return(SetId below);
  bool Ends(SetId set) const { return sets_[set].ends; }
  uint32_t depth(SetId set) const { return sets_[set].depth; }
  std::span<const StackTop> Tops(SetId set) const {
    return std::span(tops_).subspan(sets_[set].first, sets_[set].size);
  }

  std::vector<uint8_t> Serialize(SetId set) const;
  // kDeadSet: these are not bytes of Serialize for this grammar.
  SetId Parse(std::span<const uint8_t> bytes);

  uint64_t bytes() const;
  void Clear();

 private:
  static constexpr uint32_t kNoTable = UINT32_MAX;
  static constexpr SetId kUnknown = UINT32_MAX;
  struct Set {
    uint32_t first = 0, size = 0;  // of tops_
    uint32_t table = kNoTable;
    uint16_t depth = 0;
    bool ends = false;
  };

  SetId StepNew(SetId set, uint8_t byte);
  SetId Intern(std::vector<StackTop> tops);
  SetId Union(SetId a, SetId b);
  void Close(const StackTop& top, std::vector<StackTop>& seen);
  // The closed set of these.
  SetId Closed(std::span<const StackTop> tops);
  bool Waits(const StackTop& top) const;

  const Automaton& automaton_;
  std::vector<Set> sets_;
  std::vector<StackTop> tops_;
  std::deque<std::array<SetId, 256>> tables_;
  std::unordered_multimap<uint64_t, SetId> known_;
  std::unordered_map<SetId, SetId> returns_;
};

}  // namespace exo::grammar
