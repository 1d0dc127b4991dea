#include "engine/lead_loop.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "sys/system.h"
#include "wire/plan.h"

namespace exo::engine {
namespace {

constexpr Time kIdlePoll = std::chrono::seconds(1);

uint64_t Microseconds(Time time) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

LeadOptions MachineOptions(const RunnerOptions& options) {
  const wire::Plan& plan = options.plan;
  return {.plan = plan.id,
          .stages = static_cast<uint32_t>(plan.stages.size()),
          .context = plan.context,
          .pages = ReservedPages(plan),
          .chunk = plan.chunk};
}

// Requests that a stage gave up, and rows of outputs that come back nevertheless.
struct Returned {
  std::vector<RequestId> cancelled;
  size_t outputs = 0;
};
Returned WhatReturned(const LeadStep& step, const wire::Step& done) {
  Returned returned;
  for (const wire::StepItem& item : done.items) {
    if (item.cancelled) returned.cancelled.push_back(item.request);
  }
  for (const LeadItem& item : step.items) {
    if (std::ranges::find(returned.cancelled, item.request) == returned.cancelled.end())
      returned.outputs += OutputRows(item);
  }
  return returned;
}

}  // namespace

LeadLoop::LeadLoop(const RunnerOptions& options, StageWorker& stage, LeadCommands& commands,
                   CancellationSet& cancelled, const Links& links, const RunnerEvents& events)
    : options_(options),
      stage_(stage),
      commands_(commands),
      cancelled_(cancelled),
      links_(links),
      events_(events),
      machine_(MachineOptions(options)) {}

Result<void> LeadLoop::Run(const std::atomic<bool>& stop) {
  auto result = Work(stop);
  if (!result) {
    result = std::unexpected(Explain(result.error()));
    Emit(machine_.Fail(result.error()));
  }
  CountRequests();
  return result;
}

// Human-readable: which device, which layers.
Error LeadLoop::Explain(const Error& error) const {
  const int stage = StageOf(options_.plan, lost_);
  if (stage < 0) return error;
  return {error.code,
          fmt::format("device {} with {} was lost ({})", options_.names[static_cast<size_t>(stage)],
                      DescribeStage(options_.plan, stage), error.message)};
}

Result<void> LeadLoop::Work(const std::atomic<bool>& stop) {
  while (!stop.load()) {
    TakeCommands();
    if (auto step = machine_.NextStep(sys::Now())) {
      TRY(StartStep(*step));
      CountRequests();
      if (!alone()) TRY(Receive(Time(0)));
      continue;
    }
    CountRequests();
    if (alone()) {
      sys::WaitReadable(commands_.wake.fd(), kIdlePoll);
    } else {
      TRY(Receive(sys::Now() + kIdlePoll));
    }
  }
  return {};
}

void LeadLoop::TakeCommands() {
  commands_.wake.Drain();
  for (LeadCommands::Command& command : commands_.Take()) {
    if (auto* submit = std::get_if<wire::Submit>(&command)) {
      const RequestId request = submit->request;
      if (auto accepted = machine_.Submit(std::move(*submit), sys::Now()); !accepted)
        ReportError(request, accepted.error());
    } else if (const auto* pause = std::get_if<wire::PauseRequest>(&command)) {
      machine_.Pause(pause->request, pause->paused);
    } else {
      machine_.Cancel(std::get<wire::CancelRequest>(command).request);
    }
  }
}

Result<void> LeadLoop::StartStep(const LeadStep& step) {
  commands_.working.store(true);
  std::vector<TokenId> tokens;
  for (const LeadItem& item : step.items)
    tokens.insert(tokens.end(), item.tokens.begin(), item.tokens.end());
  const Time start = sys::Now();
  wire::Step sent = ToWire(options_.plan.id, step);
  const StageWorker::Input input = {
      .tokens = tokens, .wanted = alone() ? backend::Wanted::kLogits : backend::Wanted::kHidden};
  TRY(stage_.Run(sent, input, cancelled_));
  const wire::StagePlan& own = options_.plan.stages[0];
  sent.times.push_back(
      {own.node, own.layer_begin, own.layer_end, Microseconds(sys::Now() - start)});
  if (!alone()) {
    auto done = links_.out->SendFloats(sent, stage_.hidden(), sys::Now() + options_.timers.send);
    if (!done) lost_ = links_.out->peer();
    return done;
  }
  const LeadStep* in_flight = machine_.InFlight(step.step);
  return FinishStep(*in_flight, stage_.running(), sent);
}

Result<void> LeadLoop::Receive(Time deadline) {
  auto outcome = links_.in->Poll(deadline, commands_.wake.fd());
  if (!outcome) {
    lost_ = links_.in->peer();
    return std::unexpected(outcome.error());
  }
  if (outcome->event != DataLink::Event::kFrame) return {};
  if (auto* failed = std::get_if<wire::StepFailed>(outcome->frame.message)) {
    return Fail(failed->code, "a stage failed: {}", failed->message);
  }
  auto* step = std::get_if<wire::Step>(outcome->frame.message);
  if (step == nullptr) return Fail(ErrorCode::kCorrupt, "an unexpected message on a data link");
  if (step->plan != options_.plan.id) return {};  // a stale frame of another plan
  return OnReturned(*step, outcome->frame.floats());
}

Result<void> LeadLoop::OnReturned(const wire::Step& returned, std::span<const float> rows) {
  const LeadStep* step = machine_.InFlight(returned.step);
  if (step == nullptr) return {};
  const size_t outputs = WhatReturned(*step, returned).outputs;
  const size_t width = stage_.config().width;
  if (rows.size() != outputs * width) {
    return Fail(ErrorCode::kCorrupt, "step {} came back with {} values for {} rows of {}",
                returned.step, rows.size(), outputs, width);
  }
  if (outputs == 0) return FinishStep(*step, nullptr, returned);
  std::vector<uint32_t> all(outputs);
  std::iota(all.begin(), all.end(), 0u);
  const auto running = TRY(stage_.compute().Run(
      {.hidden = rows, .output_rows = all, .wanted = backend::Wanted::kLogits}));
  TRY(running->Wait());
  return FinishStep(*step, running.get(), returned);
}

Result<void> LeadLoop::FinishStep(const LeadStep& step, backend::Running* running,
                                  const wire::Step& done) {
  const Time start = sys::Now();
  const Returned returned = WhatReturned(step, done);
  // A stage gives up only what was cancelled here: that command may still be waiting.
  if (!returned.cancelled.empty()) TakeCommands();
  const auto outputs = TRY(SampleOutputs(step, running, returned.cancelled));
  std::vector<wire::StageTime> times = done.times;
  if (!times.empty()) times[0].microseconds += Microseconds(sys::Now() - start);
  Emit(TRY(machine_.OnStepDone(step.step, outputs, times, sys::Now(), returned.cancelled)));
  return {};
}

Result<std::vector<ItemOutput>> LeadLoop::SampleOutputs(const LeadStep& step,
                                                        backend::Running* running,
                                                        std::span<const RequestId> cancelled) {
  const auto returns = [&](const LeadItem& item) {
    return OutputRows(item) > 0 && std::ranges::find(cancelled, item.request) == cancelled.end();
  };
  LogitRows logits{.running = running};
  for (const LeadItem& item : step.items) logits.total += returns(item) ? OutputRows(item) : 0;
  CHECK(logits.total == 0 || running != nullptr);
  std::vector<ItemOutput> outputs;
  size_t row = 0;
  for (const LeadItem& item : step.items) {
    if (!returns(item)) continue;
    outputs.push_back(TRY(SampleItem(item, logits, row)));
    row += OutputRows(item);
  }
  return outputs;
}

// As many rows at a time as the stage gives: each time the whole output matrix is read.
Result<std::span<float>> LeadLoop::LogitRows::Of(size_t row) {
  CHECK(row < total);
  if (row < first || row >= first + count) {
    first = row;
    count = std::min(backend::kLogitRows, total - row);
    values = TRY(running->Logits(first, count));
  }
  const size_t vocab = values.size() / count;
  return values.subspan((row - first) * vocab, vocab);
}

// The tokens that follow the item's output rows: a draft behind a row stands as long as it is what
// is sampled there.
Result<ItemOutput> LeadLoop::SampleItem(const LeadItem& item, LogitRows& logit_rows, size_t first) {
  const size_t rows = OutputRows(item);
  const size_t skipped = item.tokens.size() - rows;
  ItemOutput output{.request = item.request, .tokens = {}};
  std::vector<TokenId> history;  // only with drafts
  for (size_t i = 0; i < rows; ++i) {
    const auto view = machine_.Find(item.request);
    if (!view) {  // cancelled meanwhile: the machine drops the output
      output.tokens.assign(1, 0);
      return output;
    }
    std::span<const TokenId> tokens = view->tokens;
    if (i > 0) {
      if (history.empty()) history.assign(view->tokens.begin(), view->tokens.end());
      history.push_back(output.tokens.back());
      tokens = history;
    }
    const std::span<float> logits = TRY(logit_rows.Of(first + i));
    const auto token = Sample(logits, tokens, *view->sampler, tokens.size(), scratch_);
    if (!token) {
      machine_.Cancel(item.request);
      ReportError(item.request, token.error());
    }
    output.tokens.push_back(token.value_or(0));
    const size_t next = skipped + i + 1;
    if (next < item.tokens.size() && output.tokens.back() != item.tokens[next]) break;
  }
  return output;
}

void LeadLoop::ReportError(const RequestId& request, const Error& error) {
  wire::Finished finished;
  finished.request = request;
  finished.reason = wire::FinishReason::kError;
  finished.code = error.code;
  finished.message = error.message;
  events_.on_finished(std::move(finished));
}

void LeadLoop::Emit(std::vector<Emission> emissions) {
  for (Emission& emission : emissions) {
    if (!emission.tokens.empty())
      events_.on_tokens(emission.request, std::move(emission.tokens), emission.cached);
    if (emission.finished) events_.on_finished(std::move(*emission.finished));
  }
}

void LeadLoop::CountRequests() {
  commands_.active.store(machine_.active());
  commands_.queued.store(machine_.queued());
  commands_.working.store(machine_.in_flight() > 0);
  commands_.steps.store(machine_.stats().steps + machine_.stats().returned_steps);
}

}  // namespace exo::engine
