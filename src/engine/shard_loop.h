// The life of a shard that is not the lead: receive a step and its rows, compute this device's part
// of every layer, sum with the others. What comes of it the lead has as well.
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
            CancellationSet& cancelled, ShardGroup& group)
      : options_(options), stage_(stage), wake_(wake), cancelled_(cancelled), group_(group) {}
  // Until `stop`, or until a link or the compute fails.
  Result<void> Run(const std::atomic<bool>& stop);
  NodeId lost() const { return lost_; }

 private:
  Result<void> OnStep(wire::Step& step, std::span<const float> rows);

  const RunnerOptions& options_;
  StageWorker& stage_;
  sys::WakeFd& wake_;
  CancellationSet& cancelled_;
  ShardGroup& group_;
  NodeId lost_;
};

}  // namespace exo::engine
