#include "node/stage_loop.h"

#include <algorithm>
#include <cstring>

#include "cluster/plan.h"
#include "sys/system.h"

namespace exo::node {
namespace {

// A frame that the next stage does not take for so long means that it is gone.
constexpr Time kIdlePoll = std::chrono::seconds(1);

cluster::StageOptions MachineOptions(const wire::Plan& plan) {
  return {.plan = plan.id,
          .context = plan.context,
          .kv_positions = cluster::ReservedPositions(plan),
          .chunk = plan.chunk};
}

}  // namespace

StageWorker::StageWorker(const wire::Plan& plan, backend::StageCompute& compute,
                         Abandoned& abandoned)
    : machine_(MachineOptions(plan)), compute_(compute), abandoned_(abandoned) {}

Result<void> StageWorker::Run(const wire::Step& step, std::span<float> hidden, uint32_t width) {
  work_ = TRY(machine_.BeginStep(step));
  if (work_.duplicate) return {};
  if (hidden.size() != size_t{work_.rows} * width) {
    machine_.AbortStep();
    return Fail(ErrorCode::kCorrupt, "step {} came with {} values for {} rows of {}", step.step,
                hidden.size(), work_.rows, width);
  }
  for (const uint64_t sequence : work_.close) compute_.Close(sequence);
  for (const RequestId& request : step.close) abandoned_.Forget(request);
  for (const auto& open : work_.open) {
    if (auto opened = compute_.Open(open.sequence, open.capacity); !opened) {
      machine_.AbortStep();
      return opened;
    }
  }
  std::vector<RequestId> running;
  for (const wire::StepItem& item : step.items) running.push_back(item.request);
  abandoned_.Begin(std::move(running));
  Result<void> result;
  if (!work_.segments.empty()) {
    std::vector<backend::Segment> segments;
    for (const auto& segment : work_.segments) {
      segments.push_back(
          {.sequence = segment.sequence, .first = segment.first, .count = segment.count});
    }
    result = compute_.Forward(segments, hidden, abandoned_.stop());
  }
  abandoned_.End();
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

StageLoop::StageLoop(const RunnerOptions& options, const model::ModelConfig& config,
                     backend::StageCompute& compute, sys::WakeFd& wake, Abandoned& abandoned,
                     const Links& links)
    : options_(options),
      config_(config),
      wake_(wake),
      links_(links),
      worker_(options.plan, compute, abandoned) {}

Result<void> StageLoop::Run(const std::atomic<bool>& stop) {
  const size_t bytes = size_t{options_.plan.chunk} * config_.width * sizeof(float);
  hidden_ = TRY(backend::Buffer::Allocate(bytes));
  output_ = TRY(backend::Buffer::Allocate(bytes));
  while (!stop.load()) {
    auto outcome = links_.in->Poll(sys::Now() + kIdlePoll, wake_.fd());
    if (!outcome) {
      lost_ = links_.in->peer();
      return std::unexpected(outcome.error());
    }
    if (outcome->event == net::DataLink::Event::kWoken) wake_.Drain();
    if (outcome->event != net::DataLink::Event::kFrame) continue;
    if (auto* step = std::get_if<wire::Step>(outcome->frame.message)) {
      if (auto done = OnStep(*step, outcome->frame.floats()); !done) {
        if (lost_.IsZero()) {
          // Best effort: the head learns the reason at once instead of by a broken link.
          [[maybe_unused]] const auto told =
              links_.out->Send(wire::StepFailed{options_.plan.id, step->step, done.error().code,
                                                done.error().message},
                               {}, sys::Now() + std::chrono::seconds(1));
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

Result<void> StageLoop::OnStep(wire::Step& step, std::span<const float> rows) {
  if (rows.size_bytes() > hidden_.size()) {
    return Fail(ErrorCode::kCorrupt, "a step of {} bytes, more than the plan's chunk",
                rows.size_bytes());
  }
  const Time start = sys::Now();
  const std::span<float> hidden = hidden_.As<float>().first(rows.size());
  std::memcpy(hidden.data(), rows.data(), rows.size_bytes());
  if (auto run = worker_.Run(step, hidden, config_.width); !run) {
    if (run.error().code == ErrorCode::kNotFound)
      return {};  // another plan's frame: dropped and counted
    return run;
  }
  if (worker_.was_duplicate()) return {};
  const wire::StagePlan& own = options_.plan.stages[options_.stage];
  const auto spent =
      std::chrono::duration_cast<std::chrono::microseconds>(sys::Now() - start).count();
  step.times.push_back({own.node, own.layer_begin, own.layer_end, static_cast<uint64_t>(spent)});
  return SendOn(step, hidden);
}

Result<void> StageLoop::SendOn(const wire::Step& step, std::span<const float> hidden) {
  if (options_.stage + 1 < options_.plan.stages.size()) return Send(step, hidden);
  const size_t width = config_.width;
  const std::span<float> output = output_.As<float>();
  size_t rows = 0;
  for (const uint32_t row : worker_.output_rows()) {
    std::memcpy(output.data() + rows++ * width, hidden.data() + row * width, width * sizeof(float));
  }
  return Send(step, output.first(rows * width));
}

Result<void> StageLoop::Send(const wire::Message& message, std::span<const float> rows) {
  auto sent = links_.out->SendFloats(message, rows, sys::Now() + kSendLimit);
  if (!sent) lost_ = links_.out->peer();
  return sent;
}

}  // namespace exo::node
