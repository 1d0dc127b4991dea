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

// Units in proportion to weights, `least` at least for each: the whole parts, then the largest
// rests.
std::vector<uint32_t> Apportion(const std::vector<double>& weights, uint32_t units,
                                uint32_t least = 1) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<uint32_t> given;
  std::vector<double> wanted;
  for (const double weight : weights) {
    wanted.push_back(weight / sum * units);
    given.push_back(std::max(least, static_cast<uint32_t>(wanted.back())));
  }
  const auto excess = [&](size_t i) { return given[i] - wanted[i]; };
  uint32_t total = std::accumulate(given.begin(), given.end(), 0u);
  for (; total < units; ++total) {
    size_t least_excess = 0;
    for (size_t i = 1; i < given.size(); ++i)
      least_excess = excess(i) < excess(least_excess) ? i : least_excess;
    ++given[least_excess];
  }
  for (; total > units; --total) {
    size_t most = given.size();
    for (size_t i = 0; i < given.size(); ++i) {
      if (given[i] > least && (most == given.size() || excess(i) > excess(most))) most = i;
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

// Milliseconds that a layer of a step of so many rows takes beside computing: two sums, each with
// all others at once, which the slowest of all ways holds up. A shard's columns are about two
// subtrees (docs/costs.md).
double SumsMs(const ModelShape& shape, const Shards& shards, uint32_t rows) {
  const size_t others = shards.nodes.size() - 1;
  const double bytes = 2 * static_cast<double>(others) * RowBytes(shape, rows);
  double slowest = 0;
  for (const PlanNode* from : shards.nodes) {
    for (const PlanNode* to : shards.nodes) {
      if (from == to) continue;
      slowest = std::max(slowest, HopMs(*from, *to, bytes, others * shards.nodes.size()));
    }
  }
  return 2 * (slowest + kVisitMs);
}

// What a token reads of all layers.
LayerParts ReadOf(const ModelShape& shape) {
  LayerParts sum;
  for (const LayerParts& layer : shape.layer_parts) {
    sum.heads += layer.heads;
    sum.kv += layer.kv;
    sum.ffn += layer.ffn;
    sum.experts += layer.experts;
  }
  const TensorCuts& cuts = shape.cuts;
  if (cuts.experts > 0) sum.experts = sum.experts * cuts.experts_used / cuts.experts;
  return sum;
}

uint64_t Total(const LayerParts& parts) {
  return parts.heads + parts.kv + parts.ffn + parts.experts;
}

// Whole groups, or where these are too few for the nodes, query heads.
bool CutsGroups(const TensorCuts& cuts, size_t nodes) {
  return nodes > Units(cuts.kv_heads, cuts.kv_step);
}

std::vector<uint32_t> DivideHeads(const TensorCuts& cuts, const std::vector<double>& speed) {
  const bool inside = CutsGroups(cuts, speed.size());
  return Apportion(speed,
                   inside ? Units(cuts.heads, cuts.head_step) : Units(cuts.kv_heads, cuts.kv_step));
}

// What is finer than heads makes good what these give a node too much or too little: the share of
// `rest` of each, of which there are `bytes`.
std::vector<double> Remainders(const std::vector<double>& speed, const std::vector<uint32_t>& heads,
                               double attention, double bytes) {
  const double all = std::accumulate(speed.begin(), speed.end(), 0.0);
  const auto units = static_cast<double>(std::accumulate(heads.begin(), heads.end(), 0u));
  std::vector<double> rest;
  for (size_t i = 0; i < speed.size(); ++i) {
    const double wanted = speed[i] / all * (attention + bytes) - attention * heads[i] / units;
    rest.push_back(std::max(wanted, 1e-6 * bytes + 1e-9));
  }
  return rest;
}

// Units of each node.
struct Shares {
  std::vector<uint32_t> heads, ffn, experts, vocab;
};

Shares Divide(const ModelShape& shape, const std::vector<double>& speed) {
  const TensorCuts& cuts = shape.cuts;
  const LayerParts read = ReadOf(shape);
  const auto attention = static_cast<double>(read.heads + read.kv);
  const uint32_t ffn_units = Units(cuts.ffn_width, cuts.ffn_step);
  Shares shares{.heads = DivideHeads(cuts, speed), .vocab = DivideVocabulary(cuts, speed)};
  const std::vector<double> rest =
      Remainders(speed, shares.heads, attention, static_cast<double>(read.ffn + read.experts));
  const bool mixture = cuts.experts > 0;
  shares.ffn = Apportion(rest, ffn_units, mixture ? 0 : 1);
  Align(shares.ffn);
  shares.experts = Apportion(rest, cuts.experts, 0);
  return shares;
}

}  // namespace

std::vector<wire::ShardPlan> DivideLayers(const ModelShape& shape,
                                          const std::vector<PlanNode>& nodes) {
  const TensorCuts& cuts = shape.cuts;
  if (cuts.kv_heads == 0 || nodes.size() > Units(cuts.heads, cuts.head_step)) return {};
  if (cuts.experts == 0 && nodes.size() > Units(cuts.ffn_width, cuts.ffn_step)) return {};
  std::vector<double> speed;
  for (const Speeds& known : KnownSpeeds(nodes)) speed.push_back(known.decode_gbps);
  const Shares shares = Divide(shape, speed);
  const bool inside = CutsGroups(cuts, nodes.size());
  std::vector<wire::ShardPlan> shards;
  wire::ShardPlan shard;
  const auto next = [](uint32_t& begin, uint32_t& end, uint64_t units, uint32_t step,
                       uint32_t all) {
    begin = std::exchange(end, static_cast<uint32_t>(std::min<uint64_t>(all, end + units * step)));
  };
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (inside) {
      next(shard.head_begin, shard.head_end, shares.heads[i], cuts.head_step, cuts.heads);
      shard.kv_begin = shard.head_begin / cuts.group();
      shard.kv_end = Units(shard.head_end, cuts.group());
    } else {
      next(shard.kv_begin, shard.kv_end, shares.heads[i], cuts.kv_step, cuts.kv_heads);
    }
    next(shard.ffn_begin, shard.ffn_end, shares.ffn[i], cuts.ffn_step, cuts.ffn_width);
    next(shard.expert_begin, shard.expert_end, shares.experts[i], 1, cuts.experts);
    next(shard.vocab_begin, shard.vocab_end, shares.vocab[i], cuts.vocab_step, cuts.vocab);
    shards.push_back(shard);
  }
  return shards;
}

double ShardParts::Of(const LayerParts& layer, uint64_t bytes) const {
  const auto divided = static_cast<double>(Total(layer));
  const auto of = [](uint64_t all, double part) { return static_cast<double>(all) * part; };
  return of(layer.heads, heads) + of(layer.kv, kv) + of(layer.ffn, ffn) +
         of(layer.experts, experts) + std::max(0.0, static_cast<double>(bytes) - divided);
}

ShardParts PartsOf(const ModelShape& shape, const wire::ShardPlan& shard) {
  const auto part = [](uint32_t begin, uint32_t end, uint32_t whole) {
    return whole == 0 ? 1.0 : static_cast<double>(end - begin) / whole;
  };
  const TensorCuts& cuts = shape.cuts;
  const double kv = part(shard.kv_begin, shard.kv_end, cuts.kv_heads);
  return {.heads = shard.HasHeads() ? part(shard.head_begin, shard.head_end, cuts.heads) : kv,
          .kv = kv,
          .ffn = part(shard.ffn_begin, shard.ffn_end, cuts.ffn_width),
          .experts = part(shard.expert_begin, shard.expert_end, cuts.experts),
          .vocab = part(shard.vocab_begin, shard.vocab_end, cuts.vocab)};
}

namespace {

// The part of what a token reads of the layers that is read here. The experts that tokens go to are
// not in proportion to those here: a step waits for the shard that has most of them, which is about
// one standard deviation (of a draw without replacement) more than a shard has on average.
double ReadPart(const ModelShape& shape, ShardParts parts) {
  const TensorCuts& cuts = shape.cuts;
  if (cuts.experts > 1) {
    const double p = parts.experts, used = cuts.experts_used;
    const double spread = p * (1 - p) / used * (cuts.experts - used) / (cuts.experts - 1);
    parts.experts = std::min(1.0, p + std::sqrt(std::max(0.0, spread)));
  }
  const LayerParts read = ReadOf(shape);
  return parts.Of(read, Total(read)) / static_cast<double>(Total(read));
}

// What the sums of a layer of a step with so many rows take a shard's processor: two subtrees to
// every other one, and theirs.
double CarryMs(const ModelShape& shape, const Shards& shards, const Speeds& speeds, uint32_t rows) {
  const double others = static_cast<double>(shards.nodes.size() - 1);
  return 2 * 4 * others * RowBytes(shape, rows) * kCarryMsPerByte / speeds.duty;
}

// Of layers that are divided: what a shard does of them that reads `part` (ReadPart).
LayerCost PartOfLayers(const ModelShape& shape, const Speeds& speeds, double part,
                       const wire::LayerSpan& layers) {
  LayerCost own;
  for (uint32_t at = layers.begin; at < layers.end && at < shape.layers(); ++at) {
    const LayerCost layer = CostOfLayer(shape, at, speeds);
    own.bytes += layer.bytes * part;
    own.ops += layer.ops * part;
    own.fixed_bytes += layer.fixed_bytes;
  }
  return own;
}

}  // namespace

double OutputMs(const ModelShape& shape, const Shards& shards, uint32_t rows, bool between_pauses) {
  double slowest = 0;
  for (size_t i = 0; i < shards.nodes.size(); ++i) {
    const Speeds& speeds = shards.speeds[i];
    const double part = PartsOf(shape, shards.parts[i]).vocab;
    const LayerCost whole = CostOfOutput(shape, speeds);
    const LayerCost own{.bytes = whole.bytes * part, .ops = whole.ops * part};
    slowest = std::max(slowest, StepMs(own, speeds, rows) * (between_pauses ? speeds.duty : 1));
  }
  return slowest;
}

std::vector<double> LayersMs(const ModelShape& shape, const Shards& shards) {
  std::vector<double> slowest(shape.layers(), 0);
  for (size_t i = 0; i < shards.nodes.size(); ++i) {
    const Speeds& speeds = shards.speeds[i];
    const double part = ReadPart(shape, PartsOf(shape, shards.parts[i]));
    const double carry_ms = CarryMs(shape, shards, speeds, 1);
    for (uint32_t layer = 0; layer < shape.layers(); ++layer) {
      const LayerCost own = PartOfLayers(shape, speeds, part, {layer, layer + 1});
      slowest[layer] = std::max(slowest[layer], (StepMs(own, speeds, 1) + carry_ms) * speeds.duty);
    }
  }
  const double sums_ms = SumsMs(shape, shards, 1);
  std::vector<double> ms = {0};
  for (const double layer_ms : slowest) ms.push_back(ms.back() + layer_ms + sums_ms);
  return ms;
}

double AskMs(const ModelShape& shape, const Shards& shards, uint32_t rows) {
  const size_t others = shards.nodes.size() - 1;
  double slowest = 0;
  for (size_t i = 1; i <= others; ++i) {
    const double bytes = static_cast<double>(others) * RowBytes(shape, rows);
    slowest = std::max(slowest, HopMs(*shards.nodes[0], *shards.nodes[i], bytes, others) +
                                    HopMs(*shards.nodes[i], *shards.nodes[0], 0, others));
  }
  return slowest;
}

GroupCosts CostsOfShards(const ModelShape& shape, const Shards& shards,
                         const wire::LayerSpan& layers, const VisitRows& rows, size_t groups) {
  GroupCosts costs;
  const double count = layers.end - layers.begin;
  for (size_t i = 0; i < shards.nodes.size(); ++i) {
    const Speeds& speeds = shards.speeds[i];
    const double part = ReadPart(shape, PartsOf(shape, shards.parts[i]));
    const LayerCost own = PartOfLayers(shape, speeds, part, layers);
    const auto carry = [&](uint32_t of) { return count * CarryMs(shape, shards, speeds, of); };
    const VisitMs busy{StepMs(own, speeds, 1) + carry(1),
                       StepMs(own, speeds, rows.step) + carry(rows.step),
                       ChunkMs(own, speeds, rows.chunk) + carry(rows.chunk)};
    costs.token_ms.push_back(busy.token * (groups > 1 ? speeds.duty : 1));
    costs.chunk_ms.push_back(busy.chunk);
    costs.busy.Cover(busy);
    costs.quick.Cover({busy.token * speeds.duty, busy.step * speeds.duty, busy.chunk});
  }
  // Where rows come from another group they are visited.
  const double visit = groups > 1 ? kVisitMs : 0;
  VisitMs both{count * SumsMs(shape, shards, 1) + visit,
               count * SumsMs(shape, shards, rows.step) + visit,
               count * SumsMs(shape, shards, rows.chunk) + visit};
  costs.fixed_chunk_ms = count * SumsMs(shape, shards, 0);
  costs.output_ms = OutputMs(shape, shards, 1, false);
  costs.busy.Add(both);
  costs.quick.Add(both);
  costs.busy.Add({costs.output_ms, OutputMs(shape, shards, rows.step, false), 0});
  costs.quick.Add({OutputMs(shape, shards, 1, true), OutputMs(shape, shards, rows.step, true), 0});
  return costs;
}

}  // namespace exo::cluster
