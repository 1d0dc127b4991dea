// The links between the shards of a plan: the lead tells all of them each step, every shard
// computes its part of each layer, and the sums are exchanged between all, one hop each.
//
// Thread: the runner's.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/collective.h"
#include "base/result.h"
#include "base/units.h"
#include "engine/data_link.h"
#include "engine/timers.h"
#include "model/config.h"
#include "wire/messages.h"

namespace exo::engine {

// Partial sums of one product that any shard of the plan sends at once.
size_t MostPartials(const wire::Plan& plan, const model::ModelConfig& config);

class ShardGroup final : public backend::Collective {
 public:
  // links[i]: to the shard plan.stages[i]; null at `own`. All of it must outlive the object.
  ShardGroup(const wire::Plan& plan, uint32_t own, const model::ModelConfig& config,
             std::vector<DataLink*> links, const StageTimers& timers);

  // To every other shard, before its sums are wanted. Errors: kDisconnected.
  Result<void> Tell(const wire::Message& message, std::span<const float> rows);
  // The sums that follow are those of this step, whose computing begins.
  void Begin(uint64_t step);
  // What each shard has computed of it: the time without waiting for the others, this one's until
  // now.
  std::vector<wire::StageTime> Times() const;
  // Errors: kDisconnected, kCorrupt (partials of another step or size), what a shard failed with.
  Result<void> Sum(backend::SplitProduct product, uint32_t leaves,
                   std::span<const backend::Partial> own, std::span<float> sum) override;

  DataLink& to_lead() { return *links_[0]; }
  // The shard whose link broke, or zero.
  const NodeId& lost() const { return lost_; }

 private:
  using Parts = std::vector<std::vector<backend::LeafRange>>;  // subtrees of each shard's part
  // The next partials of a shard: [parts][values], valid until its link is polled again.
  Result<std::span<const float>> Receive(size_t shard);

  const wire::Plan& plan_;
  const uint32_t own_;
  const std::vector<DataLink*> links_;
  const StageTimers& timers_;
  Parts attention_, ffn_;
  uint64_t step_ = 0;
  uint32_t sum_ = 0;                    // of the step
  Time resumed_{}, computed_{};         // since the last sum, and before it
  std::vector<uint64_t> microseconds_;  // of each other shard
  NodeId lost_;
};

}  // namespace exo::engine
