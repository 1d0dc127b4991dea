#include "engine/shard_group.h"

#include <algorithm>

#include "base/check.h"
#include "sys/system.h"

namespace exo::engine {
namespace {

using backend::LeafRange;
using backend::Partial;

// While nothing comes the link is looked at so often; it breaks when the instance is stopped.
constexpr Time kSumPoll = std::chrono::seconds(1);

uint64_t Microseconds(Time time) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

// All partials of a shard as one block.
std::span<const float> Joined(std::span<const Partial> parts) {
  size_t values = 0;
  for (const Partial& part : parts) {
    CHECK(part.values.data() == parts.front().values.data() + values);
    values += part.values.size();
  }
  return {parts.front().values.data(), values};
}

// What a shard has of a product: the canonical subtrees of its columns.
std::vector<LeafRange> PartsOf(const wire::ShardPlan& shard, const model::ModelConfig& config,
                               backend::SplitProduct product) {
  if (product == backend::SplitProduct::kFeedForward)
    return backend::ColumnSubtrees(config.ffn_width, shard.ffn_begin, shard.ffn_end);
  const uint64_t head = uint64_t{config.group()} * config.head_dim;
  return backend::ColumnSubtrees(config.q_width(), shard.kv_begin * head, shard.kv_end * head);
}

}  // namespace

size_t MostPartials(const wire::Plan& plan, const model::ModelConfig& config) {
  size_t most = 0;
  for (const wire::StagePlan& stage : plan.stages) {
    for (const auto product :
         {backend::SplitProduct::kAttention, backend::SplitProduct::kFeedForward})
      most = std::max(most, PartsOf(*stage.shard, config, product).size());
  }
  return most;
}

ShardGroup::ShardGroup(const wire::Plan& plan, uint32_t own, const model::ModelConfig& config,
                       std::vector<DataLink*> links, const StageTimers& timers)
    : plan_(plan),
      own_(own),
      links_(std::move(links)),
      timers_(timers),
      microseconds_(plan.stages.size(), 0) {
  CHECK_EQ(links_.size(), plan_.stages.size());
  for (const wire::StagePlan& stage : plan_.stages) {
    attention_.push_back(PartsOf(*stage.shard, config, backend::SplitProduct::kAttention));
    ffn_.push_back(PartsOf(*stage.shard, config, backend::SplitProduct::kFeedForward));
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
  resumed_ = sys::Now();
  std::ranges::fill(microseconds_, 0);
}

std::vector<wire::StageTime> ShardGroup::Times() const {
  std::vector<wire::StageTime> times;
  for (size_t i = 0; i < plan_.stages.size(); ++i) {
    const wire::StagePlan& stage = plan_.stages[i];
    const uint64_t own = Microseconds(computed_ + (sys::Now() - resumed_));
    times.push_back(
        {stage.node, stage.layer_begin, stage.layer_end, i == own_ ? own : microseconds_[i]});
  }
  return times;
}

Result<void> ShardGroup::Sum(backend::SplitProduct product, uint32_t leaves,
                             std::span<const Partial> own, std::span<float> sum) {
  const Parts& parts = product == backend::SplitProduct::kAttention ? attention_ : ffn_;
  computed_ += sys::Now() - resumed_;
  TRY(Tell(wire::Partials{plan_.id, step_, sum_, Microseconds(computed_)}, Joined(own)));
  std::vector<Partial> all;
  for (size_t shard = 0; shard < links_.size(); ++shard) {
    if (shard == own_) {
      all.insert(all.end(), own.begin(), own.end());
      continue;
    }
    const std::span<const float> values = TRY(Receive(shard));
    if (values.size() != parts[shard].size() * sum.size()) {
      return Fail(ErrorCode::kCorrupt, "step {}: {} values for {} partial sums of {}", step_,
                  values.size(), parts[shard].size(), sum.size());
    }
    for (const LeafRange& range : parts[shard]) {
      const size_t at = static_cast<size_t>(&range - parts[shard].data()) * sum.size();
      all.push_back({.leaves = range, .values = values.subspan(at, sum.size())});
    }
  }
  ++sum_;
  resumed_ = sys::Now();
  backend::CombinePartials(leaves, all, sum);
  return {};
}

Result<std::span<const float>> ShardGroup::Receive(size_t shard) {
  DataLink& link = *links_[shard];
  for (;;) {
    auto outcome = link.Poll(sys::Now() + kSumPoll);
    if (!outcome) {
      lost_ = link.peer();
      return std::unexpected(outcome.error());
    }
    if (outcome->event != DataLink::Event::kFrame) continue;
    if (auto* failed = std::get_if<wire::StepFailed>(outcome->frame.message))
      return Fail(failed->code, "a shard failed: {}", failed->message);
    const auto* partials = std::get_if<wire::Partials>(outcome->frame.message);
    if (partials == nullptr || partials->plan != plan_.id || partials->step != step_ ||
        partials->sum != sum_)
      return Fail(ErrorCode::kCorrupt, "an unexpected message on a data link");
    microseconds_[shard] = partials->microseconds;
    return outcome->frame.floats();
  }
}

}  // namespace exo::engine
