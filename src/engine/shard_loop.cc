#include "engine/shard_loop.h"

#include "sys/system.h"

namespace exo::engine {
namespace {

constexpr Time kStepPoll = std::chrono::seconds(1);

}  // namespace

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
    auto* step = std::get_if<wire::Step>(outcome->frame.message);
    if (step == nullptr) return Fail(ErrorCode::kCorrupt, "an unexpected message on a data link");
    // The first sum polls the link that the step came on.
    wire::Step own = std::move(*step);
    if (auto done = OnStep(own, outcome->frame.floats()); !done) {
      lost_ = group_.lost();
      // Best effort: the others learn the reason at once instead of by broken links.
      if (lost_.IsZero()) {
        [[maybe_unused]] const auto told = group_.Tell(
            wire::StepFailed{options_.plan.id, own.step, done.error().code, done.error().message},
            {});
      }
      return done;
    }
  }
  return {};
}

// The backend copies the rows before its first sum.
Result<void> ShardLoop::OnStep(wire::Step& step, std::span<const float> rows) {
  group_.Begin(step.step);
  auto run =
      stage_.Run(step, {.hidden = rows, .wanted = backend::Wanted::kOutput, .collective = &group_},
                 cancelled_);
  // Another plan's frame: dropped and counted.
  if (!run && run.error().code == ErrorCode::kNotFound) return {};
  return run;
}

}  // namespace exo::engine
