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
          .kv_positions = ReservedPositions(plan),
          .chunk = plan.chunk};
}

}  // namespace

LeadLoop::LeadLoop(const RunnerOptions& options, const model::ModelConfig& config,
                   backend::StageCompute& compute, LeadCommands& commands,
                   CancellationSet& cancelled, const Links& links, const RunnerEvents& events)
    : options_(options),
      config_(config),
      compute_(compute),
      commands_(commands),
      links_(links),
      events_(events),
      machine_(MachineOptions(options)),
      worker_(options.plan, compute, cancelled) {}

Result<void> LeadLoop::Run(const std::atomic<bool>& stop) {
  auto result = Work(stop);
  if (!result) {
    result = std::unexpected(Explain(result.error()));
    Emit(machine_.Fail(result.error()));
  }
  CountRequests();
  return result;
}

// A broken link in the words of a person: which device, which layers.
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
    machine_.NoteProgress(commands_.progress.load());
    TRY(machine_.CheckDeadlines(sys::Now()));
    const Time idle = sys::Now() + kIdlePoll;
    if (alone()) {
      sys::WaitReadable(commands_.wake.fd(), kIdlePoll);
    } else {
      TRY(Receive(std::min(idle, machine_.NextDeadline().value_or(idle))));
    }
  }
  return {};
}

void LeadLoop::TakeCommands() {
  commands_.wake.Drain();
  for (LeadCommands::Command& command : commands_.Take()) {
    if (auto* submit = std::get_if<wire::Submit>(&command)) {
      if (auto accepted = machine_.Submit(*submit, sys::Now()); !accepted) {
        ReportError(submit->request, accepted.error());
      }
    } else {
      machine_.Cancel(std::get<wire::CancelRequest>(command).request);
    }
  }
}

Result<void> LeadLoop::StartStep(const LeadStep& step) {
  std::vector<TokenId> tokens;
  for (const LeadItem& item : step.items)
    tokens.insert(tokens.end(), item.tokens.begin(), item.tokens.end());
  const Time start = sys::Now();
  wire::Step sent = ToWire(options_.plan.id, step);
  const StageWorker::Input input = {
      .tokens = tokens, .wanted = alone() ? backend::Wanted::kLogits : backend::Wanted::kHidden};
  TRY(worker_.Run(sent, input, config_.width));
  const wire::StagePlan& own = options_.plan.stages[0];
  sent.times.push_back(
      {own.node, own.layer_begin, own.layer_end, Microseconds(sys::Now() - start)});
  if (!alone()) {
    auto done = links_.out->SendFloats(sent, worker_.hidden(), sys::Now() + kSendLimit);
    if (!done) lost_ = links_.out->peer();
    return done;
  }
  return FinishStep(step, worker_.running(), std::move(sent.times));
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
  if (rows.size() != size_t{step->outputs} * config_.width) {
    return Fail(ErrorCode::kCorrupt, "step {} came back with {} values for {} rows of {}",
                returned.step, rows.size(), step->outputs, config_.width);
  }
  std::vector<uint32_t> all(step->outputs);
  std::iota(all.begin(), all.end(), 0u);
  const auto running =
      TRY(compute_.Run({.hidden = rows, .output_rows = all, .wanted = backend::Wanted::kLogits}));
  TRY(running->Wait());
  return FinishStep(*step, running.get(), returned.times);
}

Result<void> LeadLoop::FinishStep(const LeadStep& step, backend::Running* running,
                                  std::vector<wire::StageTime> times) {
  const Time start = sys::Now();
  const auto outputs = TRY(SampleOutputs(step, running));
  if (!times.empty()) times[0].microseconds += Microseconds(sys::Now() - start);
  Emit(TRY(machine_.OnStepDone(step.step, outputs, times, sys::Now())));
  return {};
}

// Tokens of all outputs, a few rows of logits at a time.
Result<std::vector<ItemOutput>> LeadLoop::SampleOutputs(const LeadStep& step,
                                                        backend::Running* running) {
  std::vector<RequestId> owners;  // of each output row
  std::vector<ItemOutput> outputs;
  for (const LeadItem& item : step.items) {
    if (item.outputs == Outputs::kNone) continue;
    const size_t count = item.outputs == Outputs::kAll ? item.tokens.size() : 1;
    owners.insert(owners.end(), count, item.request);
    outputs.push_back({.request = item.request, .tokens = {}});
  }
  size_t output = 0;
  for (size_t first = 0; first < owners.size(); first += backend::kLogitRows) {
    const size_t count = std::min(backend::kLogitRows, owners.size() - first);
    std::span<float> logits;
    if (running != nullptr) logits = TRY(running->Logits(first, count));
    for (size_t i = 0; i < count; ++i) {
      const RequestId& owner = owners[first + i];
      while (outputs[output].request != owner) ++output;
      outputs[output].tokens.push_back(
          running == nullptr ? 0
                             : SampleOne(owner, logits.subspan(i * config_.vocab, config_.vocab)));
    }
  }
  return outputs;
}

TokenId LeadLoop::SampleOne(const RequestId& request, std::span<float> logits) {
  const auto view = machine_.Find(request);
  if (!view) return 0;  // cancelled meanwhile: the machine drops it
  const auto token = Sample(logits, view->tokens, *view->sampler, view->tokens.size(), scratch_);
  if (token) return *token;
  machine_.Cancel(request);
  ReportError(request, token.error());
  return 0;
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
    if (!emission.tokens.empty()) events_.on_tokens(emission.request, std::move(emission.tokens));
    if (emission.finished) events_.on_finished(std::move(*emission.finished));
  }
}

void LeadLoop::CountRequests() {
  commands_.active.store(machine_.active());
  commands_.queued.store(machine_.queued());
}

}  // namespace exo::engine
