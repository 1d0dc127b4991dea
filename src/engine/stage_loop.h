// The life of a stage that is not the lead: receive a step, compute its rows, alone or with the
// other shards of its group, and send it on. The last group sends the lead only the rows it asked
// for; a shard beside the lead also computes logits of its part of the vocabulary, when the lead
// asks.
//
// Thread: the runner's.
#pragma once

#include <atomic>
#include <vector>

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

// The data links of a stage (wire::RowsFrom, wire::RowsTo); some may be the same object.
struct Links {
  DataLink* in = nullptr;  // null: a lead that has rows back from nobody
  std::vector<DataLink*> out;
  ShardGroup* shards = nullptr;  // null: it computes its layers alone

  // To all of `out`, until `deadline`. Errors: kDisconnected; `lost` is then who.
  Result<void> Send(const wire::Message& message, std::span<const std::byte> rows, Time deadline,
                    NodeId& lost) const;
};

class StageLoop {
 public:
  StageLoop(const RunnerOptions& options, StageWorker& stage, sys::WakeFd& wake,
            CancellationSet& cancelled, Links links);
  // Until `stop`, or until a link or the compute fails.
  Result<void> Run(const std::atomic<bool>& stop);
  NodeId lost() const { return lost_; }

 private:
  Result<void> OnFrame(const DataLink::Frame& frame);
  Result<void> OnStep(wire::Step& step, std::span<const std::byte> bytes);
  Result<void> Compute(wire::Step& step, std::span<const float> rows);
  Result<void> OnLogitsWanted(const wire::LogitsWanted& wanted, std::span<const float> states);
  Result<void> Send(const wire::Message& message, std::span<const float> rows);
  void TellFailure(const Error& error);

  const RunnerOptions& options_;
  StageWorker& stage_;
  sys::WakeFd& wake_;
  CancellationSet& cancelled_;
  const Links links_;
  CodedRows rows_;
  const backend::Wanted wanted_;
  uint64_t step_ = 0;  // that is being computed, or was last
  NodeId lost_;
};

}  // namespace exo::engine
