#include "cluster/hybrids.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>

#include "cluster/candidates.h"
#include "cluster/partition.h"
#include "cluster/pipelines.h"
#include "cluster/tensor_split.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

// Until the slowest group is as fast as it can be.
constexpr int kBalanceSteps = 24;
constexpr double kBalanceStep = 0.93;

// Nodes of the search that are one stage: a node, or shards with their parts, the one that would
// lead first.
struct Stage {
  std::vector<size_t> nodes;
  std::vector<wire::ShardPlan> parts;  // none of a single node
};

// A pipeline of stages of nodes.
struct Contracted {
  PipelineProblem problem;
  std::vector<Stage> stages;  // what each of problem.nodes is
};

// Groups and nodes are compared by one token's times, whatever the plan is for.
Search ForOneToken(const Search& search) {
  Search one = search;
  one.use = wire::Use::kLatency;
  one.users = 1;
  return one;
}

class Contraction {
 public:
  Contraction(const Search& search, uint64_t pages)
      : search_(search),
        pages_(pages),
        problem_(ProblemOf(ForOneToken(search), pages)),
        known_(KnownSpeeds(search.nodes)) {}

  const PipelineProblem& problem() const { return problem_; }

  // The group as a node. Nothing: it cannot be cut so, or a part does not fit.
  struct Group {
    Stage stage;
    PipelineNode node;
  };
  std::optional<Group> GroupOf(const std::vector<size_t>& members) const {
    std::optional<Group> best;
    for (size_t lead = 0; lead < members.size(); ++lead) {
      std::vector<size_t> order = members;
      std::rotate(order.begin(), order.begin() + static_cast<ptrdiff_t>(lead),
                  order.begin() + static_cast<ptrdiff_t>(lead) + 1);
      auto group = Ordered(order);
      if (!group) return std::nullopt;
      if (!best || Room(group->node) > Room(best->node)) best = std::move(group);
    }
    if (best->node.memory <= best->node.stage_bytes) return std::nullopt;
    SetTimes(*best);
    return best;
  }

  // These groups, and every other node alone.
  Contracted With(const std::vector<Group>& groups) const {
    Contracted contracted{.problem = {.layer_bytes = problem_.layer_bytes}};
    std::vector<bool> taken(search_.nodes.size());
    for (const Group& group : groups) {
      for (const size_t node : group.stage.nodes) taken[node] = true;
      contracted.problem.nodes.push_back(group.node);
      contracted.stages.push_back(group.stage);
    }
    for (size_t i = 0; i < taken.size(); ++i) {
      if (taken[i]) continue;
      contracted.problem.nodes.push_back(problem_.nodes[i]);
      contracted.stages.push_back({.nodes = {i}});
    }
    for (const Stage& from : contracted.stages) {
      std::vector<double>& hops = contracted.problem.hop_ms.emplace_back();
      for (const Stage& to : contracted.stages) hops.push_back(HopOf(from, to));
    }
    return contracted;
  }

  // Invalid: a part does not fit after all, or there are more nodes than a plan may have.
  Placement PlacementOf(const Contracted& contracted, const Pipeline& pipeline) const {
    Placement placement{.pages = pages_};
    for (size_t s = 0; s < pipeline.nodes.size(); ++s) {
      const Stage& stage = contracted.stages[pipeline.nodes[s]];
      for (size_t i = 0; i < stage.nodes.size(); ++i) {
        placement.nodes.push_back(stage.nodes[i]);
        placement.ends.push_back(pipeline.ends[s]);
        std::optional<wire::ShardPlan>& shard = placement.shards.emplace_back();
        if (!stage.parts.empty()) shard = stage.parts[i];
        if (shard && s > 0) shard->vocab_begin = shard->vocab_end = 0;
      }
    }
    if (placement.nodes.size() > wire::kMaxStages) return {};
    const wire::Plan plan = BuildPlan(search_, placement);
    for (size_t i = 0; i < plan.stages.size(); ++i) {
      if (plan.stages[i].bytes > search_.nodes[placement.nodes[i]].memory_available) return {};
    }
    placement.prediction = Predict(search_.shape, search_.nodes, plan, search_.users, search_.use);
    return placement;
  }

 private:
  // Bytes of whole layers, at the lead.
  static double Room(const PipelineNode& node) {
    return static_cast<double>(node.memory) - static_cast<double>(node.stage_bytes) -
           static_cast<double>(node.lead_bytes);
  }

  // With its parts and memory, the first of `order` at the lead.
  std::optional<Group> Ordered(const std::vector<size_t>& order) const {
    std::vector<PlanNode> nodes;
    for (const size_t node : order) nodes.push_back(search_.nodes[node]);
    Group group{.stage = {order, DivideLayers(search_.shape, nodes)}};
    if (group.stage.parts.empty() || !SetMemory(group.stage, group.node)) return std::nullopt;
    return group;
  }

  void SetTimes(Group& group) const {
    Shards shards{.parts = group.stage.parts};
    for (const size_t node : group.stage.nodes) {
      shards.nodes.push_back(&search_.nodes[node]);
      shards.speeds.push_back(known_[node]);
    }
    group.node.layer_ms = LayersMs(search_.shape, shards);
    group.node.visit_ms = kVisitMs;
    group.node.lead_ms = OutputMs(search_.shape, shards, 1, true) + AskMs(search_.shape, shards, 1);
  }

  // As one node's: its parts of a layer are as many bytes as the layer has, so that the member with
  // the least room for its part says how many layers there can be. False: a part has no bytes.
  bool SetMemory(const Stage& stage, PipelineNode& node) const {
    const KvPositions positions = search_.Positions(pages_);
    const auto whole = static_cast<double>(problem_.layer_bytes.back());
    // More than all layers is of no use, and may be more than an integer holds.
    double inner = 2 * whole, lead = inner;
    for (size_t i = 0; i < stage.nodes.size(); ++i) {
      const auto bytes = [&](uint32_t layers, bool at_lead, bool output) {
        StageShare share{.layer_end = layers, .lead = at_lead, .shard = stage.parts[i]};
        if (!output) share.shard->vocab_begin = share.shard->vocab_end = 0;
        return static_cast<double>(
            StageMemory(search_.shape, share, positions, search_.options.kv_type));
      };
      const double fixed = bytes(0, false, false);
      const double part = (bytes(search_.shape.layers(), false, false) - fixed) / whole;
      if (!(part > 0)) return false;
      const auto room = [&](double beside) {
        const auto memory = static_cast<double>(search_.nodes[stage.nodes[i]].memory_available);
        return std::max(0.0, memory - beside) / part;
      };
      inner = std::min(inner, room(fixed));
      lead = std::min(lead, room(bytes(0, i == 0, true)));
    }
    node.memory = static_cast<uint64_t>(inner);
    node.lead_bytes = static_cast<uint64_t>(std::ceil(inner - lead));
    return true;
  }

  // The slowest of all ways (wire::RowsTo).
  double HopOf(const Stage& from, const Stage& to) const {
    double slowest = 0;
    for (size_t i = 0; i < to.nodes.size(); ++i)
      slowest = std::max(slowest, problem_.hop_ms[from.nodes[i % from.nodes.size()]][to.nodes[i]]);
    return slowest;
  }

  const Search& search_;
  const uint64_t pages_;
  const PipelineProblem problem_;
  const std::vector<Speeds> known_;
};

using Group = Contraction::Group;

double LayersMs(const PipelineNode& node) {
  return node.layer_ms.back();
}

// A group that is slower than its fastest node is of no use. One that can hold all layers is faster
// alone than beside slower nodes.
bool IsUseful(const PipelineProblem& problem, const Group& group) {
  const auto outside = [&](size_t node) { return !std::ranges::count(group.stage.nodes, node); };
  bool any_faster = false;
  for (size_t i = 0; i < problem.nodes.size(); ++i) {
    const bool slower = LayersMs(problem.nodes[i]) >= LayersMs(group.node);
    if (!outside(i) && !slower) return false;
    any_faster |= outside(i) && !slower;
  }
  const bool holds_all = group.node.memory >= group.node.lead_bytes + problem.layer_bytes.back();
  return any_faster || !holds_all;
}

// False: no group of these is useful, which can be seen before they are divided. Each can hold the
// model, and the others are slower than these would be if nothing had to be exchanged.
bool MayBeUseful(const PipelineProblem& problem, const std::vector<size_t>& set) {
  double speed = 0;
  for (const size_t i : set) {
    const PipelineNode& node = problem.nodes[i];
    if (node.memory < node.stage_bytes + node.lead_bytes + problem.layer_bytes.back()) return true;
    speed += 1 / LayersMs(node);
  }
  for (size_t i = 0; i < problem.nodes.size(); ++i) {
    if (!std::ranges::count(set, i) && LayersMs(problem.nodes[i]) * speed < 1) return true;
  }
  return false;
}

// No pipeline of the group and single nodes needs less: as much of the model as it holds in the
// group, or none, and the rest on the fastest node beside it.
double LeastMs(const PipelineProblem& problem, const Group& group) {
  double beside = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < problem.nodes.size(); ++i) {
    if (!std::ranges::count(group.stage.nodes, i))
      beside = std::min(beside, LayersMs(problem.nodes[i]));
  }
  const double part = std::min(1.0, static_cast<double>(group.node.memory) /
                                        static_cast<double>(problem.layer_bytes.back()));
  return std::min(part * LayersMs(group.node) + (1 - part) * beside, beside) + 2 * kVisitMs;
}

std::vector<Group> GroupsFor(const Search& search, const Contraction& contraction,
                             bool useful_only) {
  const std::vector<size_t> members = FastestMembers(search);
  std::vector<Group> groups;
  for (size_t count = 2; count <= members.size() && count < search.nodes.size(); ++count) {
    if (members.size() > kExactNodes && !std::has_single_bit(count)) continue;
    for (const std::vector<size_t>& set : SetsOf(members, count)) {
      if (useful_only && !MayBeUseful(contraction.problem(), set)) continue;
      if (auto group = contraction.GroupOf(set)) groups.push_back(std::move(*group));
    }
  }
  if (useful_only) {
    std::erase_if(groups,
                  [&](const Group& group) { return !IsUseful(contraction.problem(), group); });
  }
  return groups;
}

// Whether the first `groups` of the problem's nodes are among its stages, and others too.
bool JoinsGroups(const Pipeline& pipeline, size_t groups) {
  const auto is_group = [&](size_t node) { return node < groups; };
  return pipeline.nodes.size() > 1 &&
         std::ranges::count_if(pipeline.nodes, is_group) == static_cast<ptrdiff_t>(groups);
}

double LongestStageMs(const PipelineProblem& problem, const Pipeline& pipeline) {
  double longest = 0;
  for (size_t s = 0; s < pipeline.nodes.size(); ++s) {
    const PipelineNode& node = problem.nodes[pipeline.nodes[s]];
    const uint32_t begin = s == 0 ? 0 : pipeline.ends[s - 1];
    const double ms = node.visit_ms + (s == 0 ? node.lead_ms : 0) +
                      node.layer_ms[pipeline.ends[s]] - node.layer_ms[begin];
    longest = std::max(longest, ms / node.duty);
  }
  return longest;
}

// The same stages with the longest one ever shorter, until they cannot be.
Placement Balanced(const Contraction& contraction, const Group& group, size_t stages) {
  Contracted contracted = contraction.With({group});
  Placement balanced;
  for (int i = 0; i < kBalanceSteps; ++i) {
    const std::vector<Pipeline> pipelines = FastestPipelines(contracted.problem);
    const Pipeline& pipeline = pipelines[stages - 1];
    if (!JoinsGroups(pipeline, 1)) break;
    Placement placement = contraction.PlacementOf(contracted, pipeline);
    if (placement.valid()) balanced = std::move(placement);
    contracted.problem.longest_stage_ms =
        kBalanceStep * LongestStageMs(contracted.problem, pipeline);
  }
  return balanced;
}

Placement SpreadWith(const Search& search, uint64_t pages) {
  const Contraction contraction(search, pages);
  Placement best;
  const std::vector<Group> groups = GroupsFor(search, contraction, /*useful_only=*/false);
  const Group* chosen = nullptr;
  size_t stages = 0;
  for (const Group& group : groups) {
    const Contracted contracted = contraction.With({group});
    for (const Pipeline& pipeline : FastestPipelines(contracted.problem)) {
      if (!JoinsGroups(pipeline, 1)) continue;
      Placement placement = contraction.PlacementOf(contracted, pipeline);
      const size_t nodes = placement.nodes.size();
      if (nodes < best.nodes.size() ||
          (nodes == best.nodes.size() && !Better(search, placement, best)))
        continue;
      best = std::move(placement);
      chosen = &group;
      stages = pipeline.nodes.size();
    }
  }
  return chosen == nullptr ? best : Balanced(contraction, *chosen, stages);
}

}  // namespace

std::vector<Placement> FastestHybrids(const Search& search, uint64_t pages) {
  std::vector<Placement> best(search.nodes.size());
  if (search.nodes.size() < 3) return best;
  const Contraction contraction(search, pages);
  std::vector<Group> groups = GroupsFor(search, contraction, /*useful_only=*/true);
  const PipelineProblem& problem = contraction.problem();
  std::ranges::sort(groups, {}, [&](const Group& group) { return LeastMs(problem, group); });
  Placement fastest;
  // Whether the fastest of all is one with these groups now.
  const auto try_with = [&](const std::vector<Group>& some) {
    const Contracted contracted = contraction.With(some);
    bool better = false;
    for (const Pipeline& pipeline : FastestPipelines(contracted.problem)) {
      if (!JoinsGroups(pipeline, some.size())) continue;
      Placement placement = contraction.PlacementOf(contracted, pipeline);
      if (!placement.valid()) continue;
      if (Better(search, placement, fastest)) {
        fastest = placement;
        better = true;
      }
      Placement& known = best[placement.nodes.size() - 1];
      if (Better(search, placement, known)) known = std::move(placement);
    }
    return better;
  };
  const auto is_hopeless = [&](const Group& group) {
    return fastest.valid() &&
           LeastMs(problem, group) * fastest.prediction.decode_tokens_per_second >
               1000 * kWorthMoreNodes;
  };
  const Group* first = nullptr;
  for (const Group& group : groups) {
    if (!is_hopeless(group) && try_with({group})) first = &group;
  }
  if (first == nullptr) return best;
  const std::vector<size_t>& taken = first->stage.nodes;
  for (const Group& second : groups) {
    if (!is_hopeless(second) &&
        std::ranges::find_first_of(second.stage.nodes, taken) == second.stage.nodes.end())
      try_with({*first, second});
  }
  return best;
}

Placement SpreadHybrid(const Search& search) {
  for (const uint64_t pages : search.page_choices) {
    Placement placement = SpreadWith(search, pages);
    if (placement.valid()) return placement;
  }
  return {};
}

}  // namespace exo::cluster
