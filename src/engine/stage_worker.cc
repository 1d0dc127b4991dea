#include "engine/stage_worker.h"

#include "wire/plan.h"

namespace exo::engine {
namespace {

StageOptions MachineOptions(const wire::Plan& plan) {
  return {.plan = plan.id,
          .context = plan.context,
          .kv_positions = ReservedPositions(plan),
          .chunk = plan.chunk};
}

}  // namespace

StageWorker::StageWorker(const wire::Plan& plan, backend::StageCompute& compute,
                         CancellationSet& cancelled)
    : machine_(MachineOptions(plan)), compute_(compute), cancelled_(cancelled) {}

Result<void> StageWorker::Run(const wire::Step& step, const Input& input, uint32_t width) {
  running_.reset();
  hidden_ = {};
  work_ = TRY(machine_.BeginStep(step));
  if (work_.duplicate) return {};
  if (input.tokens.size() * width + input.hidden.size() != size_t{work_.rows} * width) {
    machine_.AbortStep();
    return Fail(ErrorCode::kCorrupt, "step {} came with {} values for {} rows of {}", step.step,
                input.hidden.size(), work_.rows, width);
  }
  for (const uint64_t sequence : work_.close) compute_.Close(sequence);
  for (const RequestId& request : step.close) cancelled_.Forget(request);
  for (const auto& open : work_.open) {
    if (auto opened = compute_.Open(open.sequence, open.capacity); !opened) {
      machine_.AbortStep();
      return opened;
    }
  }
  std::vector<RequestId> running;
  for (const wire::StepItem& item : step.items) running.push_back(item.request);
  cancelled_.Begin(std::move(running));
  const auto result = Compute(input, width);
  cancelled_.End();
  if (!result) {
    machine_.AbortStep();
    return result;
  }
  machine_.CommitStep();
  return {};
}

Result<void> StageWorker::Compute(const Input& input, uint32_t width) {
  if (work_.segments.empty()) return {};
  std::vector<backend::Segment> segments;
  for (const auto& segment : work_.segments) {
    segments.push_back(
        {.sequence = segment.sequence, .first = segment.first, .count = segment.count});
  }
  running_ = TRY(compute_.Run({.segments = segments,
                               .tokens = input.tokens,
                               .hidden = input.hidden,
                               .output_rows = work_.output_rows,
                               .wanted = input.wanted,
                               .cancel = cancelled_.stop()}));
  const auto hidden = running_->Wait();
  if (hidden) {
    hidden_ = *hidden;
    return {};
  }
  if (hidden.error().code != ErrorCode::kCancelled) return std::unexpected(hidden.error());
  // Nobody will read these rows; the stages behind may still compute them, so they must be finite.
  running_.reset();
  const bool all = input.wanted == backend::Wanted::kHidden;
  zeros_.assign((all ? work_.rows : work_.output_rows.size()) * width, 0.0f);
  hidden_ = zeros_;
  return {};
}

}  // namespace exo::engine
