#include "cluster/tensor_split.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "cluster/partition.h"

namespace exo::cluster {
namespace {

uint32_t Units(uint32_t whole, uint32_t step) {
  return (whole + step - 1) / step;
}

// Units in proportion to weights, one at least for each: the whole parts, then the largest rests.
std::vector<uint32_t> Apportion(const std::vector<double>& weights, uint32_t units) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<uint32_t> given;
  std::vector<double> wanted;
  for (const double weight : weights) {
    wanted.push_back(weight / sum * units);
    given.push_back(std::max(1u, static_cast<uint32_t>(wanted.back())));
  }
  const auto excess = [&](size_t i) { return given[i] - wanted[i]; };
  uint32_t total = std::accumulate(given.begin(), given.end(), 0u);
  for (; total < units; ++total) {
    size_t least = 0;
    for (size_t i = 1; i < given.size(); ++i) least = excess(i) < excess(least) ? i : least;
    ++given[least];
  }
  for (; total > units; --total) {
    size_t most = given.size();
    for (size_t i = 0; i < given.size(); ++i) {
      if (given[i] > 1 && (most == given.size() || excess(i) > excess(most))) most = i;
    }
    --given[most];
  }
  return given;
}

// So much more than in proportion to its speed a shard may get, where that cuts a product's tree at
// a node of it: less than speeds are known by, and a sum then has one part a shard instead of one
// for each bit of the cut.
constexpr double kAlignWithin = 0.08;

// The cuts between shares, each moved to the multiple of the largest power of two that is near.
void Align(std::vector<uint32_t>& shares) {
  for (size_t i = 0; i + 1 < shares.size(); ++i) {
    const uint32_t cut = std::accumulate(shares.begin(), shares.begin() + i + 1, 0u);
    const auto slack = static_cast<uint32_t>(kAlignWithin * std::min(shares[i], shares[i + 1]));
    uint32_t best = cut;
    for (uint32_t at = cut - slack; at <= cut + slack; ++at) {
      if (std::countr_zero(at) > std::countr_zero(best)) best = at;
    }
    shares[i] = shares[i] + best - cut;
    shares[i + 1] = shares[i + 1] + cut - best;
  }
}

// The vocabulary over nodes of these speeds: one that is too small to be cut stays at the lead.
std::vector<uint32_t> DivideVocabulary(const TensorCuts& cuts, const std::vector<double>& speed) {
  const uint32_t units = Units(cuts.vocab, cuts.vocab_step);
  if (units >= speed.size()) return Apportion(speed, units);
  std::vector<uint32_t> given(speed.size(), 0);
  given[0] = units;
  return given;
}

uint64_t Sum(const std::vector<uint64_t>& values) {
  return std::accumulate(values.begin(), values.end(), uint64_t{0});
}

// Milliseconds that a step of so many rows takes beside computing: two sums a layer, each with all
// others at once. A shard's columns are about two subtrees (docs/costs.md).
double SumsMs(const ModelShape& shape, const std::vector<PlanNode>& nodes, const wire::Plan& plan,
              uint32_t rows) {
  const auto others = static_cast<double>(plan.stages.size() - 1);
  double slowest = 0;
  for (const wire::StagePlan& from : plan.stages) {
    for (const wire::StagePlan& to : plan.stages) {
      if (from.node == to.node) continue;
      slowest = std::max(slowest, HopMs(NodeOf(nodes, from.node), NodeOf(nodes, to.node),
                                        2 * others * RowBytes(shape, rows)));
    }
  }
  return 2 * shape.layers() * (slowest + kVisitMs);
}

}  // namespace

std::vector<wire::ShardPlan> DivideLayers(const ModelShape& shape,
                                          const std::vector<PlanNode>& nodes) {
  const TensorCuts& cuts = shape.cuts;
  const uint32_t kv_units = Units(cuts.kv_heads, cuts.kv_step);
  const uint32_t ffn_units = Units(cuts.ffn_width, cuts.ffn_step);
  if (nodes.size() > std::min(kv_units, ffn_units)) return {};
  std::vector<double> speed;
  for (const Speeds& known : KnownSpeeds(nodes)) speed.push_back(known.decode_gbps);
  const double all = std::accumulate(speed.begin(), speed.end(), 0.0);
  const std::vector<uint32_t> kv = Apportion(speed, kv_units);
  // What heads give a node too much or too little, columns make good: they are finer.
  const auto ffn_bytes = static_cast<double>(Sum(shape.layer_ffn_bytes));
  const double attention = static_cast<double>(Sum(shape.layer_bytes)) - ffn_bytes;
  std::vector<double> rest;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const double wanted = speed[i] / all * (attention + ffn_bytes) - attention * kv[i] / kv_units;
    rest.push_back(std::max(wanted, 1e-6 * ffn_bytes + 1e-9));
  }
  std::vector<uint32_t> ffn = Apportion(rest, ffn_units);
  Align(ffn);
  const std::vector<uint32_t> vocab = DivideVocabulary(cuts, speed);
  std::vector<wire::ShardPlan> shards;
  wire::ShardPlan shard;
  for (size_t i = 0; i < nodes.size(); ++i) {
    shard.kv_begin =
        std::exchange(shard.kv_end, std::min(cuts.kv_heads, shard.kv_end + kv[i] * cuts.kv_step));
    shard.ffn_begin = std::exchange(
        shard.ffn_end, std::min(cuts.ffn_width, shard.ffn_end + ffn[i] * cuts.ffn_step));
    shard.vocab_begin = std::exchange(
        shard.vocab_end, std::min(cuts.vocab, shard.vocab_end + vocab[i] * cuts.vocab_step));
    shards.push_back(shard);
  }
  return shards;
}

ShardParts PartsOf(const ModelShape& shape, const wire::ShardPlan& shard) {
  const auto part = [](uint32_t begin, uint32_t end, uint32_t whole) {
    return whole == 0 ? 1.0 : static_cast<double>(end - begin) / whole;
  };
  return {.kv = part(shard.kv_begin, shard.kv_end, shape.cuts.kv_heads),
          .ffn = part(shard.ffn_begin, shard.ffn_end, shape.cuts.ffn_width),
          .vocab = part(shard.vocab_begin, shard.vocab_end, shape.cuts.vocab)};
}

Prediction PredictShards(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                         const wire::Plan& plan, uint32_t users) {
  const std::vector<Speeds> known = KnownSpeeds(nodes);
  const auto ffn = static_cast<double>(Sum(shape.layer_ffn_bytes));
  const double attention = static_cast<double>(Sum(shape.layer_bytes)) - ffn;
  Prediction prediction{.users = users};
  double users_ms = 0, output_ms = 0, output_users_ms = 0;
  for (const wire::StagePlan& stage : plan.stages) {
    const Speeds speeds = SpeedsOf(nodes, known, stage.node);
    const ShardParts parts = PartsOf(shape, *stage.shard);
    const double part = (attention * parts.kv + ffn * parts.ffn) / (attention + ffn);
    LayerCost own;
    for (uint32_t i = 0; i < shape.layers(); ++i) {
      const LayerCost layer = CostOfLayer(shape, i, speeds);
      own.bytes += layer.bytes * part;
      own.ops += layer.ops * part;
      own.fixed_bytes += layer.fixed_bytes;
    }
    prediction.stage_decode_ms.push_back(StepMs(own, speeds, 1));
    prediction.stage_chunk_ms.push_back(own.ops * plan.chunk / speeds.prefill_gops * 1e-6);
    users_ms = std::max(users_ms, StepMs(own, speeds, users));
    const LayerCost whole = CostOfOutput(shape, speeds);
    const LayerCost output{.bytes = whole.bytes * parts.vocab, .ops = whole.ops * parts.vocab};
    output_ms = std::max(output_ms, StepMs(output, speeds, 1));
    output_users_ms = std::max(output_users_ms, StepMs(output, speeds, users));
  }
  users_ms += output_users_ms + SumsMs(shape, nodes, plan, users);
  const double chunks = static_cast<double>(kPromptTokens) / plan.chunk;
  const double prefill_ms = chunks * (std::ranges::max(prediction.stage_chunk_ms) +
                                      SumsMs(shape, nodes, plan, plan.chunk));
  prediction.decode_tokens_per_second = 1000 / (std::ranges::max(prediction.stage_decode_ms) +
                                                output_ms + SumsMs(shape, nodes, plan, 1));
  prediction.total_tokens_per_second = users * 1000 / users_ms;
  prediction.prefill_tokens_per_second = kPromptTokens * 1000 / prefill_ms;
  prediction.ttft_ms = prefill_ms + output_ms;
  return prediction;
}

}  // namespace exo::cluster
