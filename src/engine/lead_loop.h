// The life of a lead: asks the LeadMachine for the next micro-batch, embeds it, runs the lead's own
// layers, sends it to the next stage, and turns what the last stage returns into tokens. With one
// stage nothing is sent.
//
// Thread: the runner's; LeadCommands is the mailbox from the loop thread.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <span>
#include <variant>
#include <vector>

#include "base/mutex.h"
#include "engine/lead.h"
#include "engine/sampler.h"
#include "engine/stage_loop.h"

namespace exo::engine {

struct LeadCommands {
  using Command = std::variant<wire::Submit, wire::CancelRequest, wire::PauseRequest>;

  // Thread: any.
  void Push(Command command) {
    {
      const MutexLock lock(mutex);
      queue.push_back(std::move(command));
    }
    wake.Notify();
  }
  std::deque<Command> Take() {
    const MutexLock lock(mutex);
    return std::exchange(queue, {});
  }

  Mutex mutex;
  std::deque<Command> queue EXO_GUARDED_BY(mutex);
  sys::WakeFd wake;
  std::atomic<uint32_t> active{0}, queued{0};
  // For the StallWatch: a step is being computed or in flight; steps begun and returned so far.
  std::atomic<bool> working{false};
  std::atomic<uint64_t> steps{0};
};

class LeadLoop {
 public:
  LeadLoop(const RunnerOptions& options, StageWorker& stage, LeadCommands& commands,
           CancellationSet& cancelled, const Links& links, const RunnerEvents& events);
  // Until `stop`, or until a link or the compute fails; requests in work end with the reason.
  Result<void> Run(const std::atomic<bool>& stop);
  NodeId lost() const { return lost_; }

 private:
  bool alone() const { return options_.plan.stages.size() == 1; }
  Result<void> Work(const std::atomic<bool>& stop);
  Error Explain(const Error& error) const;
  void TakeCommands();
  Result<void> StartStep(const LeadStep& step);
  Result<void> Receive(Time deadline);
  Result<void> OnReturned(const wire::Step& step, std::span<const float> rows);
  Result<void> FinishStep(const LeadStep& step, backend::Running* running, const wire::Step& done);
  // Tokens of the step's outputs, without those of `cancelled` items. `running` has their logits;
  // null when there are none.
  Result<std::vector<ItemOutput>> SampleOutputs(const LeadStep& step, backend::Running* running,
                                                std::span<const RequestId> cancelled);
  // Logits of a step's output rows, in ascending order; a row is valid until another one is asked
  // for.
  struct LogitRows {
    backend::Running* running;
    size_t total = 0;              // output rows of the step
    size_t first = 0, count = 0;   // rows at hand
    std::span<float> values = {};  // [count][vocab]
    Result<std::span<float>> Of(size_t row);
  };
  Result<ItemOutput> SampleItem(const LeadItem& item, LogitRows& logit_rows, size_t first);
  void ReportError(const RequestId& request, const Error& error);
  void Emit(std::vector<Emission> emissions);
  void CountRequests();

  const RunnerOptions& options_;
  StageWorker& stage_;
  LeadCommands& commands_;
  CancellationSet& cancelled_;
  Links links_;
  const RunnerEvents& events_;
  LeadMachine machine_;
  SamplerScratch scratch_;
  NodeId lost_;
};

}  // namespace exo::engine
