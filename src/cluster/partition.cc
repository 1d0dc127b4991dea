#include "cluster/partition.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cluster/tensor_split.h"

namespace exo::cluster {
namespace {

// Sums of layers [0, i): a stage's weight is one subtraction.
template <class T>
std::vector<T> Prefix(const std::vector<T>& values) {
  std::vector<T> sums(values.size() + 1, 0);
  for (size_t i = 0; i < values.size(); ++i) sums[i + 1] = sums[i] + values[i];
  return sums;
}

wire::FormatCost CostOfFormat(const Speeds& speeds, uint32_t format) {
  const auto at = std::ranges::find(speeds.formats, format, &wire::FormatCost::format);
  return at == speeds.formats.end() ? wire::FormatCost{.format = format} : *at;
}

// Milliseconds of a token in layers [0, i).
std::vector<double> TokenMs(const ModelShape& shape, const Speeds& speeds) {
  std::vector<double> ms;
  for (uint32_t i = 0; i < shape.layers(); ++i)
    ms.push_back(StepMs(CostOfLayer(shape, i, speeds), speeds, 1));
  return Prefix(ms);
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

double OpsMs(double ops, double gops) {
  return ops / gops * 1e-6;
}

// What one end says of the way to the other; nothing: zeros.
PlanLink LinkFrom(const PlanNode& from, const PlanNode& to) {
  const auto link = std::ranges::find(from.links, to.id, &PlanLink::to);
  return link == from.links.end() ? PlanLink{.to = to.id} : *link;
}

// The worse of what both ends say: what has become slow is seen by one of them first.
double WorseOf(const PlanNode& a, const PlanNode& b, double PlanLink::* figure) {
  return std::max(LinkFrom(a, b).*figure, LinkFrom(b, a).*figure);
}

// Of one layer, and its part of `cache` bytes.
uint64_t ShardBytes(const ModelShape& shape, const wire::ShardPlan& shard, uint32_t layer,
                    uint64_t cache) {
  const ShardParts parts = PartsOf(shape, shard);
  const double own = parts.Of(shape.layer_parts[layer], shape.layer_bytes[layer]);
  return static_cast<uint64_t>(std::ceil(own + static_cast<double>(cache) * parts.kv));
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

namespace {

// What a layer that is read from disk does not hold: all of its weights, or its experts.
uint64_t UnheldBytes(const ModelShape& shape, uint32_t layer) {
  return shape.cuts.experts > 0 ? shape.layer_parts[layer].experts : shape.layer_bytes[layer];
}

}  // namespace

uint64_t StageMemory(const ModelShape& shape, const StageShare& share, const KvPositions& positions,
                     uint8_t kv_type) {
  const uint64_t kv = shape.kv_bytes_per_position[kv_type % shape.kv_bytes_per_position.size()];
  uint64_t bytes = shape.scratch_bytes;
  if (share.shard) bytes += ShardOutputBytes(shape, share);
  uint64_t window = 0;
  for (uint32_t i = share.layer_begin; i < share.layer_end && i < shape.layers(); ++i) {
    const uint64_t cache = kv * positions.Of(shape, i);
    if (wire::IsStreamed({share.layer_begin, share.layer_end}, share.streamed, i)) {
      window = std::max(window, UnheldBytes(shape, i));
      bytes += shape.layer_bytes[i] - UnheldBytes(shape, i) + cache;
      continue;
    }
    bytes += share.shard ? ShardBytes(shape, *share.shard, i, cache) : shape.layer_bytes[i] + cache;
  }
  if (share.streamed > 0) bytes += shape.stream_scratch_bytes + wire::kStreamWindows * window;
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
                      .prefill_gops = node.prefill_gops > 0 ? node.prefill_gops : gops,
                      .layer_bytes = node.layer_bytes,
                      .formats = node.formats,
                      .duty = node.duty});
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
  const std::vector<Speeds> speeds = KnownSpeeds(nodes);
  // best[s][e]: stages [0, s] hold layers [0, e); from[s][e]: where stage s begins.
  std::vector<std::vector<Cost>> best(stages, std::vector<Cost>(layers + 1));
  std::vector<std::vector<uint32_t>> from(stages, std::vector<uint32_t>(layers + 1, 0));
  for (size_t s = 0; s < stages; ++s) {
    const uint64_t fixed = StageMemory(shape, {0, 0, s == 0}, {}, kv_type);
    const std::vector<double> token_ms = TokenMs(shape, speeds[s]);
    const double output_ms = s == 0 ? StepMs(CostOfOutput(shape, speeds[s]), speeds[s], 1) : 0;
    for (size_t end = s + 1; end + (stages - 1 - s) <= layers; ++end) {
      const size_t first = s == 0 ? 0 : s;
      const size_t last = s == 0 ? 0 : end - 1;
      for (size_t begin = first; begin <= last; ++begin) {
        const uint64_t bytes = fixed + memory[end] - memory[begin];
        if (bytes > nodes[s].memory_available) continue;
        const double ms = token_ms[end] - token_ms[begin] + output_ms;
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

Speeds SpeedsOf(const std::vector<PlanNode>& nodes, const std::vector<Speeds>& known,
                const NodeId& id) {
  const auto at = std::ranges::find(nodes, id, &PlanNode::id);
  return at == nodes.end() ? Speeds{} : known[static_cast<size_t>(at - nodes.begin())];
}

const PlanNode& NodeOf(const std::vector<PlanNode>& nodes, const NodeId& id) {
  static const PlanNode kUnknown;
  const auto at = std::ranges::find(nodes, id, &PlanNode::id);
  return at == nodes.end() ? kUnknown : *at;
}

double RttMs(const PlanNode& a, const PlanNode& b) {
  if (const double measured = WorseOf(a, b, &PlanLink::rtt_ms); measured > 0) return measured;
  const double farther = std::max(a.rtt_ms, b.rtt_ms);
  return farther > 0 ? farther : kUnknownRttMs;
}

double RttP99Ms(const PlanNode& a, const PlanNode& b) {
  return std::max(WorseOf(a, b, &PlanLink::rtt_p99_ms), RttMs(a, b));
}

double Mbps(const PlanNode& from, const PlanNode& to) {
  const double there = LinkFrom(from, to).mbps;
  return std::max(there > 0 ? there : LinkFrom(to, from).mbps, 0.0);
}

double HopMs(const PlanNode& from, const PlanNode& to, double bytes, size_t ways) {
  const double mbps = Mbps(from, to), rtt = RttMs(from, to);
  // The slowest of so many is expected where 1 of ways + 1 is slower still.
  const double tail = std::log(static_cast<double>(ways + 1) / 2) / std::log(0.5 / 0.01);
  const double slowest = rtt + (RttP99Ms(from, to) - rtt) * std::clamp(tail, 0.0, 1.0);
  return slowest / 2 + (mbps > 0 ? bytes * 8e-3 / mbps : 0);
}

double RowBytes(const ModelShape& shape, uint32_t rows) {
  return 4.0 * shape.width * rows;
}

LayerCost CostOfLayer(const ModelShape& shape, uint32_t layer, const Speeds& speeds) {
  LayerCost cost{.fixed_bytes = speeds.layer_bytes};
  if (shape.layer_work.empty()) {
    cost.bytes = static_cast<double>(DecodeBytes(shape)[layer]);
    cost.ops = static_cast<double>(shape.ops_per_token_layer);
    return cost;
  }
  for (const FormatWork& work : shape.layer_work[layer]) {
    const wire::FormatCost format = CostOfFormat(speeds, work.format);
    cost.bytes += work.bytes * format.decode;
    cost.ops += work.ops * format.prefill;
  }
  return cost;
}

LayerCost CostOfOutput(const ModelShape& shape, const Speeds& speeds) {
  // As many operations for a byte as in the layers.
  const double layers = static_cast<double>(Prefix(DecodeBytes(shape)).back());
  const auto bytes = static_cast<double>(shape.output_bytes);
  const double ops = static_cast<double>(shape.ops_per_token_layer) * shape.layers();
  wire::FormatCost format;
  if (shape.output_format) format = CostOfFormat(speeds, *shape.output_format);
  return {.bytes = bytes * format.decode,
          .ops = layers > 0 ? ops / layers * bytes * format.prefill : 0};
}

double StepMs(const LayerCost& cost, const Speeds& speeds, uint32_t rows) {
  return (cost.bytes + cost.fixed_bytes) / speeds.decode_gbps * 1e-6 +
         OpsMs(cost.ops * (rows - 1), speeds.prefill_gops);
}

double ChunkMs(const LayerCost& cost, const Speeds& speeds, uint32_t rows) {
  return OpsMs(cost.ops * rows, speeds.prefill_gops);
}

double DiskMs::Visit(double compute_ms) const {
  return beside ? std::max(compute_ms, all - ahead) : compute_ms + all;
}

DiskMs DiskMsOf(const ModelShape& shape, const wire::LayerSpan& layers, uint32_t streamed,
                double disk_gbps, uint32_t rows) {
  if (streamed == 0) return {};
  double bytes = 0;
  for (uint32_t i = layers.begin; i < layers.end && i < shape.layers(); ++i) {
    if (wire::IsStreamed(layers, streamed, i)) bytes += static_cast<double>(UnheldBytes(shape, i));
  }
  const double all = bytes / (disk_gbps > 0 ? disk_gbps : kUnknownDiskGbps) * 1e-6;
  const double in_windows = std::min(1.0, static_cast<double>(wire::kStreamWindows) / streamed);
  if (shape.cuts.experts == 0) return {.all = all, .ahead = all * in_windows};
  // Of a mixture the windows hold as large a part of its experts, and rows go to any of them.
  const double wanted =
      std::min(1.0, static_cast<double>(rows) * shape.cuts.experts_used / shape.cuts.experts);
  return {.all = all * wanted * (1 - in_windows), .beside = false};
}

InFlight SharesOf(uint32_t users, size_t stages) {
  const uint32_t steps = std::min(users, static_cast<uint32_t>(stages));
  return {steps, (users + steps - 1) / steps};
}

namespace {

// A stage that has its layers alone; what it reads from its disk counts as well.
GroupCosts CostsOfNode(const ModelShape& shape, const wire::StagePlan& own, const Speeds& speeds,
                       double disk_gbps, const VisitRows& rows, bool lead) {
  VisitMs costs{kVisitMs, kVisitMs, kVisitMs};
  double output_ms = 0;
  if (lead) {
    const LayerCost output = CostOfOutput(shape, speeds);
    output_ms = StepMs(output, speeds, 1);
    costs.Add({output_ms, StepMs(output, speeds, rows.step), 0});
  }
  for (uint32_t i = own.layer_begin; i < own.layer_end && i < shape.layers(); ++i) {
    const LayerCost layer = CostOfLayer(shape, i, speeds);
    costs.Add({StepMs(layer, speeds, 1), StepMs(layer, speeds, rows.step),
               ChunkMs(layer, speeds, rows.chunk)});
  }
  const auto disk = [&](uint32_t of_rows) {
    return DiskMsOf(shape, {own.layer_begin, own.layer_end}, own.streamed, disk_gbps, of_rows);
  };
  const DiskMs token = disk(1), step = disk(rows.step), chunk = disk(rows.chunk);
  const double chunk_ms = std::max(chunk.Visit(costs.chunk), chunk.all);
  return {.busy = {std::max(costs.token, token.all), std::max(costs.step, step.all), chunk_ms},
          .quick = {token.Visit(costs.token * speeds.duty), step.Visit(costs.step * speeds.duty),
                    chunk_ms},
          .output_ms = output_ms,
          .token_ms = {token.Visit(costs.token)},
          .chunk_ms = {chunk_ms}};
}

Shards ShardsOf(const std::vector<PlanNode>& nodes, const std::vector<Speeds>& known,
                const wire::Plan& plan, const wire::StageGroup& group) {
  Shards shards;
  for (size_t i = group.begin; i < group.end; ++i) {
    shards.nodes.push_back(&NodeOf(nodes, plan.stages[i].node));
    shards.speeds.push_back(SpeedsOf(nodes, known, plan.stages[i].node));
    shards.parts.push_back(*plan.stages[i].shard);
  }
  return shards;
}

// Rows on their way from a group to the next one: the slowest of all ways, which are waited for
// together, and what of it their bytes take.
struct GroupHop {
  double ms = 0;
  double bytes_ms = 0;
};
GroupHop HopBehind(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                   const wire::Plan& plan, const wire::StageGroup& group, uint32_t rows) {
  size_t ways = 0;
  for (size_t from = group.begin; from < group.end; ++from) ways += RowsTo(plan, from).size();
  GroupHop hop;
  for (size_t from = group.begin; from < group.end; ++from) {
    const std::vector<size_t> next = RowsTo(plan, from);
    const double bytes = static_cast<double>(next.size()) * RowBytes(shape, rows);
    for (const size_t to : next) {
      const PlanNode& a = NodeOf(nodes, plan.stages[from].node);
      const PlanNode& b = NodeOf(nodes, plan.stages[to].node);
      const double ms = HopMs(a, b, bytes, ways);
      hop.ms = std::max(hop.ms, ms);
      hop.bytes_ms = std::max(hop.bytes_ms, ms - HopMs(a, b, 0, ways));
    }
  }
  return hop;
}

// What a full chunk of a prompt takes on its way.
struct ChunkCosts {
  struct Stage {
    double rows_ms = 0;
    double fixed_ms = 0;  // whatever its size
  };
  std::vector<Stage> stages;
  double links_ms = 0, slowest_link_ms = 0;  // to be sent on all links, and on the slowest
  double trips_ms = 0;                       // until it is there, whatever its size
};

// Stages and links work side by side, each on another chunk; smaller ones fill them sooner and read
// the weights more often, and the best size is taken (engine/chunk_size.h).
double PromptMs(const ChunkCosts& full, const wire::Plan& plan, uint32_t prompt) {
  constexpr double kReadingAsRows = 8;
  constexpr uint32_t kLeastRows = 32;
  const bool one_size =
      wire::GroupsOf(plan).size() == 1 ||
      std::ranges::any_of(plan.stages, [](const auto& stage) { return stage.streamed > 0; });
  double best = std::numeric_limits<double>::infinity();
  for (uint32_t size = plan.chunk; size >= std::max(plan.chunk / 8, 1u); size /= 2) {
    const uint32_t chunks = (prompt + size - 1) / size;
    const double rows = static_cast<double>(prompt) / chunks;
    const double computed = (rows + kReadingAsRows) / (plan.chunk + kReadingAsRows);
    const double sent = rows / plan.chunk;
    double first_ms = full.links_ms * sent + full.trips_ms;
    double next_ms = full.slowest_link_ms * sent;
    for (const ChunkCosts::Stage& stage : full.stages) {
      const double stage_ms = stage.rows_ms * computed + stage.fixed_ms;
      first_ms += stage_ms;
      next_ms = std::max(next_ms, stage_ms);
    }
    best = std::min(best, first_ms + (chunks - 1) * next_ms);
    if (one_size || size / 2 < kLeastRows) break;
  }
  return best;
}

}  // namespace

Prediction Predict(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                   const wire::Plan& plan, uint32_t users, wire::Use use) {
  const uint32_t prompt = wire::PromptTokensOf(use);
  const std::vector<Speeds> known = KnownSpeeds(nodes);
  const std::vector<wire::StageGroup> groups = wire::GroupsOf(plan);
  const InFlight shares = SharesOf(users, groups.size());
  const VisitRows rows{.step = shares.rows, .chunk = plan.chunk};
  Prediction prediction{.users = users};
  VisitMs sum, slowest, hops;
  double output_ms = 0;
  ChunkCosts chunk;
  for (const wire::StageGroup& group : groups) {
    const wire::StagePlan& first = plan.stages[group.begin];
    const bool lead = group.begin == 0, last = group.end == plan.stages.size();
    GroupCosts costs;
    if (first.shard) {
      const Shards shards = ShardsOf(nodes, known, plan, group);
      costs =
          CostsOfShards(shape, shards, {first.layer_begin, first.layer_end}, rows, groups.size());
      if (lead && !last) hops.Add({AskMs(shape, shards, 1), AskMs(shape, shards, rows.step), 0});
    } else {
      costs = CostsOfNode(shape, first, SpeedsOf(nodes, known, first.node),
                          NodeOf(nodes, first.node).disk_gbps, rows, lead);
      if (groups.size() > 1) costs.token_ms = {costs.quick.token};
    }
    for (const double ms : costs.token_ms) prediction.stage_decode_ms.push_back(ms);
    for (const double ms : costs.chunk_ms) prediction.stage_chunk_ms.push_back(ms);
    sum.Add(costs.quick);
    slowest.Cover(costs.busy);
    if (lead) output_ms = costs.output_ms;
    chunk.stages.push_back({costs.busy.chunk - costs.fixed_chunk_ms, costs.fixed_chunk_ms});
    // Of a prompt the last group returns one row.
    const GroupHop sent = HopBehind(shape, nodes, plan, group, last ? 1 : plan.chunk);
    hops.Add({HopBehind(shape, nodes, plan, group, 1).ms,
              HopBehind(shape, nodes, plan, group, rows.step).ms, sent.ms});
    chunk.trips_ms += sent.ms - sent.bytes_ms;
    chunk.links_ms += sent.bytes_ms;
    chunk.slowest_link_ms = std::max(chunk.slowest_link_ms, sent.bytes_ms);
  }
  const double prefill_ms = PromptMs(chunk, plan, prompt);
  const double cycle_ms = std::max(shares.steps * slowest.step, sum.step + hops.step);
  prediction.decode_tokens_per_second = 1000 / std::max(slowest.token, sum.token + hops.token);
  prediction.total_tokens_per_second = users * 1000 / cycle_ms;
  prediction.prefill_tokens_per_second = prompt * 1000 / prefill_ms;
  prediction.ttft_ms = prefill_ms + output_ms;
  return prediction;
}

}  // namespace exo::cluster
