#include "node/plan_view.h"

#include <algorithm>

#include "cluster/partition.h"
#include "wire/plan.h"

namespace exo::node {
namespace {

PlanHop HopBetween(const std::vector<cluster::PlanNode>& nodes, const NodeId& from,
                   const NodeId& to) {
  const cluster::PlanNode& a = cluster::NodeOf(nodes, from);
  const cluster::PlanNode& b = cluster::NodeOf(nodes, to);
  return {from, to, cluster::RttMs(a, b), cluster::Mbps(a, b)};
}

// Between neighbors and back to the lead, or between all shards; each pair once.
std::vector<PlanHop> HopsOf(const wire::Plan& plan, const std::vector<cluster::PlanNode>& nodes) {
  std::vector<PlanHop> hops;
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    for (const size_t to : wire::ConnectsTo(plan, s))
      hops.push_back(HopBetween(nodes, plan.stages[s].node, plan.stages[to].node));
  }
  return hops;
}

}  // namespace

PlanView MakePlanView(const wire::Plan& plan, const wire::Expectation& expected,
                      std::vector<wire::PlanRival> rivals,
                      const std::vector<cluster::PlanNode>& nodes, const cluster::NameOf& name_of) {
  PlanView view{.plan = plan,
                .expected = expected,
                .reason = cluster::DescribePlacement(plan, expected, name_of),
                .hops = HopsOf(plan, nodes),
                .rivals = std::move(rivals),
                .explanation = {}};
  for (const wire::StagePlan& stage : plan.stages) view.node_names.push_back(name_of(stage.node));
  for (const cluster::PlanNode& node : nodes) {
    view.devices.push_back({.id = node.id,
                            .name = node.name,
                            .memory_available = node.memory_available,
                            .memory_budget = node.memory_budget,
                            .decode_gbps = node.decode_gbps,
                            .prefill_gops = node.prefill_gops,
                            .guest = node.guest});
  }
  view.explanation = cluster::DescribeRivals(view.rivals, name_of);
  return view;
}

void MarkRunning(PlanView& view, const wire::Plan& running, const cluster::NameOf& name_of) {
  wire::PlanRival itself{.split = IsSharded(running) ? wire::Split::kTensor : wire::Split::kLayer};
  for (const wire::StagePlan& stage : running.stages) itself.nodes.push_back(stage.node);
  const auto is_itself = [&](const wire::PlanRival& rival) {
    return rival.nodes == itself.nodes && rival.fate != wire::RivalFate::kNotRun &&
           (itself.nodes.size() == 1 || rival.split == itself.split);
  };
  const auto found = std::ranges::find_if(view.rivals, is_itself);
  if (found != view.rivals.end()) {
    view.explanation[static_cast<size_t>(found - view.rivals.begin())] += "; running now";
    return;
  }
  std::string names;
  for (const NodeId& node : itself.nodes) names += (names.empty() ? "" : " + ") + name_of(node);
  view.explanation.push_back(names + ": running now");
}

}  // namespace exo::node
