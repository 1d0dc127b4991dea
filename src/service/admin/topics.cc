#include "service/admin/topics.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "service/admin/pull.h"
#include "service/admin/render.h"
#include "sys/system.h"

namespace exo::service::admin {
namespace {

constexpr std::chrono::milliseconds kClusterPace{500}, kTelemetryPace{1000}, kPullsPace{250};

// Figures that are never the same twice are no news of the cluster: `telemetry` has them.
LiveState ClusterState(const node::Api& api) {
  const Json cluster = ClusterJson(api.Cluster());
  Json lasting = cluster;
  for (const char* field : {"sequence", "sent"}) lasting.erase(field);
  for (Json& link : lasting["links"]) link.erase("rtt_ms");
  for (Json& node : lasting["nodes"]) {
    node.erase("rtt_ms");
    for (const char* field : {"other_load", "text"}) node["health"].erase(field);
    for (Json& device : node["devices"]) device.erase("load");
  }
  return {.data = Dump(cluster), .key = Dump(lasting)};
}

// What is not known is left out.
Json DeviceFigures(const node::NodeView& node) {
  const wire::DeviceRecord device = wire::TotalOf(node.record);
  const wire::HealthRecord& health = node.record.health;
  Json json = {{"id", node.record.id.Hex()},
               {"memory_total", device.memory_total},
               {"memory_exo", device.memory_reserved},
               {"busy", device.load},
               {"load", health.other_load},
               {"share", 1 - 0.01 * health.withheld}};
  if (health.power != wire::PowerSource::kUnknown)
    json["power"] = health.power == wire::PowerSource::kMains ? "mains" : "battery";
  if (health.charge) json["charge"] = 0.01 * *health.charge;
  if (health.heat != wire::Heat::kUnknown) json["throttled"] = health.heat == wire::Heat::kHot;
  if (health.celsius) json["temperature_c"] = *health.celsius;
  if (health.memory_used) json["memory_used"] = *health.memory_used;
  return json;
}

bool IsHere(const node::NodeView& node) {
  return node.state == "self" || node.state == "alive" || node.state == "suspect";
}

// Counts that grow, and how fast since the last look; 0 of one that is new.
template <class Key>
class Rates {
 public:
  void Begin(Time now) {
    seconds_ = std::chrono::duration<double>(now - std::exchange(read_at_, now)).count();
    before_ = std::exchange(counts_, {});
  }
  double Of(const Key& key, uint64_t count) {
    counts_[key] = count;
    const auto before = before_.find(key);
    if (before == before_.end() || count < before->second || !(seconds_ > 0)) return 0;
    return static_cast<double>(count - before->second) / seconds_;
  }

 private:
  Time read_at_{};
  double seconds_ = 0;
  std::map<Key, uint64_t> counts_, before_;
};

// Speeds are of what came since the last look.
class Telemetry {
 public:
  explicit Telemetry(const node::Api& api) : api_(api) {}

  LiveState Read() {
    const node::ClusterView cluster = api_.Cluster();
    Json devices = Json::array(), links = Json::array(), instances = Json::array();
    const Time now = sys::Now();
    tokens_.Begin(now);
    bytes_.Begin(now);
    std::map<NodeId, uint64_t> carried;
    for (const node::LinkMetrics& link : api_.Metrics().links)
      carried[link.id] = link.sent_bytes + link.received_bytes;
    for (const node::NodeView& node : cluster.nodes) {
      if (!IsHere(node)) continue;
      devices.push_back(DeviceFigures(node));
      if (node.record.id == cluster.self) continue;
      links.push_back({{"from", cluster.self.Hex()},
                       {"to", node.record.id.Hex()},
                       {"rtt_ms", node.rtt_ms},
                       {"bytes_per_second", bytes_.Of(node.record.id, carried[node.record.id])}});
    }
    for (const node::InstanceView& instance : cluster.instances) {
      const PlanId& plan = instance.summary.plan.id;
      instances.push_back(
          {{"plan", plan.Hex()},
           {"tokens_per_second", tokens_.Of(plan, instance.generated_tokens)},
           {"requests", instance.summary.active_requests + instance.summary.queued_requests}});
    }
    return {Dump({{"time", sys::WallClockSeconds() * 1000},
                  {"devices", std::move(devices)},
                  {"links", std::move(links)},
                  {"instances", std::move(instances)}})};
  }

 private:
  const node::Api& api_;
  Rates<PlanId> tokens_;
  Rates<NodeId> bytes_;  // of links, both ways
};

LiveState PullsState(const node::Api& api) {
  Json list = Json::array();
  for (const node::PullView& pull : api.PullList()) {
    Json json = ProgressJson(pull.progress);
    json["model"] = pull.model;
    if (!pull.error.empty()) json["error"] = pull.error;
    list.push_back(std::move(json));
  }
  return {Dump(list)};
}

}  // namespace

std::vector<Topic> ClusterTopics(node::Api& api) {
  return {{"cluster", kClusterPace, [&api] { return ClusterState(api); }},
          {"telemetry", kTelemetryPace,
           [telemetry = std::make_shared<Telemetry>(api)] { return telemetry->Read(); }},
          {"pulls", kPullsPace, [&api] { return PullsState(api); }}};
}

}  // namespace exo::service::admin
