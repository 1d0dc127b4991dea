#include "cluster/placement.h"

#include <algorithm>
#include <cmath>

#include "cluster/partition.h"
#include "cluster/tensor_split.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

// Moves a member to the end, behind all guests. False: the stages cannot be so that guests are in
// the middle.
bool PutGuestsInside(const Search& search, std::vector<size_t>& order) {
  const auto is_guest = [&](size_t node) { return search.nodes[node].guest; };
  if (is_guest(order.front())) return false;
  if (!is_guest(order.back())) return true;
  const auto member = std::find_if_not(order.rbegin(), order.rend() - 1, is_guest);
  if (member == order.rend() - 1) return false;
  std::rotate(member.base() - 1, member.base(), order.end());
  return true;
}

}  // namespace

StageShare Placement::ShareOf(size_t stage) const {
  StageShare share{.layer_end = ends[stage], .lead = stage == 0};
  if (!shards.empty()) share.shard = shards[stage];
  if (!streamed.empty()) share.streamed = streamed[stage];
  size_t first = stage;  // of its group
  while (first > 0 && share.shard && shards[first - 1] && ends[first - 1] == ends[stage]) --first;
  share.layer_begin = first == 0 ? 0 : ends[first - 1];
  return share;
}

std::vector<uint32_t> Placement::groups() const {
  std::vector<uint32_t> groups;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const bool joins =
        i > 0 && !shards.empty() && shards[i] && shards[i - 1] && ends[i] == ends[i - 1];
    if (!joins) groups.push_back(0);
    ++groups.back();
  }
  return groups;
}

wire::Split Placement::split() const {
  if (nodes.size() < 2) return wire::Split::kAuto;
  if (shards.empty()) return wire::Split::kLayer;
  return groups().size() > 1 ? wire::Split::kHybrid : wire::Split::kTensor;
}

Placement PlaceOn(const Search& search, const std::vector<size_t>& set, uint64_t pages,
                  const CutLayers& cut) {
  Placement best;
  for (size_t lead = 0; lead < set.size(); ++lead) {
    Placement candidate{.nodes = {set[lead]}, .pages = pages};
    for (size_t i = 0; i < set.size(); ++i) {
      if (i != lead) candidate.nodes.push_back(set[i]);
    }
    if (!PutGuestsInside(search, candidate.nodes) || !cut(candidate)) continue;
    candidate.prediction =
        Predict(search.shape, search.nodes, BuildPlan(search, candidate), search.users, search.use);
    if (Better(search, candidate, best)) best = std::move(candidate);
  }
  return best;
}

wire::Plan BuildPlan(const Search& search, const Placement& placement) {
  wire::Plan plan{.model = search.shape.id,
                  .model_name = search.shape.name,
                  .owner = search.options.owner,
                  .term = search.options.term,
                  .nonce = search.options.nonce,
                  .layers = search.shape.layers(),
                  .context = search.context,
                  .kv_pages = static_cast<uint32_t>(placement.pages),
                  .chunk = search.options.chunk,
                  .kv_type = search.options.kv_type,
                  .adapters = search.options.adapters,
                  .draft = search.options.draft,
                  .codec = search.options.codec};
  for (size_t i = 0; i < placement.nodes.size(); ++i) {
    const StageShare share = placement.ShareOf(i);
    plan.stages.push_back(
        {.node = search.nodes[placement.nodes[i]].id,
         .layer_begin = share.layer_begin,
         .layer_end = share.layer_end,
         .bytes = StageMemory(search.shape, share, search.Positions(placement.pages),
                              search.options.kv_type),
         .shard = share.shard,
         .streamed = share.streamed});
  }
  plan.id = ComputePlanId(plan);
  return plan;
}

double ValueOf(const Search& search, const Prediction& prediction) {
  switch (search.use) {
    case wire::Use::kThroughput:
      return prediction.total_tokens_per_second;
    case wire::Use::kPrompts:
      return prediction.ttft_ms > 0 ? 1000 / prediction.ttft_ms : 0;
    default:
      return prediction.decode_tokens_per_second;
  }
}

bool Better(const Search& search, const Placement& a, const Placement& b) {
  if (!b.valid()) return a.valid();
  const double speed_a = ValueOf(search, a.prediction);
  const double speed_b = ValueOf(search, b.prediction);
  if (std::abs(speed_a - speed_b) > 1e-9 * std::max(speed_a, speed_b)) return speed_a > speed_b;
  const NodeId& head_a = search.nodes[a.nodes[0]].id;
  const NodeId& head_b = search.nodes[b.nodes[0]].id;
  if (head_a == head_b) return false;
  if (head_a == search.options.prefer) return true;
  if (head_b == search.options.prefer) return false;
  return head_a < head_b;
}

Placement PlaceAlone(const Search& search, size_t node, uint64_t pages) {
  Placement alone{.nodes = {node}, .ends = {search.shape.layers()}, .pages = pages};
  const wire::Plan plan = BuildPlan(search, alone);
  if (plan.stages[0].bytes > search.nodes[node].memory_available) return {};
  alone.prediction = Predict(search.shape, search.nodes, plan, search.users, search.use);
  return alone;
}

Placement Spread(const Search& search) {
  const auto members = std::ranges::count(search.nodes, false, &PlanNode::guest);
  std::vector<size_t> set;
  for (size_t i = 0; i < search.nodes.size(); ++i) {
    if (members > 1 || !search.nodes[i].guest) set.push_back(i);
  }
  std::ranges::sort(set, [&](size_t a, size_t b) {
    const uint64_t bytes_a = search.nodes[a].memory_available;
    const uint64_t bytes_b = search.nodes[b].memory_available;
    return bytes_a != bytes_b ? bytes_a > bytes_b : a < b;
  });
  const size_t most = std::min<size_t>({set.size(), search.shape.layers(), wire::kMaxStages});
  for (set.resize(most); !set.empty(); set.pop_back()) {
    for (const uint64_t pages : search.page_choices) {
      Placement placement = PlaceOn(search, set, pages, [&](Placement& candidate) {
        std::vector<PlanNode> order;
        for (const size_t node : candidate.nodes) order.push_back(search.nodes[node]);
        candidate.ends =
            Partition(search.shape, order, search.Positions(pages), search.options.kv_type);
        return !candidate.ends.empty();
      });
      if (placement.valid()) return placement;
    }
  }
  return {};
}

Placement PlaceShards(const Search& search, const std::vector<size_t>& set, uint64_t pages,
                      const PlanNode** short_of) {
  Placement best;
  for (size_t lead = 0; lead < set.size(); ++lead) {
    Placement candidate{.nodes = {set[lead]}, .pages = pages};
    for (size_t i = 0; i < set.size(); ++i) {
      if (i != lead) candidate.nodes.push_back(set[i]);
    }
    std::vector<PlanNode> order;
    for (const size_t node : candidate.nodes) order.push_back(search.nodes[node]);
    const std::vector<wire::ShardPlan> shards = DivideLayers(search.shape, order);
    if (shards.empty()) return {};
    candidate.shards.assign(shards.begin(), shards.end());
    candidate.ends.assign(set.size(), search.shape.layers());
    const wire::Plan plan = BuildPlan(search, candidate);
    bool fits = true;
    for (size_t i = 0; i < set.size(); ++i) {
      if (plan.stages[i].bytes <= order[i].memory_available) continue;
      fits = false;
      if (short_of != nullptr) *short_of = &search.nodes[candidate.nodes[i]];
    }
    if (!fits) continue;
    candidate.prediction = Predict(search.shape, search.nodes, plan, search.users, search.use);
    if (Better(search, candidate, best)) best = std::move(candidate);
  }
  return best;
}

std::vector<size_t> FastestMembers(const Search& search) {
  std::vector<size_t> set;
  for (size_t i = 0; i < search.nodes.size(); ++i) {
    if (!search.nodes[i].guest) set.push_back(i);
  }
  std::ranges::sort(set, [&](size_t a, size_t b) {
    const double speed_a = search.nodes[a].decode_gbps, speed_b = search.nodes[b].decode_gbps;
    return speed_a != speed_b ? speed_a > speed_b : a < b;
  });
  set.resize(std::min<size_t>(set.size(), wire::kMaxStages));
  return set;
}

Placement SplitLayers(const Search& search) {
  for (std::vector<size_t> set = FastestMembers(search); set.size() > 1; set.pop_back()) {
    for (const uint64_t pages : search.page_choices) {
      Placement placement = PlaceShards(search, set, pages);
      if (placement.valid()) return placement;
    }
  }
  return {};
}

}  // namespace exo::cluster
