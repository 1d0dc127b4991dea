#include "engine/stage_loop.h"

#include <algorithm>

#include "sys/system.h"
#include "wire/plan.h"

namespace exo::engine {
namespace {

constexpr Time kIdlePoll = std::chrono::seconds(1);

}  // namespace

StageLoop::StageLoop(const RunnerOptions& options, StageWorker& stage, sys::WakeFd& wake,
                     CancellationSet& cancelled, const Links& links)
    : options_(options),
      stage_(stage),
      wake_(wake),
      cancelled_(cancelled),
      links_(links),
      rows_(options.plan.codec, stage.config().width, options.plan.chunk, options.sent) {}

Result<void> StageLoop::Run(const std::atomic<bool>& stop) {
  while (!stop.load()) {
    auto outcome = links_.in->Poll(sys::Now() + kIdlePoll, wake_.fd());
    if (!outcome) {
      lost_ = links_.in->peer();
      return std::unexpected(outcome.error());
    }
    if (outcome->event == DataLink::Event::kWoken) wake_.Drain();
    if (outcome->event != DataLink::Event::kFrame) continue;
    if (auto* step = std::get_if<wire::Step>(outcome->frame.message)) {
      if (auto done = OnStep(*step, outcome->frame.tensor); !done) {
        if (lost_.IsZero()) {
          // Best effort: the lead learns the reason at once instead of by a broken link.
          [[maybe_unused]] const auto told =
              links_.out->Send(wire::StepFailed{options_.plan.id, step->step, done.error().code,
                                                done.error().message},
                               {}, sys::Now() + options_.timers.send_failure);
        }
        return done;
      }
    } else if (auto* failed = std::get_if<wire::StepFailed>(outcome->frame.message)) {
      TRY(Send(*failed, {}));
    } else {
      return Fail(ErrorCode::kCorrupt, "an unexpected message on a data link");
    }
  }
  return {};
}

Result<void> StageLoop::OnStep(wire::Step& step, std::span<const std::byte> bytes) {
  const Time start = sys::Now();
  std::span<const float> rows;  // of another plan: coded who knows how
  if (step.plan == options_.plan.id) rows = TRY(rows_.Decode(bytes));
  const bool last = options_.stage + 1 == options_.plan.stages.size();
  const StageWorker::Input input = {
      .hidden = rows, .wanted = last ? backend::Wanted::kOutput : backend::Wanted::kHidden};
  if (auto run = stage_.Run(step, input, cancelled_); !run) {
    if (run.error().code == ErrorCode::kNotFound)
      return {};  // another plan's frame: dropped and counted
    return run;
  }
  if (stage_.was_duplicate()) return {};
  const wire::StagePlan& own = options_.plan.stages[options_.stage];
  const auto spent =
      std::chrono::duration_cast<std::chrono::microseconds>(sys::Now() - start).count();
  step.times.push_back({own.node, own.layer_begin, own.layer_end, static_cast<uint64_t>(spent)});
  return Send(step, stage_.hidden());
}

Result<void> StageLoop::Send(const wire::Message& message, std::span<const float> rows) {
  auto sent = links_.out->Send(message, rows_.Code(rows), sys::Now() + options_.timers.send);
  if (!sent) lost_ = links_.out->peer();
  return sent;
}

}  // namespace exo::engine
