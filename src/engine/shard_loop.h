// The life of a shard that is not the lead: receive a step and its rows, compute this device's part
// of every layer, sum with the others. What comes of it the lead has as well, but for the logits of
// this shard's part of the vocabulary, for which it asks.
//
// Thread: the runner's.
#pragma once

#include <atomic>

#include "base/result.h"
#include "engine/cancellation_set.h"
#include "engine/runner.h"
#include "engine/shard_group.h"
#include "engine/stage_worker.h"
#include "sys/process.h"

namespace exo::engine {

class ShardLoop {
 public:
  ShardLoop(const RunnerOptions& options, StageWorker& stage, sys::WakeFd& wake,
            CancellationSet& cancelled, ShardGroup& group);
  // Until `stop`, or until a link or the compute fails.
  Result<void> Run(const std::atomic<bool>& stop);
  NodeId lost() const { return lost_; }

 private:
  Result<void> OnFrame(const DataLink::Frame& frame);
  Result<void> OnStep(wire::Step& step, std::span<const float> rows);
  Result<void> OnLogitsWanted(const wire::LogitsWanted& wanted);

  const RunnerOptions& options_;
  StageWorker& stage_;
  sys::WakeFd& wake_;
  CancellationSet& cancelled_;
  ShardGroup& group_;
  const backend::Wanted wanted_;
  uint64_t step_ = 0;  // whose part is being computed, or was last
  NodeId lost_;
};

}  // namespace exo::engine
