// One instance on one simulated node: the real StageMachine and LeadMachine over the fake model, as
// the stage thread of a real node drives them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cluster/core.h"
#include "engine/lead.h"
#include "sim/model.h"
#include "wire/plan.h"

namespace exo::sim {

// Smaller than the plan's, so that prompts take several chunks in flight at once.
inline constexpr uint32_t kSimChunk = 8;

// A frame of a data link.
struct DataFrame {
  wire::Step step;
  std::vector<uint64_t> hidden;
  bool to_lead = false;  // the tail of the step's journey: outputs only
};

struct RunnerOutputs {
  std::function<void(const NodeId& to, DataFrame frame)> send;
  std::function<void(Event)> tell;               // the node's core
  std::function<void(bool same_plan)> accepted;  // a step was taken for computing
};

class Runner {
 public:
  Runner(wire::Plan plan, uint32_t stage, bool no_fence, bool no_gap_check, RunnerOutputs outputs)
      : plan_(std::move(plan)),
        index_(stage),
        no_fence_(no_fence),
        outputs_(std::move(outputs)),
        machine_({.plan = plan_.id,
                  .context = plan_.context,
                  .kv_positions = ReservedPositions(plan_),
                  .chunk = plan_.chunk,
                  .plant_no_fence = no_fence,
                  .plant_no_gap_check = no_gap_check}),
        model_(plan_.stages[stage].layer_begin, plan_.stages[stage].layer_end) {
    if (stage != 0) return;
    head_ = std::make_unique<LeadMachine>(
        LeadOptions{.plan = plan_.id,
                    .stages = static_cast<uint32_t>(plan_.stages.size()),
                    .context = plan_.context,
                    .kv_positions = ReservedPositions(plan_),
                    .chunk = kSimChunk,
                    .queue_limit = 4,
                    .plant_no_gap_check = no_gap_check});
  }

  const wire::Plan& plan() const { return plan_; }
  uint32_t index() const { return index_; }
  LeadMachine* lead() { return head_.get(); }

  void Submit(const wire::Submit& submit, Time now) {
    if (const auto accepted = head_->Submit(submit, now); !accepted) {
      outputs_.tell(LeadFinished{{.request = submit.request,
                                  .reason = wire::FinishReason::kError,
                                  .code = accepted.error().code,
                                  .message = accepted.error().message}});
      return;
    }
    Pump(now);
  }
  void Cancel(const RequestId& request, Time now) {
    head_->Cancel(request);
    Pump(now);
  }
  void CheckDeadlines(Time now) {
    if (!head_ || failed_) return;
    if (const auto late = head_->CheckDeadlines(now); !late) FailInstance(late.error());
  }

  void OnFrame(DataFrame frame, Time now) {
    if (failed_ || frame.to_lead != (index_ == 0)) return;
    if (frame.to_lead) {
      if (frame.step.plan == plan_.id || no_fence_) OnOutputs(frame, now);
      return;
    }
    Compute(std::move(frame));
  }

 private:
  void FailInstance(const Error& error) {
    failed_ = true;
    outputs_.tell(StageFailed{plan_.id, error, {}});
  }

  void Pump(Time now) {
    while (!failed_) {
      const auto step = head_->NextStep(now);
      if (!step) return;
      DataFrame frame{.step = ToWire(plan_.id, *step)};
      for (const LeadItem& item : step->items) {
        for (const TokenId token : item.tokens) frame.hidden.push_back(Embed(token));
      }
      Compute(std::move(frame));
    }
  }

  void Compute(DataFrame frame) {
    auto work = machine_.BeginStep(frame.step);
    if (!work) {
      if (work.error().code != ErrorCode::kNotFound) FailInstance(work.error());
      return;
    }
    if (work->duplicate) return;
    outputs_.accepted(frame.step.plan == plan_.id);
    for (const uint64_t sequence : work->close) model_.Close(sequence);
    for (const StageWork::Open& open : work->open) model_.Open(open.sequence, open.capacity);
    size_t row = 0;
    frame.hidden.resize(work->rows);
    for (const StageWork::Segment& segment : work->segments) {
      model_.Forward(segment, std::span(frame.hidden).subspan(row, segment.count));
      row += segment.count;
    }
    machine_.CommitStep();
    const bool last = index_ + 1 == plan_.stages.size();
    if (last) {
      std::vector<uint64_t> rows;
      for (const uint32_t output : work->output_rows) rows.push_back(frame.hidden[output]);
      frame.hidden = std::move(rows);
      frame.to_lead = true;
    }
    outputs_.send(plan_.stages[last ? 0 : index_ + 1].node, std::move(frame));
  }

  void OnOutputs(const DataFrame& frame, Time now) {
    std::vector<ItemOutput> outputs;
    if (const LeadStep* step = head_->InFlight(frame.step.step)) {
      size_t next = 0;
      for (const LeadItem& item : step->items) {
        if (item.outputs == Outputs::kNone || next >= frame.hidden.size()) continue;
        const uint64_t hidden = frame.hidden[next++];
        const uint64_t position = item.first + item.tokens.size();
        const auto view = head_->Find(item.request);
        outputs.push_back(
            {item.request, {Sample(hidden, view ? view->sampler->seed : 0, position)}});
      }
    }
    const auto emissions = head_->OnStepDone(frame.step.step, outputs, frame.step.times, now);
    if (!emissions) return FailInstance(emissions.error());
    for (const Emission& emission : *emissions) {
      if (!emission.tokens.empty()) outputs_.tell(LeadEmitted{emission.request, emission.tokens});
      if (emission.finished) outputs_.tell(LeadFinished{*emission.finished});
    }
    Pump(now);
  }

  wire::Plan plan_;
  uint32_t index_;
  bool no_fence_;
  bool failed_ = false;
  RunnerOutputs outputs_;
  StageMachine machine_;
  FakeStage model_;
  std::unique_ptr<LeadMachine> head_;
};

}  // namespace exo::sim
