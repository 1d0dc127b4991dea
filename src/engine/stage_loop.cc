#include "engine/stage_loop.h"

#include <algorithm>
#include <numeric>

#include "engine/best_logits.h"
#include "sys/system.h"
#include "wire/plan.h"

namespace exo::engine {
namespace {

constexpr Time kIdlePoll = std::chrono::seconds(1);

backend::Wanted WantedOf(const RunnerOptions& options) {
  const wire::Plan& plan = options.plan;
  const wire::StageGroup group = wire::GroupOf(plan, options.stage);
  if (group.end < plan.stages.size()) return backend::Wanted::kHidden;
  const auto& shard = plan.stages[options.stage].shard;
  return shard && shard->vocab_begin < shard->vocab_end ? backend::Wanted::kLogits
                                                        : backend::Wanted::kOutput;
}

}  // namespace

Result<void> Links::Send(const wire::Message& message, std::span<const std::byte> rows,
                         Time deadline, NodeId& lost) const {
  for (DataLink* link : out) {
    if (auto sent = link->Send(message, rows, deadline); !sent) {
      lost = link->peer();
      return sent;
    }
  }
  return {};
}

StageLoop::StageLoop(const RunnerOptions& options, StageWorker& stage, sys::WakeFd& wake,
                     CancellationSet& cancelled, Links links)
    : options_(options),
      stage_(stage),
      wake_(wake),
      cancelled_(cancelled),
      links_(std::move(links)),
      rows_(options.plan.codec, stage.config().width, options.plan.chunk, options.sent),
      wanted_(WantedOf(options)) {}

Result<void> StageLoop::Run(const std::atomic<bool>& stop) {
  while (!stop.load()) {
    auto outcome = links_.in->Poll(sys::Now() + kIdlePoll, wake_.fd());
    if (!outcome) {
      lost_ = links_.in->peer();
      return std::unexpected(outcome.error());
    }
    if (outcome->event == DataLink::Event::kWoken) wake_.Drain();
    if (outcome->event != DataLink::Event::kFrame) continue;
    if (auto done = OnFrame(outcome->frame); !done) {
      if (lost_.IsZero() && links_.shards != nullptr) lost_ = links_.shards->lost();
      if (lost_.IsZero()) TellFailure(done.error());
      return done;
    }
  }
  return {};
}

// Best effort: the others learn the reason at once instead of by a broken link.
void StageLoop::TellFailure(const Error& error) {
  const wire::StepFailed failed{options_.plan.id, step_, error.code, error.message};
  NodeId ignored;
  if (links_.shards != nullptr) (void)links_.shards->Tell(failed, {});
  (void)links_.Send(failed, {}, sys::Now() + options_.timers.send_failure, ignored);
}

Result<void> StageLoop::OnFrame(const DataLink::Frame& frame) {
  if (auto* step = std::get_if<wire::Step>(frame.message)) {
    // The first sum may poll the link that the step came on.
    wire::Step own = std::move(*step);
    return OnStep(own, frame.tensor);
  }
  if (const auto* failed = std::get_if<wire::StepFailed>(frame.message)) {
    // Where nobody is behind, the others of the group have to be told: Run does, when this ends.
    if (links_.out.empty())
      return Fail(CodeOfPeer(failed->code), "a stage failed: {}", failed->message);
    return Send(*failed, {});
  }
  const auto* wanted = std::get_if<wire::LogitsWanted>(frame.message);
  if (wanted != nullptr && links_.shards != nullptr) return OnLogitsWanted(*wanted, frame.floats());
  return Fail(ErrorCode::kCorrupt, "an unexpected message on a data link");
}

Result<void> StageLoop::OnStep(wire::Step& step, std::span<const std::byte> bytes) {
  if (step.plan != options_.plan.id) return {};  // a stale frame, coded who knows how
  const auto rows = TRY(rows_.Decode(bytes));
  step_ = step.step;
  TRY(Compute(step, rows));
  if (stage_.was_duplicate()) return {};
  return Send(step, stage_.hidden());
}

// `step` gets the times of those that computed. The backend copies the rows before its first sum.
Result<void> StageLoop::Compute(wire::Step& step, std::span<const float> rows) {
  const Time start = sys::Now();
  if (links_.shards != nullptr) links_.shards->Begin(step.step);
  TRY(stage_.Run(step, {.hidden = rows, .wanted = wanted_, .collective = links_.shards},
                 cancelled_));
  if (links_.shards != nullptr) {
    for (const wire::StageTime& time : links_.shards->Times()) step.times.push_back(time);
    return {};
  }
  const wire::StagePlan& own = options_.plan.stages[options_.stage];
  const auto spent =
      std::chrono::duration_cast<std::chrono::microseconds>(sys::Now() - start).count();
  step.times.push_back({own.node, own.layer_begin, own.layer_end, static_cast<uint64_t>(spent)});
  return {};
}

// Of what it has computed, or of rows that the last group has: `states`.
Result<void> StageLoop::OnLogitsWanted(const wire::LogitsWanted& wanted,
                                       std::span<const float> states) {
  if (wanted.plan != options_.plan.id) return {};
  const bool came = wanted_ == backend::Wanted::kHidden;
  const size_t computed = stage_.running() == nullptr ? 0 : stage_.outputs();
  const uint64_t end = uint64_t{wanted.first} + wanted.count;
  const wire::ShardPlan& own = *options_.plan.stages[options_.stage].shard;
  if (own.vocab_begin == own.vocab_end || wanted.step != step_ || wanted.count == 0 ||
      wanted.count > std::min<size_t>(backend::kLogitRows, options_.plan.chunk) ||
      wanted.best > kMostBest || (!came && end > computed) ||
      states.size() != (came ? wanted.count * stage_.config().width : 0)) {
    return Fail(ErrorCode::kCorrupt,
                "logits of rows {} to {} of step {} with {} values, where {} has {} of them",
                wanted.first, end, wanted.step, states.size(), step_, computed);
  }
  links_.shards->Resume();
  if (!came) {
    return links_.shards->GiveLogits(
        wanted, TRY(stage_.running()->Logits(wanted.first, wanted.count, backend::kAllLogits)));
  }
  std::vector<uint32_t> all(wanted.count);
  std::iota(all.begin(), all.end(), 0u);
  const auto running = TRY(stage_.compute().Run(
      {.hidden = states, .output_rows = all, .wanted = backend::Wanted::kLogits}));
  TRY(running->Wait());
  return links_.shards->GiveLogits(wanted,
                                   TRY(running->Logits(0, wanted.count, backend::kAllLogits)));
}

Result<void> StageLoop::Send(const wire::Message& message, std::span<const float> rows) {
  if (links_.out.empty()) return {};
  return links_.Send(message, rows_.Code(rows, links_.out.size()),
                     sys::Now() + options_.timers.send, lost_);
}

}  // namespace exo::engine
