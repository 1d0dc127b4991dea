#include "engine/shard_loop.h"

#include "engine/best_logits.h"
#include "sys/system.h"

namespace exo::engine {
namespace {

constexpr Time kStepPoll = std::chrono::seconds(1);

backend::Wanted WantedOf(const RunnerOptions& options) {
  const wire::ShardPlan& own = *options.plan.stages[options.stage].shard;
  return own.vocab_begin < own.vocab_end ? backend::Wanted::kLogits : backend::Wanted::kOutput;
}

}  // namespace

ShardLoop::ShardLoop(const RunnerOptions& options, StageWorker& stage, sys::WakeFd& wake,
                     CancellationSet& cancelled, ShardGroup& group)
    : options_(options),
      stage_(stage),
      wake_(wake),
      cancelled_(cancelled),
      group_(group),
      wanted_(WantedOf(options)) {}

Result<void> ShardLoop::Run(const std::atomic<bool>& stop) {
  while (!stop.load()) {
    DataLink& lead = group_.to_lead();
    auto outcome = lead.Poll(sys::Now() + kStepPoll, wake_.fd());
    if (!outcome) {
      lost_ = lead.peer();
      return std::unexpected(outcome.error());
    }
    if (outcome->event == DataLink::Event::kWoken) wake_.Drain();
    if (outcome->event != DataLink::Event::kFrame) continue;
    if (auto done = OnFrame(outcome->frame); !done) {
      lost_ = group_.lost();
      // Best effort: the others learn the reason at once instead of by broken links.
      if (lost_.IsZero()) {
        [[maybe_unused]] const auto told = group_.Tell(
            wire::StepFailed{options_.plan.id, step_, done.error().code, done.error().message}, {});
      }
      return done;
    }
  }
  return {};
}

Result<void> ShardLoop::OnFrame(const DataLink::Frame& frame) {
  if (const auto* wanted = std::get_if<wire::LogitsWanted>(frame.message))
    return OnLogitsWanted(*wanted);
  auto* step = std::get_if<wire::Step>(frame.message);
  if (step == nullptr) return Fail(ErrorCode::kCorrupt, "an unexpected message on a data link");
  // The first sum polls the link that the step came on.
  wire::Step own = std::move(*step);
  return OnStep(own, frame.floats());
}

// The backend copies the rows before its first sum.
Result<void> ShardLoop::OnStep(wire::Step& step, std::span<const float> rows) {
  step_ = step.step;
  group_.Begin(step.step);
  const StageWorker::Input input = {.hidden = rows, .wanted = wanted_, .collective = &group_};
  auto run = stage_.Run(step, input, cancelled_);
  // Another plan's frame: dropped and counted.
  if (!run && run.error().code == ErrorCode::kNotFound) return {};
  return run;
}

Result<void> ShardLoop::OnLogitsWanted(const wire::LogitsWanted& wanted) {
  if (wanted.plan != options_.plan.id) return {};
  const size_t outputs = stage_.running() == nullptr ? 0 : stage_.outputs();
  if (wanted_ != backend::Wanted::kLogits || wanted.step != step_ || wanted.count == 0 ||
      wanted.count > backend::kLogitRows || wanted.best > kMostBest ||
      uint64_t{wanted.first} + wanted.count > outputs) {
    return Fail(ErrorCode::kCorrupt, "logits of rows {} to {} of step {}, where {} has {} of them",
                wanted.first, uint64_t{wanted.first} + wanted.count, wanted.step, step_, outputs);
  }
  group_.Resume();
  const auto logits =
      TRY(stage_.running()->Logits(wanted.first, wanted.count, backend::kAllLogits));
  return group_.GiveLogits(wanted, logits);
}

}  // namespace exo::engine
