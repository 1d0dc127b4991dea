#include "engine/shard_group.h"

#include <algorithm>

#include "backend/backend.h"
#include "base/check.h"
#include "engine/best_logits.h"

namespace exo::engine {
namespace {

using backend::SplitSum;

// While nothing comes the link is looked at so often; it breaks when the instance is stopped.
constexpr Time kSumPoll = std::chrono::seconds(1);

uint64_t Microseconds(Time time) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

// This shard's values of all sums as one block.
std::span<const float> Joined(std::span<const SplitSum> sums) {
  size_t values = 0;
  for (const SplitSum& sum : sums) {
    CHECK(sum.own.data() == sums.front().own.data() + values);
    values += sum.own.size();
  }
  return {sums.front().own.data(), values};
}

backend::SplitTrees TreesOf(const wire::Plan& plan, const wire::StageGroup& group,
                            const model::ModelConfig& config) {
  std::vector<backend::Shard> shards;
  for (size_t i = group.begin; i < group.end; ++i)
    shards.push_back(ShardOf(*plan.stages[i].shard, config));
  return {config, shards};
}

}  // namespace

ErrorCode CodeOfPeer(ErrorCode code) {
  const bool local = code == ErrorCode::kNotFound || code == ErrorCode::kCancelled;
  return local ? ErrorCode::kDisconnected : code;
}

backend::Shard ShardOf(const wire::ShardPlan& plan, const model::ModelConfig& config) {
  const bool cut = plan.HasHeads();
  return {.head_begin = cut ? plan.head_begin : plan.kv_begin * config.group(),
          .head_end = cut ? plan.head_end : plan.kv_end * config.group(),
          .ffn_begin = plan.ffn_begin,
          .ffn_end = plan.ffn_end,
          .vocab_begin = plan.vocab_begin,
          .vocab_end = plan.vocab_end,
          .expert_begin = plan.expert_begin,
          .expert_end = plan.expert_end};
}

uint64_t MostShardFloats(const wire::Plan& plan, uint32_t stage, const model::ModelConfig& config,
                         uint32_t low_rank) {
  const wire::StageGroup group = wire::GroupOf(plan, stage);
  const backend::SplitTrees trees = TreesOf(plan, group, config);
  uint64_t parts = 1, vocab = 0;
  for (size_t i = 0; i < group.size(); ++i) {
    const wire::ShardPlan& shard = *plan.stages[group.begin + i].shard;
    parts = std::max<uint64_t>(parts, trees.MostParts(i));
    vocab = std::max<uint64_t>(vocab, shard.vocab_end - shard.vocab_begin);
  }
  const uint64_t logits = std::max<uint64_t>(vocab, 2 * BestCount(vocab, kMostBest));
  return std::max(parts * plan.chunk * (config.width + low_rank), backend::kLogitRows * logits);
}

ShardGroup::ShardGroup(const wire::Plan& plan, uint32_t stage, const model::ModelConfig& config,
                       std::vector<DataLink*> links, const StageTimers& timers)
    : plan_(plan),
      group_(wire::GroupOf(plan, stage)),
      own_(stage - group_.begin),
      sends_states_(wire::IsHybrid(plan)),
      links_(std::move(links)),
      timers_(timers),
      trees_(TreesOf(plan, group_, config)),
      microseconds_(group_.size(), 0) {
  CHECK_EQ(links_.size(), group_.size());
  for (DataLink* link : links_) {
    if (link != nullptr) link->SetSpin(timers_.sum_spin);
  }
}

Result<void> ShardGroup::Tell(const wire::Message& message, std::span<const float> rows) {
  for (DataLink* link : links_) {
    if (link == nullptr) continue;
    if (auto sent = link->SendFloats(message, rows, sys::Now() + timers_.send); !sent) {
      lost_ = link->peer();
      return sent;
    }
  }
  return {};
}

void ShardGroup::Begin(uint64_t step) {
  step_ = step;
  sum_ = 0;
  computed_ = {};
  Resume();
  std::ranges::fill(microseconds_, 0);
}

std::vector<wire::StageTime> ShardGroup::Times() const {
  std::vector<wire::StageTime> times;
  for (size_t i = 0; i < group_.size(); ++i) {
    const wire::StagePlan& stage = StageOf(i);
    const uint64_t own = Microseconds(computed_ + (sys::Now() - resumed_));
    times.push_back(
        {stage.node, stage.layer_begin, stage.layer_end, i == own_ ? own : microseconds_[i]});
  }
  return times;
}

Result<void> ShardGroup::Sum(std::span<const SplitSum> sums) {
  Pause();
  const std::span<const float> own = Joined(sums);
  TRY(Tell(wire::Partials{plan_.id, step_, sum_, Microseconds(computed_)}, own));
  std::vector<std::span<const float>> given;  // by each shard, of all sums
  for (size_t shard = 0; shard < links_.size(); ++shard) {
    size_t values = 0;
    for (const SplitSum& sum : sums) values += trees_.ValuesOf(shard, sum);
    given.push_back(shard == own_ ? own : TRY(ReceivePartials(shard, values)));
  }
  ++sum_;
  Resume();
  for (const SplitSum& sum : sums) {
    std::vector<std::span<const float>> values;
    for (size_t shard = 0; shard < links_.size(); ++shard) {
      const size_t count = trees_.ValuesOf(shard, sum);
      values.push_back(given[shard].first(count));
      given[shard] = given[shard].subspan(count);
    }
    trees_.Combine(sum, values);
  }
  return {};
}

Result<DataLink::Frame> ShardGroup::Receive(size_t shard) {
  DataLink& link = *links_[shard];
  for (;;) {
    auto outcome = link.Poll(sys::Now() + kSumPoll);
    if (!outcome) {
      lost_ = link.peer();
      return std::unexpected(outcome.error());
    }
    if (outcome->event != DataLink::Event::kFrame) continue;
    if (auto* failed = std::get_if<wire::StepFailed>(outcome->frame.message))
      return Fail(CodeOfPeer(failed->code), "a shard failed: {}", failed->message);
    return outcome->frame;
  }
}

// So many values, of all sums of one exchange.
Result<std::span<const float>> ShardGroup::ReceivePartials(size_t shard, size_t values) {
  const DataLink::Frame frame = TRY(Receive(shard));
  const auto* partials = std::get_if<wire::Partials>(frame.message);
  if (partials == nullptr || partials->plan != plan_.id || partials->step != step_ ||
      partials->sum != sum_)
    return Fail(ErrorCode::kCorrupt, "an unexpected message on a data link");
  microseconds_[shard] = partials->microseconds;
  if (frame.floats().size() != values) {
    return Fail(ErrorCode::kCorrupt, "step {}: {} values of partial sums of shard {}, not {}",
                step_, frame.floats().size(), shard, values);
  }
  return frame.floats();
}

uint32_t ShardGroup::VocabOf(size_t shard) const {
  const wire::ShardPlan& plan = *StageOf(shard).shard;
  return plan.vocab_end - plan.vocab_begin;
}

Result<void> ShardGroup::AskLogits(size_t first, size_t count, uint32_t best,
                                   std::span<const float> states) {
  if (!sends_states_) states = {};
  asked_ = {.plan = plan_.id,
            .step = step_,
            .first = static_cast<uint32_t>(first),
            .count = static_cast<uint32_t>(count),
            .best = best};
  for (size_t shard = 0; shard < links_.size(); ++shard) {
    if (links_[shard] == nullptr || VocabOf(shard) == 0) continue;
    if (auto sent = links_[shard]->SendFloats(asked_, states, sys::Now() + timers_.send); !sent) {
      lost_ = links_[shard]->peer();
      return sent;
    }
  }
  return {};
}

Result<void> ShardGroup::TakeLogits(std::span<float> logits) {
  Pause();
  for (size_t shard = 0; shard < links_.size(); ++shard) {
    if (links_[shard] == nullptr || VocabOf(shard) == 0) continue;
    TRY(ReceiveLogits(shard, logits));
  }
  Resume();
  return {};
}

Result<void> ShardGroup::ReceiveLogits(size_t shard, std::span<float> logits) {
  const DataLink::Frame frame = TRY(Receive(shard));
  const auto* answer = std::get_if<wire::ShardLogits>(frame.message);
  if (answer == nullptr || answer->plan != plan_.id || answer->step != step_ ||
      answer->first != asked_.first)
    return Fail(ErrorCode::kCorrupt, "an unexpected message on a data link");
  const bool all = asked_.best == backend::kAllLogits;
  const size_t own = VocabOf(shard), row = logits.size() / asked_.count;
  const size_t sent = all ? own : 2 * BestCount(own, asked_.best);
  const std::span<const float> values = frame.floats();
  if (values.size() != sent * asked_.count) {
    return Fail(ErrorCode::kCorrupt, "step {}: {} values for the logits of {} rows of {}", step_,
                values.size(), asked_.count, own);
  }
  const uint32_t begin = StageOf(shard).shard->vocab_begin;
  for (size_t i = 0; i < asked_.count; ++i) {
    const auto from = values.subspan(i * sent, sent);
    const auto to = logits.subspan(i * row + begin, own);
    if (all) {
      std::ranges::copy(from, to.begin());
    } else {
      TRY(FillFromBest(from, begin, to));
    }
  }
  microseconds_[shard] = answer->microseconds;
  return {};
}

Result<void> ShardGroup::GiveLogits(const wire::LogitsWanted& wanted,
                                    std::span<const float> logits) {
  Pause();
  const wire::ShardLogits answer = {.plan = plan_.id,
                                    .step = wanted.step,
                                    .first = wanted.first,
                                    .microseconds = Microseconds(computed_)};
  std::vector<float> pairs;
  if (wanted.best != backend::kAllLogits) {
    const size_t own = VocabOf(own_);
    for (size_t i = 0; i < wanted.count; ++i) {
      AppendBest(logits.subspan(i * own, own), StageOf(own_).shard->vocab_begin, wanted.best,
                 pairs);
    }
    logits = pairs;
  }
  DataLink& lead = *links_[0];
  auto sent = lead.SendFloats(answer, logits, sys::Now() + timers_.send);
  if (!sent) lost_ = lead.peer();
  return sent;
}

}  // namespace exo::engine
