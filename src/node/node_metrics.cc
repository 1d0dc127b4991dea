// Figures of the node for monitoring.
#include <set>

#include "node/node_impl.h"
#include "sys/standard_streams.h"

namespace exo::node {

NodeMetrics NodeImpl::Metrics() const {
  NodeMetrics metrics = requests_->Metrics();
  metrics.loop = loop_.Turns();
  metrics.log_lines_lost = sys::LostLogLines();
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    metrics.nodes_alive += status.self || status.state == cluster::PeerState::kAlive;
    if (!status.self) continue;
    const wire::DeviceRecord device = wire::TotalOf(status.record);
    metrics.memory_budget = device.memory_budget;
    metrics.memory_reserved = device.memory_reserved;
  }
  if (prefixes_ != nullptr) {
    const store::PrefixStoreStats stats = prefixes_->stats();
    metrics.prefix_store_bytes = stats.bytes;
    metrics.prefix_pages_written = stats.pages;
    metrics.prefix_pages_dropped = stats.dropped;
    metrics.prefix_pages_loaded = stats.loads;
    metrics.prefix_pages_missed = stats.misses;
    metrics.prefix_restored_tokens = stats.restored_tokens;
  }
  metrics.wire_rows = sent_rows_.rows;
  metrics.wire_bytes = sent_rows_.bytes;
  metrics.led_steps = led_steps_.steps;
  metrics.led_requests = led_steps_.requests;
  metrics.moved_tokens = led_steps_.moved_tokens;
  metrics.recomputed_tokens = led_steps_.recomputed_tokens;
  AddDeviceMetrics(metrics);
  AddLeadMetrics(metrics);
  std::set<ModelId> models;
  for (const cluster::InstanceStatus& instance : core_->Instances()) {
    if (instance.summary.state != wire::InstanceState::kReady) continue;
    models.insert(instance.summary.plan.model);
    ++metrics.replicas_ready[instance.summary.plan.model_name];
  }
  metrics.instances_ready = models.size();
  return metrics;
}

void NodeImpl::AddDeviceMetrics(NodeMetrics& metrics) const {
  const auto traffic = traffic_.Bytes();
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    const wire::DeviceRecord device = wire::TotalOf(status.record);
    const wire::HealthRecord& health = status.record.health;
    const auto computed = requests_->stage_seconds().find(status.record.id);
    metrics.devices.push_back(
        {.id = status.record.id,
         .name = KnownNameOf(status.record),
         .alive = status.self || status.state == cluster::PeerState::kAlive,
         .memory_total = device.memory_total,
         .memory_budget = device.memory_budget,
         .memory_reserved = device.memory_reserved,
         .share = (wire::kAllWithheld - health.withheld) / double{wire::kAllWithheld},
         .health = health,
         .stage_seconds = computed == requests_->stage_seconds().end() ? 0 : computed->second});
    if (status.self) continue;
    const auto bytes = traffic.find(status.record.id);
    metrics.links.push_back(
        {.id = status.record.id,
         .name = KnownNameOf(status.record),
         .rtt_ms = status.rtt_ms,
         .sent_bytes = bytes == traffic.end() ? 0 : bytes->second.sent,
         .received_bytes = bytes == traffic.end() ? 0 : bytes->second.received});
  }
}

void NodeImpl::AddLeadMetrics(NodeMetrics& metrics) const {
  for (const auto& [id, runner] : runners_) {
    const wire::Plan* plan = core_->PlanOfReservation(id);
    if (plan == nullptr || plan->stages[0].node != identity_->id() || plan->kv_pages == 0) continue;
    metrics.kv_usage[plan->model_name] =
        static_cast<double>(runner->used_pages()) / static_cast<double>(plan->kv_pages);
  }
}

}  // namespace exo::node
