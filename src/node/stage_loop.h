// The life of a stage that is not the head: receive a step, compute its rows, send it on. The last
// stage sends the head only the rows it asked for.
//
// Thread: the runner's.
#pragma once

#include <atomic>

#include "backend/backend.h"
#include "backend/cpu/memory.h"
#include "base/result.h"
#include "cluster/stage.h"
#include "net/data_link.h"
#include "node/abandoned.h"
#include "node/instance_runner.h"
#include "sys/process.h"

namespace exo::node {

// The data links of a stage; with two stages both are the same object.
struct Links {
  net::DataLink* in = nullptr;
  net::DataLink* out = nullptr;
};

// Hidden states that the next stage has not taken by then are lost, and with them the link.
inline constexpr Time kSendLimit = std::chrono::seconds(10);

// Applies a StageMachine's work to a StageCompute: used by every stage, the head's own layers
// included.
class StageWorker {
 public:
  StageWorker(const wire::Plan& plan, backend::StageCompute& compute, Abandoned& abandoned);

  // Runs the layers over `hidden` [rows][width] in place. The compute of a step
  // whose requests are all abandoned stops early; its rows are zeros then.
  // Errors: kNotFound (foreign plan: drop the frame); anything else fails the instance.
  Result<void> Run(const wire::Step& step, std::span<float> hidden, uint32_t width);
  // Rows that go back to the head, of the last Run.
  const std::vector<uint32_t>& output_rows() const { return work_.output_rows; }
  bool was_duplicate() const { return work_.duplicate; }

 private:
  cluster::StageMachine machine_;
  backend::StageCompute& compute_;
  Abandoned& abandoned_;
  cluster::StageWork work_;
};

class StageLoop {
 public:
  StageLoop(const RunnerOptions& options, const model::ModelConfig& config,
            backend::StageCompute& compute, sys::WakeFd& wake, Abandoned& abandoned,
            const Links& links);
  // Until `stop`, or until a link or the compute fails.
  Result<void> Run(const std::atomic<bool>& stop);
  NodeId lost() const { return lost_; }

 private:
  Result<void> OnStep(wire::Step& step, std::span<const float> rows);
  Result<void> SendOn(const wire::Step& step, std::span<const float> hidden);
  Result<void> Send(const wire::Message& message, std::span<const float> rows);

  const RunnerOptions& options_;
  const model::ModelConfig& config_;
  sys::WakeFd& wake_;
  Links links_;
  StageWorker worker_;
  backend::Buffer hidden_, output_;
  NodeId lost_;
};

}  // namespace exo::node
