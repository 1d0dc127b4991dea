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
  return {.from = from,
          .to = to,
          .rtt_ms = cluster::RttMs(a, b),
          .rtt_p99_ms = cluster::RttP99Ms(a, b),
          .mbps = cluster::Mbps(a, b),
          .mbps_back = cluster::Mbps(b, a)};
}

// Between neighbors and back to the lead, and between all shards of a group; each pair once.
std::vector<PlanHop> HopsOf(const wire::Plan& plan, const std::vector<cluster::PlanNode>& nodes) {
  std::vector<PlanHop> hops;
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    for (const size_t to : wire::ConnectsTo(plan, s))
      hops.push_back(HopBetween(nodes, plan.stages[s].node, plan.stages[to].node));
  }
  return hops;
}

std::vector<std::string> NamesOf(const wire::Plan& plan, const cluster::NameOf& name_of) {
  std::vector<std::string> names;
  for (const wire::StagePlan& stage : plan.stages) names.push_back(name_of(stage.node));
  return names;
}

// What a plan that runs, or several side by side, are compared as.
wire::PlanRival RivalOf(const std::vector<wire::Plan>& plans) {
  wire::PlanRival rival;
  for (const wire::Plan& plan : plans) {
    for (const wire::StagePlan& stage : plan.stages) rival.nodes.push_back(stage.node);
  }
  if (plans.size() > 1) return rival;
  rival.split = wire::SplitOf(plans[0]);
  if (rival.split == wire::Split::kHybrid) {
    for (const wire::StageGroup& group : wire::GroupsOf(plans[0]))
      rival.groups.push_back(static_cast<uint32_t>(group.size()));
  }
  return rival;
}

// The same devices, divided in the same way; replicas have no order.
bool SamePlacement(const wire::PlanRival& a, const wire::PlanRival& b) {
  if (a.split != b.split || a.groups != b.groups) return false;
  return a.split == wire::Split::kAuto ? std::ranges::is_permutation(a.nodes, b.nodes)
                                       : a.nodes == b.nodes;
}

}  // namespace

PlanView MakePlanView(const std::vector<wire::PlannedReplica>& replicas,
                      std::vector<wire::PlanRival> rivals,
                      const std::vector<cluster::PlanNode>& nodes, const cluster::NameOf& name_of) {
  const wire::Plan& plan = replicas[0].plan;
  PlanView view{.plan = plan,
                .expected = cluster::ExpectationOf(replicas),
                .reason = cluster::DescribeReplicas(replicas, name_of),
                .node_names = NamesOf(plan, name_of),
                .hops = HopsOf(plan, nodes),
                .rivals = std::move(rivals),
                .explanation = {}};
  for (size_t i = 1; i < replicas.size(); ++i) {
    view.replicas.push_back({.plan = replicas[i].plan,
                             .expected = replicas[i].expected,
                             .node_names = NamesOf(replicas[i].plan, name_of),
                             .hops = HopsOf(replicas[i].plan, nodes)});
  }
  for (const cluster::PlanNode& node : nodes) {
    view.devices.push_back({.id = node.id,
                            .name = node.name,
                            .memory_available = node.memory_available,
                            .memory_budget = node.memory_budget,
                            .decode_gbps = node.decode_gbps,
                            .prefill_gops = node.prefill_gops,
                            .disk_gbps = node.disk_gbps,
                            .guest = node.guest});
  }
  view.explanation = cluster::DescribeRivals(view.rivals, name_of);
  return view;
}

void MarkRunning(PlanView& view, const std::vector<wire::Plan>& running,
                 const cluster::NameOf& name_of) {
  const wire::PlanRival itself = RivalOf(running);
  const auto found = std::ranges::find_if(
      view.rivals, [&](const wire::PlanRival& rival) { return SamePlacement(rival, itself); });
  if (found != view.rivals.end()) {
    view.explanation[static_cast<size_t>(found - view.rivals.begin())] += "; running now";
    return;
  }
  std::string names;
  for (const NodeId& node : itself.nodes) names += (names.empty() ? "" : " + ") + name_of(node);
  view.explanation.push_back(names + ": running now");
}

}  // namespace exo::node
