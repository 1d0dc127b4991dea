#include "node/state_watch.h"

#include <utility>

namespace exo::node {

void StateWatch::Look(const std::vector<cluster::NodeStatus>& nodes,
                      const std::vector<cluster::InstanceStatus>& instances) {
  // What is not seen again is gone.
  auto old_peers = std::exchange(peers_, {});
  for (const cluster::NodeStatus& status : nodes) {
    if (status.self) continue;
    const NodeId& id = status.record.id;
    const Seen& now = peers_[id] = {id, status.record.name, cluster::PeerStateName(status.state)};
    const auto old = old_peers.extract(id);
    if (!old.empty() && old.mapped().state == now.state) continue;
    log_.Add({.kind = EventKind::kPeer,
              .node = id,
              .name = now.name,
              .state = now.state,
              .detail = status.detail});
  }
  for (const auto& [id, seen] : old_peers) {
    log_.Add({.kind = EventKind::kPeer, .node = id, .name = seen.name, .state = "forgotten"});
  }

  auto old_instances = std::exchange(instances_, {});
  for (const cluster::InstanceStatus& status : instances) {
    const wire::InstanceSummary& summary = status.summary;
    const wire::Plan& plan = summary.plan;
    const NodeId& owner = summary.owner.IsZero() ? plan.owner : summary.owner;
    const Seen& now =
        instances_[plan.id] = {owner, plan.model_name, cluster::InstanceStateName(summary.state)};
    const auto old = old_instances.extract(plan.id);
    if (!old.empty() && old.mapped().state == now.state) continue;
    log_.Add({.kind = EventKind::kInstance,
              .node = now.node,
              .id = plan.id.Hex(),
              .name = now.name,
              .state = now.state,
              .detail = summary.state >= wire::InstanceState::kDraining
                            ? cluster::Describe(summary.cause, &plan, name_of_)
                            : ""});
  }
  for (const auto& [id, seen] : old_instances) {
    if (seen.state == cluster::InstanceStateName(wire::InstanceState::kGone)) continue;
    log_.Add({.kind = EventKind::kInstance,
              .node = seen.node,
              .id = id.Hex(),
              .name = seen.name,
              .state = cluster::InstanceStateName(wire::InstanceState::kGone)});
  }
}

}  // namespace exo::node
