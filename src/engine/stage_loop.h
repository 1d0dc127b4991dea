// The life of a stage that is not the lead: receive a step, compute its rows, send it on. The last
// stage sends the lead only the rows it asked for.
//
// Thread: the runner's.
#pragma once

#include <atomic>

#include "backend/backend.h"
#include "base/result.h"
#include "engine/cancellation_set.h"
#include "engine/coded_rows.h"
#include "engine/data_link.h"
#include "engine/runner.h"
#include "engine/shard_group.h"
#include "engine/stage_worker.h"
#include "sys/process.h"

namespace exo::engine {

// The data links of a stage; with two stages both are the same object. Of a shard only `shards`.
struct Links {
  DataLink* in = nullptr;
  DataLink* out = nullptr;
  ShardGroup* shards = nullptr;
};

class StageLoop {
 public:
  StageLoop(const RunnerOptions& options, StageWorker& stage, sys::WakeFd& wake,
            CancellationSet& cancelled, const Links& links);
  // Until `stop`, or until a link or the compute fails.
  Result<void> Run(const std::atomic<bool>& stop);
  NodeId lost() const { return lost_; }

 private:
  Result<void> OnStep(wire::Step& step, std::span<const std::byte> bytes);
  Result<void> Send(const wire::Message& message, std::span<const float> rows);

  const RunnerOptions& options_;
  StageWorker& stage_;
  sys::WakeFd& wake_;
  CancellationSet& cancelled_;
  Links links_;
  CodedRows rows_;
  NodeId lost_;
};

}  // namespace exo::engine
