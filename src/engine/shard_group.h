// The links between the shards of a group: every shard computes its part of each layer, and the
// sums are exchanged between all, one hop each. In the lead's group the lead tells the others each
// step, and behind the sums it asks for logits, of which each shard has those of its part of the
// vocabulary.
//
// Thread: the runner's.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/split_trees.h"
#include "base/result.h"
#include "base/units.h"
#include "engine/data_link.h"
#include "engine/timers.h"
#include "model/config.h"
#include "sys/system.h"
#include "wire/messages.h"
#include "wire/plan.h"

namespace exo::engine {

// What another device failed with, as a code of the link to it: its kNotFound and kCancelled would
// mean a frame or a request of this one.
ErrorCode CodeOfPeer(ErrorCode code);

// What a shard of a plan for this model computes.
backend::Shard ShardOf(const wire::ShardPlan& plan, const model::ModelConfig& config);

// Values of the largest frame between the shards of this stage's group; `low_rank`:
// StageWorker::low_rank.
uint64_t MostShardFloats(const wire::Plan& plan, uint32_t stage, const model::ModelConfig& config,
                         uint32_t low_rank);

class ShardGroup final : public backend::Collective {
 public:
  // The group of plan.stages[stage]. links[i]: to its shard i; null at the own one. All of it must
  // outlive the object.
  ShardGroup(const wire::Plan& plan, uint32_t stage, const model::ModelConfig& config,
             std::vector<DataLink*> links, const StageTimers& timers);

  // To every other shard of the group, before its sums are wanted. Errors: kDisconnected.
  Result<void> Tell(const wire::Message& message, std::span<const float> rows);
  // The sums that follow are those of this step, whose computing begins.
  void Begin(uint64_t step);
  // This shard computes again; it was waiting until now.
  void Resume() { resumed_ = sys::Now(); }
  // What each shard has computed of it: the time without waiting for the others, this one's until
  // now.
  std::vector<wire::StageTime> Times() const;
  // Errors: kDisconnected, kCorrupt (partials of another step or size), what a shard failed with
  // (CodeOfPeer).
  Result<void> Sum(std::span<const backend::SplitSum> sums) override;
  Result<void> AskLogits(size_t first, size_t count, uint32_t best,
                         std::span<const float> states) override;
  Result<void> TakeLogits(std::span<float> logits) override;
  // Of another shard beside the lead: its answer to `wanted`, [count][its rows] as it has just
  // computed them.
  Result<void> GiveLogits(const wire::LogitsWanted& wanted, std::span<const float> logits);

  // The shard whose link broke, or zero.
  const NodeId& lost() const { return lost_; }

 private:
  // What a shard says next, valid until its link is polled again. Errors: those of Sum.
  Result<DataLink::Frame> Receive(size_t shard);
  Result<std::span<const float>> ReceivePartials(size_t shard, size_t values);
  Result<void> ReceiveLogits(size_t shard, std::span<float> logits);
  const wire::StagePlan& StageOf(size_t shard) const { return plan_.stages[group_.begin + shard]; }
  uint32_t VocabOf(size_t shard) const;
  // The time until now was spent on computing.
  void Pause() { computed_ += sys::Now() - resumed_; }

  const wire::Plan& plan_;
  const wire::StageGroup group_;
  const size_t own_;         // of the group's
  const bool sends_states_;  // other groups have computed what logits are wanted of
  const std::vector<DataLink*> links_;
  const StageTimers& timers_;
  const backend::SplitTrees trees_;
  uint64_t step_ = 0;
  uint32_t sum_ = 0;                    // of the step
  wire::LogitsWanted asked_;            // last, by the lead
  Time resumed_{}, computed_{};         // since the last exchange, and before it
  std::vector<uint64_t> microseconds_;  // of each other shard
  NodeId lost_;
};

}  // namespace exo::engine
