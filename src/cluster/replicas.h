// Which of a model's instances a request goes to: where the longest beginning of its prompt has
// been before, since its KV may be there still, else where the next answer comes fastest.
// All give the same answer, so that this is about time only.
//
// Thread: one caller at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/units.h"
#include "wire/messages.h"

namespace exo::cluster {

// Remembers where prompts went, by hashes of their beginnings. A hint: what it says may be
// forgotten or evicted there, and a hash may be another prompt's. Bounded: the newest kMost to
// 2 kMost beginnings.
class PrefixHints {
 public:
  // Beginnings are told apart in steps of so many tokens.
  static constexpr size_t kStep = 64;
  static constexpr size_t kMost = 8192;

  // `scope`: requests of different ones share nothing; say the model and what its Submit names.
  void Note(uint64_t scope, std::span<const TokenId> prompt, const PlanId& plan);
  struct Known {
    PlanId plan;
    size_t tokens = 0;  // of the beginning; 0: none is known
  };
  // The longest beginning that went to one of these.
  Known Find(uint64_t scope, std::span<const TokenId> prompt,
             const std::vector<PlanId>& among) const;

 private:
  const PlanId* At(uint64_t hash) const;

  std::map<uint64_t, PlanId> newer_, older_;
};

// Requests of this entry that ended a moment ago: what their leads have told may count them still.
class RecentEnds {
 public:
  void Note(const PlanId& plan, Time began, Time now);
  // The most of them that were active at once: what was told is of one moment.
  uint32_t Count(const PlanId& plan, Time now) const;

 private:
  struct End {
    PlanId plan;
    Time began{}, ended{};
  };
  std::deque<End> ends_;
};

// How fast answers of one instance come.
struct AnswerRate {
  double alone = 1;  // tokens/s of one answer; > 0
  // So much longer, as a part of a step with one row, is a step for each further row: weights are
  // read once for all. None: not known.
  std::optional<double> further = {};

  // From a prediction of one answer and of so many together, in tokens/s.
  static AnswerRate Of(double alone, double together, uint32_t users);
  // Seconds of a step with so many answers.
  double StepOf(uint32_t answers) const {
    return (1 + further.value_or(kFurther) * (answers - 1.0)) / alone;
  }

 private:
  static constexpr double kFurther = 0.25;  // 1B in Q4_0 with 16 answers on AVX-512: 0.20 to 0.24
};
// How many of the answers go to each of several instances, as entry nodes send them.
std::vector<uint32_t> ShareUsers(const std::vector<AnswerRate>& rates, uint32_t users);

// One that may take a request.
struct ReplicaLoad {
  PlanId plan;
  uint32_t requests = 0;  // that it has: running and waiting
  AnswerRate rate = {};
  bool here = false;  // its lead is the entry node
};
// The index of the one that a request goes to; `all` is not empty. What is not known of one is
// taken from another: the model is the same. `known` counts where it is at least half of the prompt
// and a step is at most kPatience times as long there as elsewhere.
inline constexpr double kPatience = 2;
size_t ChooseReplica(std::vector<ReplicaLoad> all, const PrefixHints::Known& known,
                     size_t prompt_tokens);

// Of the model and of what of a request decides the KV of its prompt.
uint64_t PrefixScope(const ModelId& model, const wire::Submit& submit);

}  // namespace exo::cluster
