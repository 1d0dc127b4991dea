// The life of a lead: asks the LeadMachine for the next micro-batch, embeds it, runs the lead's own
// layers, sends it to the next stage, and turns what the last stage returns into tokens. With one
// stage nothing is sent. Where the lead is one of the shards of its group, it tells the others the
// step and its rows, and all compute it at once.
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
#include "engine/coded_rows.h"
#include "engine/draft_model.h"
#include "engine/grammar_masks.h"
#include "engine/lead.h"
#include "engine/stage_loop.h"
#include "engine/step_sampler.h"

namespace exo::engine {

// The grammar of a request is compiled, or cannot be.
struct MaskMade {
  RequestId request;
  Result<std::shared_ptr<const TokenMask>> mask;
};

struct LeadCommands {
  using Command = std::variant<wire::Submit, wire::CancelRequest, wire::PauseRequest, MaskMade>;

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
  std::atomic<uint64_t> used_pages{0};
  // For the StallWatch: a step is being computed or in flight; steps begun and returned so far.
  std::atomic<bool> working{false};
  std::atomic<uint64_t> steps{0};
};

// The scope of a plan's pages in the prefix store.
Hash256 PageScopeOf(const RunnerOptions& options);

class LeadLoop {
 public:
  LeadLoop(const RunnerOptions& options, StageWorker& stage, LeadCommands& commands,
           CancellationSet& cancelled, Links links, const RunnerEvents& events, GrammarMasks& masks,
           DraftModel* draft = nullptr, std::shared_ptr<backend::PageTexts> texts = nullptr);
  // Until `stop`, or until a link or the compute fails; requests in work end with the reason.
  Result<void> Run(const std::atomic<bool>& stop);
  NodeId lost() const { return lost_; }
  const LeadStats& stats() const { return machine_.stats(); }

 private:
  // A step is done when this group has computed it: there is no other.
  bool alone() const { return links_.in == nullptr; }
  backend::Wanted wanted() const {
    return alone() ? backend::Wanted::kLogits : backend::Wanted::kHidden;
  }
  Result<void> Work(const std::atomic<bool>& stop);
  Error Explain(const Error& error) const;
  void TakeCommands();
  void TakeSubmit(wire::Submit submit, std::shared_ptr<const TokenMask> mask);
  void MakeMask(wire::Submit submit);
  void TakeMask(const MaskMade& made);
  void TakeTexts(std::chrono::steady_clock::time_point deadline = {});
  // What came of the step's pages of the prefix store.
  Result<void> NotePages(const LeadStep& step, const wire::Step& done);
  Result<void> StartStep(const LeadStep& step);
  Result<void> RunStage(wire::Step& sent, std::span<const TokenId> tokens);
  Result<void> RunShard(wire::Step& sent, std::span<const TokenId> tokens);
  Result<void> Receive(Time deadline);
  Result<void> OnReturned(const wire::Step& step, std::span<const float> rows);
  Result<void> FinishStep(const LeadStep& step, backend::Running* running, const wire::Step& done);
  void ReportError(const RequestId& request, const Error& error);
  void Emit(std::vector<Emission> emissions);
  void CountRequests();
  void TellQueue();
  Result<void> Guess();

  const RunnerOptions& options_;
  StageWorker& stage_;
  LeadCommands& commands_;
  CancellationSet& cancelled_;
  const Links links_;
  CodedRows rows_;
  const RunnerEvents& events_;
  LeadMachine machine_;
  StepSampler sampler_;
  GrammarMasks& masks_;
  // Requests whose grammar is being compiled, and whether they are paused.
  struct WaitingForMask {
    wire::Submit submit;
    bool paused = false;
  };
  std::map<RequestId, WaitingForMask> unmasked_;
  DraftModel* const draft_;
  Time queue_told_{};
  struct Told {
    uint64_t moved = 0;
    uint64_t recomputed = 0;
  };
  Told told_;                                  // to RunnerOptions::led
  std::shared_ptr<backend::PageTexts> texts_;  // of the prefix store, until they are here
  NodeId lost_;
};

}  // namespace exo::engine
