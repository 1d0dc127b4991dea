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
  return json;
}

bool IsHere(const node::NodeView& node) {
  return node.state == "self" || node.state == "alive" || node.state == "suspect";
}

// Speeds are of what was generated since the last look.
class Telemetry {
 public:
  explicit Telemetry(const node::Api& api) : api_(api) {}

  LiveState Read() {
    const node::ClusterView cluster = api_.Cluster();
    Json devices = Json::array(), links = Json::array(), instances = Json::array();
    for (const node::NodeView& node : cluster.nodes) {
      if (!IsHere(node)) continue;
      devices.push_back(DeviceFigures(node));
      if (node.record.id == cluster.self) continue;
      links.push_back(
          {{"from", cluster.self.Hex()}, {"to", node.record.id.Hex()}, {"rtt_ms", node.rtt_ms}});
    }
    const Time now = sys::Now();
    const double seconds =
        std::chrono::duration<double>(now - std::exchange(read_at_, now)).count();
    std::map<PlanId, uint64_t> generated;
    for (const node::InstanceView& instance : cluster.instances) {
      const PlanId& plan = instance.summary.plan.id;
      const uint64_t tokens = generated[plan] = instance.generated_tokens;
      const auto before = generated_.find(plan);
      const bool counts = before != generated_.end() && tokens >= before->second && seconds > 0;
      instances.push_back(
          {{"plan", plan.Hex()},
           {"tokens_per_second",
            counts ? static_cast<double>(tokens - before->second) / seconds : 0.0},
           {"requests", instance.summary.active_requests + instance.summary.queued_requests}});
    }
    generated_ = std::move(generated);
    return {Dump({{"time", sys::WallClockSeconds() * 1000},
                  {"devices", std::move(devices)},
                  {"links", std::move(links)},
                  {"instances", std::move(instances)}})};
  }

 private:
  const node::Api& api_;
  Time read_at_{};
  std::map<PlanId, uint64_t> generated_;  // at the last look
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
