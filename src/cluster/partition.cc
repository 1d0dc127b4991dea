#include "cluster/partition.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cluster/tensor_split.h"

namespace exo::cluster {
namespace {

// Sums of layers [0, i): a stage's weight is one subtraction.
std::vector<uint64_t> Prefix(const std::vector<uint64_t>& values) {
  std::vector<uint64_t> sums(values.size() + 1, 0);
  for (size_t i = 0; i < values.size(); ++i) sums[i + 1] = sums[i] + values[i];
  return sums;
}

const std::vector<uint64_t>& DecodeBytes(const ModelShape& shape) {
  return shape.layer_decode_bytes.empty() ? shape.layer_bytes : shape.layer_decode_bytes;
}

double SlowestKnown(const std::vector<PlanNode>& nodes, double PlanNode::* speed, double none) {
  double slowest = 0;
  for (const PlanNode& node : nodes) {
    if (node.*speed > 0 && (slowest == 0 || node.*speed < slowest)) slowest = node.*speed;
  }
  return slowest > 0 ? slowest : none;
}

// Slowest stage first, then the sum.
struct Cost {
  double slowest = std::numeric_limits<double>::infinity();
  double sum = std::numeric_limits<double>::infinity();
  friend auto operator<=>(const Cost&, const Cost&) = default;
};

double DecodeMs(uint64_t bytes, double gbps) {
  return static_cast<double>(bytes) / gbps * 1e-6;
}
double OpsMs(double ops, double gops) {
  return ops / gops * 1e-6;
}

// Of one layer, and its part of `cache` bytes.
uint64_t ShardBytes(const ModelShape& shape, const wire::ShardPlan& shard, uint32_t layer,
                    uint64_t cache) {
  const ShardParts parts = PartsOf(shape, shard);
  const auto ffn = static_cast<double>(shape.layer_ffn_bytes[layer]);
  const double rest = static_cast<double>(shape.layer_bytes[layer] + cache) - ffn;
  return static_cast<uint64_t>(std::ceil(rest * parts.kv + ffn * parts.ffn));
}

// Beside the layers. A lead that holds the whole output matrix as its embedding needs no other.
uint64_t ShardOutputBytes(const ModelShape& shape, const StageShare& share) {
  const double part = PartsOf(shape, *share.shard).vocab;
  const bool whole = share.lead && shape.embedding_bytes == 0;
  const double matrix = static_cast<double>(shape.output_bytes) * (whole ? 1 : part);
  const double logits = static_cast<double>(shape.logits_bytes) * part;
  return shape.partials_bytes + static_cast<uint64_t>(std::ceil(matrix + logits));
}

}  // namespace

KvPositions ReservedKv(const ModelShape& shape, uint64_t pages, uint32_t context, uint32_t chunk) {
  KvPositions positions{.all = pages * wire::kPagePositions};
  if (shape.window != 0) {
    positions.windowed =
        wire::WindowedPages(pages, context, shape.window, chunk) * wire::kPagePositions;
  }
  return positions;
}

uint64_t StageMemory(const ModelShape& shape, const StageShare& share, const KvPositions& positions,
                     uint8_t kv_type) {
  const uint64_t kv = shape.kv_bytes_per_position[kv_type % shape.kv_bytes_per_position.size()];
  uint64_t bytes = shape.scratch_bytes;
  if (share.shard) bytes += ShardOutputBytes(shape, share);
  for (uint32_t i = share.layer_begin; i < share.layer_end && i < shape.layers(); ++i) {
    const uint64_t cache = kv * positions.Of(shape, i);
    bytes += share.shard ? ShardBytes(shape, *share.shard, i, cache) : shape.layer_bytes[i] + cache;
  }
  if (share.lead) bytes += shape.embedding_bytes + shape.lead_scratch_bytes;
  if (share.lead && !share.shard) bytes += shape.output_bytes;
  return bytes;
}

std::vector<Speeds> KnownSpeeds(const std::vector<PlanNode>& nodes) {
  const double gbps = SlowestKnown(nodes, &PlanNode::decode_gbps, Speeds{}.decode_gbps);
  const double gops = SlowestKnown(nodes, &PlanNode::prefill_gops, Speeds{}.prefill_gops);
  std::vector<Speeds> speeds;
  for (const PlanNode& node : nodes) {
    speeds.push_back({.decode_gbps = node.decode_gbps > 0 ? node.decode_gbps : gbps,
                      .prefill_gops = node.prefill_gops > 0 ? node.prefill_gops : gops});
  }
  return speeds;
}

std::vector<uint32_t> Partition(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                                const KvPositions& positions, uint8_t kv_type) {
  const size_t stages = nodes.size();
  const size_t layers = shape.layers();
  if (stages == 0 || stages > layers) return {};
  std::vector<uint64_t> layer_memory = shape.layer_bytes;
  for (uint32_t i = 0; i < layers; ++i)
    layer_memory[i] += shape.kv_bytes_per_position[kv_type] * positions.Of(shape, i);
  const std::vector<uint64_t> memory = Prefix(layer_memory);
  const std::vector<uint64_t> decode = Prefix(DecodeBytes(shape));
  const std::vector<Speeds> speeds = KnownSpeeds(nodes);
  // best[s][e]: stages [0, s] hold layers [0, e); from[s][e]: where stage s begins.
  std::vector<std::vector<Cost>> best(stages, std::vector<Cost>(layers + 1));
  std::vector<std::vector<uint32_t>> from(stages, std::vector<uint32_t>(layers + 1, 0));
  for (size_t s = 0; s < stages; ++s) {
    const uint64_t fixed = StageMemory(shape, {0, 0, s == 0}, {}, kv_type);
    const uint64_t output = s == 0 ? shape.output_bytes : 0;
    for (size_t end = s + 1; end + (stages - 1 - s) <= layers; ++end) {
      const size_t first = s == 0 ? 0 : s;
      const size_t last = s == 0 ? 0 : end - 1;
      for (size_t begin = first; begin <= last; ++begin) {
        const uint64_t bytes = fixed + memory[end] - memory[begin];
        if (bytes > nodes[s].memory_available) continue;
        const double ms = DecodeMs(decode[end] - decode[begin] + output, speeds[s].decode_gbps);
        const Cost before = s == 0 ? Cost{0, 0} : best[s - 1][begin];
        const Cost cost{std::max(before.slowest, ms), before.sum + ms};
        if (cost < best[s][end]) {
          best[s][end] = cost;
          from[s][end] = static_cast<uint32_t>(begin);
        }
      }
    }
  }
  if (best[stages - 1][layers].slowest == std::numeric_limits<double>::infinity()) return {};
  std::vector<uint32_t> ends(stages);
  for (size_t s = stages, end = layers; s-- > 0; end = from[s][end])
    ends[s] = static_cast<uint32_t>(end);
  return ends;
}

Prediction Predict(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                   const wire::Plan& plan) {
  if (IsSharded(plan)) return PredictShards(shape, nodes, plan);
  const std::vector<Speeds> known = KnownSpeeds(nodes);
  const std::vector<uint64_t>& decode = DecodeBytes(shape);
  Prediction prediction;
  double token_ms = 0;
  double chunk_sum = 0;
  double max_chunk = 0;
  double hops_ms = 0;
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    const wire::StagePlan& stage = plan.stages[s];
    const auto at = std::find_if(nodes.begin(), nodes.end(),
                                 [&](const PlanNode& n) { return n.id == stage.node; });
    const Speeds speed =
        at == nodes.end() ? Speeds{} : known[static_cast<size_t>(at - nodes.begin())];
    uint64_t bytes = s == 0 ? shape.output_bytes : 0;
    for (uint32_t i = stage.layer_begin; i < stage.layer_end && i < decode.size(); ++i)
      bytes += decode[i];
    const double ops =
        static_cast<double>(shape.ops_per_token_layer) * (stage.layer_end - stage.layer_begin);
    const double ms = DecodeMs(bytes, speed.decode_gbps) + kVisitMs;
    const double chunk = OpsMs(ops * plan.chunk, speed.prefill_gops) + kVisitMs;
    prediction.stage_decode_ms.push_back(ms);
    prediction.stage_chunk_ms.push_back(chunk);
    token_ms += ms;
    chunk_sum += chunk;
    max_chunk = std::max(max_chunk, chunk);
    if (plan.stages.size() >
        1) {  // one hop away from each stage; the last one leads back to the lead
      const double rtt = at == nodes.end() || at->rtt_ms <= 0 ? kUnknownRttMs : at->rtt_ms;
      hops_ms += rtt / 2;
    }
  }
  token_ms += hops_ms;
  const double chunks = static_cast<double>((kPromptTokens + plan.chunk - 1) / plan.chunk);
  const double part = static_cast<double>(kPromptTokens) / (chunks * plan.chunk);
  const double prefill_ms = (chunk_sum + (chunks - 1) * max_chunk) * part + hops_ms;
  prediction.decode_tokens_per_second = 1000 / token_ms;
  prediction.prefill_tokens_per_second = kPromptTokens * 1000 / prefill_ms;
  const double output_ms = DecodeMs(shape.output_bytes, known.empty() ? 1 : known[0].decode_gbps);
  prediction.ttft_ms = prefill_ms + output_ms;
  return prediction;
}

}  // namespace exo::cluster
