#include "engine/stage_worker.h"

#include <algorithm>

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

Result<void> StageWorker::Run(const wire::Step& step, std::span<float> hidden, uint32_t width) {
  work_ = TRY(machine_.BeginStep(step));
  if (work_.duplicate) return {};
  if (hidden.size() != size_t{work_.rows} * width) {
    machine_.AbortStep();
    return Fail(ErrorCode::kCorrupt, "step {} came with {} values for {} rows of {}", step.step,
                hidden.size(), work_.rows, width);
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
  Result<void> result;
  if (!work_.segments.empty()) {
    std::vector<backend::Segment> segments;
    for (const auto& segment : work_.segments) {
      segments.push_back(
          {.sequence = segment.sequence, .first = segment.first, .count = segment.count});
    }
    result = compute_.Forward(segments, hidden, cancelled_.stop());
  }
  cancelled_.End();
  if (!result && result.error().code == ErrorCode::kCancelled) {
    // Nobody will read these rows; the stages behind may still compute them, so they must be
    // finite.
    std::fill(hidden.begin(), hidden.end(), 0.0f);
    result = {};
  }
  if (!result) {
    machine_.AbortStep();
    return result;
  }
  machine_.CommitStep();
  return {};
}

}  // namespace exo::engine
