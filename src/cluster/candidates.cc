#include "cluster/candidates.h"

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>
#include <tuple>

#include "cluster/hybrids.h"
#include "cluster/partition.h"
#include "cluster/replicas.h"
#include "wire/limits.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

// Throughput and prompts want short stages, one answer a short way, and so that no device needs
// longer pauses than the others' work is. So pipelines are looked for with no stage longer than
// that, and then ever shorter ones.
constexpr int kStageLimits = 5;
constexpr double kShorterStages = 0.75;

struct Candidate {
  Placement placement;
  wire::PlanRival rival;
  std::vector<Placement> replicas = {};
};

Candidate CandidateOf(const Search& search, Placement placement) {
  Candidate candidate{.rival = RivalOf(search, placement, wire::RivalFate::kSlower)};
  candidate.placement = std::move(placement);
  return candidate;
}

void AddAlone(const Search& search, uint64_t pages, std::vector<Candidate>& candidates) {
  for (size_t i = 0; i < search.nodes.size(); ++i) {
    const PlanNode& node = search.nodes[i];
    wire::PlanRival rival{.nodes = {node.id}, .short_of = node.id};
    if (node.guest) {
      rival.fate = wire::RivalFate::kGuest;
      candidates.push_back({{}, rival});
      continue;
    }
    Placement alone = PlaceAlone(search, i, pages);
    if (alone.valid()) {
      candidates.push_back(CandidateOf(search, std::move(alone)));
      continue;
    }
    rival.fate = wire::RivalFate::kNoMemory;
    rival.needed = StageMemory(search.shape, {0, search.shape.layers(), true},
                               search.Positions(pages), search.options.kv_type);
    rival.available = node.memory_available;
    candidates.push_back({{}, rival});
  }
}

// What a step takes a node: a token of each of so many answers, or a chunk of a prompt. A chunk
// takes longer than a device works between two pauses, so that its duty does not count twice.
PipelineNode TimesOf(const Search& search, const Speeds& speeds, uint32_t rows) {
  const ModelShape& shape = search.shape;
  const bool prompts = search.use == wire::Use::kPrompts;
  const double output_ms = StepMs(CostOfOutput(shape, speeds), speeds, rows) * speeds.duty;
  PipelineNode node{.layer_ms = {0},
                    .visit_ms = kVisitMs,
                    .lead_ms = prompts ? 0 : output_ms,
                    .duty = prompts ? 1 : speeds.duty};
  for (uint32_t i = 0; i < shape.layers(); ++i) {
    const LayerCost layer = CostOfLayer(shape, i, speeds);
    const double ms = prompts ? ChunkMs(layer, speeds, search.options.chunk)
                              : StepMs(layer, speeds, rows) * speeds.duty;
    node.layer_ms.push_back(node.layer_ms.back() + ms);
  }
  return node;
}

// Without a pause.
double LongestStageMs(const Search& search, const Placement& placement) {
  if (search.use == wire::Use::kPrompts)
    return std::ranges::max(placement.prediction.stage_chunk_ms);
  double longest = 0;
  for (size_t s = 0; s < placement.nodes.size(); ++s) {
    longest = std::max(
        longest, placement.prediction.stage_decode_ms[s] / search.nodes[placement.nodes[s]].duty);
  }
  return longest;
}

}  // namespace

PipelineProblem ProblemOf(const Search& search, uint64_t pages) {
  const ModelShape& shape = search.shape;
  const InFlight shares =
      SharesOf(search.use == wire::Use::kThroughput ? search.users : 1, search.nodes.size());
  const KvPositions positions = search.Positions(pages);
  const auto bytes = [&](const StageShare& share) {
    return StageMemory(shape, share, positions, search.options.kv_type);
  };
  const uint64_t stage_bytes = bytes({0, 0, false});
  PipelineProblem problem{.layer_bytes = {0}};
  for (uint32_t i = 0; i < shape.layers(); ++i)
    problem.layer_bytes.push_back(problem.layer_bytes.back() + bytes({i, i + 1}) - stage_bytes);
  const std::vector<Speeds> known = KnownSpeeds(search.nodes);
  for (size_t n = 0; n < search.nodes.size(); ++n) {
    PipelineNode node = TimesOf(search, known[n], shares.rows);
    node.memory = search.nodes[n].memory_available;
    node.stage_bytes = stage_bytes;
    node.lead_bytes = bytes({0, 0, true}) - stage_bytes;
    node.inner_only = search.nodes[n].guest;
    problem.nodes.push_back(std::move(node));
    const uint32_t rows = search.use == wire::Use::kPrompts ? search.options.chunk : shares.rows;
    std::vector<double>& hops = problem.hop_ms.emplace_back();
    for (const PlanNode& to : search.nodes)
      hops.push_back(HopMs(search.nodes[n], to, RowBytes(shape, rows)));
  }
  return problem;
}

namespace {

// A pipeline as it was found, or over the same stages with the slowest as fast as it can be.
Placement PlacePipeline(const Search& search, const Pipeline& pipeline, uint64_t pages,
                        bool balanced) {
  Placement placement{.nodes = pipeline.nodes, .ends = pipeline.ends, .pages = pages};
  if (balanced) {
    std::vector<PlanNode> nodes;
    for (const size_t node : pipeline.nodes) nodes.push_back(search.nodes[node]);
    placement.ends =
        Partition(search.shape, nodes, search.Positions(pages), search.options.kv_type);
  }
  if (placement.ends.empty()) return {};
  placement.prediction =
      Predict(search.shape, search.nodes, BuildPlan(search, placement), search.users, search.use);
  return placement;
}

void AddPipelines(const Search& search, uint64_t pages, std::vector<Candidate>& candidates) {
  if (search.nodes.size() < 2) return;
  PipelineProblem problem = ProblemOf(search, pages);
  std::vector<Placement> best(search.nodes.size());  // by the number of stages less one
  const bool pauses = std::ranges::any_of(search.nodes, [](const auto& n) { return n.duty < 1; });
  const int limits = search.use != wire::Use::kLatency || pauses ? kStageLimits : 1;
  for (int i = 0; i < limits; ++i) {
    double longest = 0;
    for (const Pipeline& pipeline : FastestPipelines(problem)) {
      const size_t stages = pipeline.nodes.size();
      if (stages < 2) continue;
      Placement placement = PlacePipeline(search, pipeline, pages, false);
      if (limits > 1) {
        Placement balanced = PlacePipeline(search, pipeline, pages, true);
        if (balanced.valid() && Better(search, balanced, best[stages - 1]))
          best[stages - 1] = std::move(balanced);
      }
      longest = std::max(longest, LongestStageMs(search, placement));
      if (Better(search, placement, best[stages - 1])) best[stages - 1] = std::move(placement);
    }
    if (longest == 0) break;
    problem.longest_stage_ms = std::min(problem.longest_stage_ms, longest) * kShorterStages;
  }
  for (Placement& placement : best) {
    if (placement.valid()) candidates.push_back(CandidateOf(search, std::move(placement)));
  }
}

}  // namespace

std::vector<std::vector<size_t>> SetsOf(const std::vector<size_t>& members, size_t count) {
  if (members.size() > kExactNodes)
    return {std::vector(members.begin(), members.begin() + static_cast<ptrdiff_t>(count))};
  std::vector<std::vector<size_t>> groups;
  for (uint32_t set = 1; set < 1u << members.size(); ++set) {
    if (static_cast<size_t>(std::popcount(set)) != count) continue;
    std::vector<size_t>& group = groups.emplace_back();
    for (size_t i = 0; i < members.size(); ++i) {
      if ((set >> i & 1) != 0) group.push_back(members[i]);
    }
  }
  return groups;
}

namespace {

// No lossy wire carries exact sums.
bool MaySplit(const Search& search) {
  return search.shape.cuts.kv_heads > 0 && search.options.codec == wire::Codec::kF32;
}

void AddGroups(const Search& search, uint64_t pages, std::vector<Candidate>& candidates) {
  if (!MaySplit(search)) return;
  const std::vector<size_t> members = FastestMembers(search);
  for (size_t count = 2; count <= members.size(); ++count) {
    Placement best;
    const PlanNode* short_of = nullptr;
    for (const std::vector<size_t>& group : SetsOf(members, count)) {
      Placement placement = PlaceShards(search, group, pages, &short_of);
      if (placement.valid() && Better(search, placement, best)) best = std::move(placement);
    }
    if (best.valid()) {
      candidates.push_back(CandidateOf(search, std::move(best)));
      continue;
    }
    wire::PlanRival rival{.split = wire::Split::kTensor};
    for (size_t i = 0; i < count; ++i) rival.nodes.push_back(search.nodes[members[i]].id);
    rival.fate = short_of != nullptr ? wire::RivalFate::kNoMemory : wire::RivalFate::kTooFewParts;
    if (short_of != nullptr) {
      rival.short_of = short_of->id;
      rival.available = short_of->memory_available;
    }
    candidates.push_back({{}, rival});
    if (short_of == nullptr) return;  // nor over more
  }
}

AnswerRate RateOf(const Prediction& prediction) {
  return AnswerRate::Of(prediction.decode_tokens_per_second, prediction.total_tokens_per_second,
                        prediction.users);
}

void AddHybrids(const Search& search, uint64_t pages, std::vector<Candidate>& candidates) {
  if (search.use != wire::Use::kLatency || !MaySplit(search)) return;
  for (Placement& placement : FastestHybrids(search, pages)) {
    if (placement.valid()) candidates.push_back(CandidateOf(search, std::move(placement)));
  }
}

// Side by side, each with its share of the users; without a placement where one would have none.
Candidate Together(const Search& search, std::vector<Placement> set) {
  std::vector<AnswerRate> rates;
  for (const Placement& one : set) rates.push_back(RateOf(one.prediction));
  const std::vector<uint32_t> users = ShareUsers(rates, search.users);
  Candidate candidate{.rival = RivalOf(search, set[0], wire::RivalFate::kSlower)};
  candidate.rival.nodes.clear();
  candidate.rival.total_tokens_per_second = 0;
  for (size_t i = 0; i < set.size(); ++i) {
    candidate.rival.nodes.push_back(search.nodes[set[i].nodes[0]].id);
    if (users[i] == 0) continue;
    Prediction& own = set[i].prediction;
    own = Predict(search.shape, search.nodes, BuildPlan(search, set[i]), users[i], search.use);
    candidate.rival.total_tokens_per_second += own.total_tokens_per_second;
    candidate.rival.decode_tokens_per_second =
        std::max(candidate.rival.decode_tokens_per_second, own.decode_tokens_per_second);
  }
  if (std::ranges::find(users, 0u) != users.end()) return candidate;
  candidate.placement = std::move(set[0]);
  candidate.replicas.assign(std::make_move_iterator(set.begin() + 1),
                            std::make_move_iterator(set.end()));
  return candidate;
}

// The whole model on the fastest node and on each further one that adds enough. One that does not
// is told together with those that were taken before it.
void AddReplicas(const Search& search, std::vector<Candidate>& candidates) {
  if (search.use != wire::Use::kThroughput) return;
  std::vector<Placement> alone;
  for (const Candidate& candidate : candidates) {
    if (candidate.placement.nodes.size() == 1) alone.push_back(candidate.placement);
  }
  if (alone.size() < 2) return;
  std::ranges::sort(alone,
                    [&](const Placement& a, const Placement& b) { return Better(search, a, b); });
  std::vector<Placement> taken = {alone[0]};
  Candidate best{.rival = RivalOf(search, alone[0], wire::RivalFate::kSlower)};
  for (size_t i = 1; i < alone.size() && taken.size() < wire::kMaxReplicas; ++i) {
    std::vector<Placement> more = taken;
    more.push_back(alone[i]);
    Candidate candidate = Together(search, more);
    const bool worth =
        candidate.placement.valid() && candidate.rival.total_tokens_per_second >=
                                           kWorthReplica * best.rival.total_tokens_per_second;
    if (worth) {
      best = std::move(candidate);
      taken = std::move(more);
    } else {
      candidates.push_back({{}, std::move(candidate.rival)});
    }
  }
  if (taken.size() > 1) candidates.push_back(std::move(best));
}

// The best over so many nodes, divided by layers or inside of them; or null.
Candidate* BestOf(const Search& search, std::vector<Candidate>& candidates, size_t nodes,
                  bool sharded) {
  Candidate* best = nullptr;
  for (Candidate& candidate : candidates) {
    const Placement& placement = candidate.placement;
    if (placement.nodes.size() != nodes || placement.shards.empty() == sharded ||
        !candidate.replicas.empty())
      continue;
    if (best == nullptr || Better(search, placement, best->placement)) best = &candidate;
  }
  return best;
}

double ValueOf(const Search& search, const wire::PlanRival& rival) {
  return ValueOf(search, Prediction{.decode_tokens_per_second = rival.decode_tokens_per_second,
                                    .ttft_ms = rival.ttft_ms,
                                    .total_tokens_per_second = rival.total_tokens_per_second});
}

// Whether the whole model on several nodes is better than what was chosen so far. Over as many
// nodes it need not be faster: nothing that it is predicted by is a network.
bool AreReplicasWorth(const Search& search, const Candidate& replicas, const Candidate& chosen) {
  const size_t count = 1 + replicas.replicas.size();
  const double more = count > chosen.placement.nodes.size() ? kWorthReplica : 1 / kWorthMoreNodes;
  return ValueOf(search, replicas.rival) >= more * ValueOf(search, chosen.rival);
}

// Of those divided by layers, or inside of them; fewer nodes first: more must be worth it.
void ChooseAmong(const Search& search, std::vector<Candidate>& candidates, bool sharded,
                 Candidate*& chosen) {
  const auto value = [&](const Candidate& c) { return ValueOf(search, c.rival); };
  for (size_t count = 1; count <= search.nodes.size(); ++count) {
    Candidate* best = BestOf(search, candidates, count, sharded);
    if (best == nullptr) continue;
    const bool first_split = sharded && chosen != nullptr && chosen->placement.shards.empty();
    const double worth = first_split ? kWorthSplitting : kWorthMoreNodes;
    if (chosen == nullptr || value(*best) > worth * value(*chosen)) chosen = best;
  }
}

// Null: nothing fits.
Candidate* Choose(const Search& search, std::vector<Candidate>& candidates) {
  Candidate* chosen = nullptr;
  ChooseAmong(search, candidates, /*sharded=*/false, chosen);
  for (Candidate& candidate : candidates) {
    if (!candidate.replicas.empty() && chosen != nullptr &&
        AreReplicasWorth(search, candidate, *chosen))
      chosen = &candidate;
  }
  // Last, since a split must gain most on whatever else there is.
  ChooseAmong(search, candidates, /*sharded=*/true, chosen);
  if (chosen == nullptr) return nullptr;
  for (Candidate& candidate : candidates) {
    if (ValueOf(search, candidate.rival) > ValueOf(search, chosen->rival))
      candidate.rival.fate = wire::RivalFate::kTooLittleGain;
  }
  chosen->rival.fate = wire::RivalFate::kChosen;
  return chosen;
}

enum class Kind : uint8_t { kAlone, kLayers, kGroup, kHybrid, kReplicas };
constexpr size_t kKinds = 5;
static_assert(kKinds * kMostRivals <= wire::kMaxRivals);
Kind KindOf(const wire::PlanRival& rival) {
  if (rival.split == wire::Split::kTensor) return Kind::kGroup;
  if (rival.split == wire::Split::kHybrid) return Kind::kHybrid;
  if (rival.split == wire::Split::kLayer) return Kind::kLayers;
  return rival.nodes.size() == 1 ? Kind::kAlone : Kind::kReplicas;
}

}  // namespace

wire::PlanRival RivalOf(const Search& search, const Placement& placement, wire::RivalFate fate) {
  wire::PlanRival rival{.fate = fate, .use = search.use};
  for (const size_t node : placement.nodes) rival.nodes.push_back(search.nodes[node].id);
  rival.split = placement.split();
  if (rival.split == wire::Split::kHybrid) rival.groups = placement.groups();
  rival.decode_tokens_per_second = placement.prediction.decode_tokens_per_second;
  rival.total_tokens_per_second = placement.prediction.total_tokens_per_second;
  rival.ttft_ms = placement.prediction.ttft_ms;
  return rival;
}

Comparison Compare(const Search& search, uint64_t pages) {
  std::vector<Candidate> candidates;
  AddAlone(search, pages, candidates);
  AddPipelines(search, pages, candidates);
  AddGroups(search, pages, candidates);
  AddHybrids(search, pages, candidates);
  AddReplicas(search, candidates);
  Comparison result;
  if (const Candidate* chosen = Choose(search, candidates)) {
    result.best = chosen->placement;
    result.replicas = chosen->replicas;
    result.value = ValueOf(search, chosen->rival);
  }
  std::vector<size_t> order(candidates.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {}, [&](size_t i) {
    const wire::PlanRival& rival = candidates[i].rival;
    return std::tuple(rival.fate != wire::RivalFate::kChosen, -ValueOf(search, rival), i);
  });
  std::array<size_t, kKinds> told{};
  for (const size_t i : order) {
    const wire::PlanRival& rival = candidates[i].rival;
    if (++told[static_cast<size_t>(KindOf(rival))] <= kMostRivals) result.rivals.push_back(rival);
  }
  return result;
}

}  // namespace exo::cluster
