#include "service/admin/render.h"

#include <functional>
#include <map>
#include <utility>

#include "wire/plan.h"

namespace exo::service::admin {
namespace {

using Names = std::map<NodeId, std::string>;

std::string AddressText(const wire::Address& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", address.host, address.port)
            : fmt::format("{}:{}", address.host, address.port);
}

Json DeviceJson(const wire::DeviceRecord& device) {
  return {{"kind", device.kind == wire::DeviceKind::kCpu ? "cpu" : "gpu"},
          {"name", device.name},
          {"isa", device.isa},
          {"cores", device.cores},
          {"memory_total", device.memory_total},
          {"memory_budget", device.memory_budget},
          {"memory_reserved", device.memory_reserved},
          {"decode_gbps", device.decode_gbps},
          {"prefill_gops", device.prefill_gops},
          {"disk_gbps", device.disk_gbps},
          {"load", device.load}};
}

// What is not known is left out.
Json HealthJson(const wire::HealthRecord& health, const std::string& words) {
  Json json = {{"share", 1 - 0.01 * health.withheld},
               {"other_load", health.other_load},
               {"reasons", Json::array()},
               {"text", words}};
  if (health.power != wire::PowerSource::kUnknown)
    json["power"] = health.power == wire::PowerSource::kMains ? "mains" : "battery";
  if (health.charge) json["charge"] = *health.charge;
  if (health.heat != wire::Heat::kUnknown)
    json["heat"] = health.heat == wire::Heat::kHot ? "hot" : "cool";
  if (health.owner != wire::Presence::kUnknown)
    json["owner"] = health.owner == wire::Presence::kPresent ? "present" : "away";
  constexpr std::pair<uint32_t, const char*> kReasons[] = {{wire::kLowCharge, "charge"},
                                                           {wire::kOnBattery, "battery"},
                                                           {wire::kTooHot, "heat"},
                                                           {wire::kOwnerWorks, "owner"},
                                                           {wire::kOutsideHours, "hours"}};
  for (const auto& [reason, word] : kReasons) {
    if ((health.reasons & reason) != 0) json["reasons"].push_back(word);
  }
  return json;
}

// Unknown: null.
Json MbpsJson(double mbps) {
  return mbps > 0 ? Json(mbps) : Json();
}

// What a node has measured of its ways to others.
Json WaysJson(const wire::NodeRecord& record) {
  Json ways = Json::array();
  for (const wire::LinkRecord& link : record.links) {
    ways.push_back({{"to", link.to.Hex()},
                    {"address", link.host},
                    {"rtt_ms", link.rtt_ms},
                    {"rtt_p99_ms", link.rtt_p99_ms},
                    {"mbps", MbpsJson(link.mbps)},
                    {"measured", link.measured_s}});
  }
  return ways;
}

Json NodeJson(const node::NodeView& view) {
  const wire::NodeRecord& record = view.record;
  Json addresses = Json::array(), models = Json::array();
  for (const wire::Address& address : record.addresses) addresses.push_back(AddressText(address));
  for (const wire::ModelHolding& model : record.models) {
    models.push_back({{"id", model.id.Hex()},
                      {"name", model.name},
                      {"bytes", model.file_bytes},
                      {"complete", model.complete}});
  }
  Json devices = Json::array();
  for (const wire::DeviceRecord& device : record.devices) devices.push_back(DeviceJson(device));
  const wire::DeviceRecord total = wire::TotalOf(record);
  return {{"id", record.id.Hex()},
          {"name", record.name},
          {"state", view.state},
          {"detail", view.detail},
          {"rtt_ms", view.rtt_ms},
          {"addresses", std::move(addresses)},
          {"ways", WaysJson(record)},
          {"isa", total.isa},
          {"cores", total.cores},
          {"memory_total", total.memory_total},
          {"memory_budget", total.memory_budget},
          {"memory_reserved", total.memory_reserved},
          {"decode_gbps", total.decode_gbps},
          {"prefill_gops", total.prefill_gops},
          {"disk_gbps", total.disk_gbps},
          {"devices", std::move(devices)},
          {"health", HealthJson(record.health, view.health)},
          {"api_port", record.api_port},
          {"models", std::move(models)}};
}

std::string NameOf(const Names& names, const NodeId& id) {
  const auto it = names.find(id);
  return it == names.end() ? id.Short() : it->second;
}

Json StagesJson(const wire::Plan& plan, const std::function<std::string(size_t)>& name) {
  Json stages = Json::array();
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const wire::StagePlan& stage = plan.stages[i];
    Json json = {{"node", name(i)},
                 {"node_id", stage.node.Hex()},
                 {"layer_begin", stage.layer_begin},
                 {"layer_end", stage.layer_end},
                 {"bytes", stage.bytes}};
    if (stage.streamed > 0) json["layers_from_disk"] = wire::StreamedLayers(stage);
    if (const auto& shard = stage.shard) {
      json["kv_heads"] = {shard->kv_begin, shard->kv_end};
      json["ffn_columns"] = {shard->ffn_begin, shard->ffn_end};
      json["vocab_rows"] = {shard->vocab_begin, shard->vocab_end};
      if (shard->HasHeads()) json["query_heads"] = {shard->head_begin, shard->head_end};
      if (plan.stages[GroupOf(plan, i).end - 1].shard->expert_end > 0)
        json["experts"] = {shard->expert_begin, shard->expert_end};
    }
    stages.push_back(std::move(json));
  }
  return stages;
}

// What instances and plans have in common.
Json PlanFields(const wire::Plan& plan, const std::function<std::string(size_t)>& name) {
  return {{"plan_id", plan.id.Hex()},
          {"model", plan.model_name},
          {"model_id", plan.model.Hex()},
          {"owner", plan.owner.Hex()},
          {"layers", plan.layers},
          {"context", plan.context},
          {"kv", wire::kKvNames[plan.kv_type]},
          {"wire", wire::NameOf(plan.codec)},
          {"draft", plan.draft ? Json(plan.draft->name) : Json()},
          {"kv_positions", wire::ReservedPositions(plan)},
          {"stages", StagesJson(plan, name)}};
}

Json InstanceJson(const node::InstanceView& view, const Names& names) {
  const wire::InstanceSummary& summary = view.summary;
  Json json = PlanFields(summary.plan,
                         [&](size_t i) { return NameOf(names, summary.plan.stages[i].node); });
  // Adopted by its lead, it has another owner than its plan says.
  const NodeId& owner = summary.owner.IsZero() ? summary.plan.owner : summary.owner;
  json["owner"] = owner.Hex();
  json["owner_name"] = NameOf(names, owner);
  json["state"] = view.state;
  json["detail"] = view.detail;
  json["active_requests"] = summary.active_requests;
  json["queued_requests"] = summary.queued_requests;
  json["reason"] = view.reason;
  json["predicted_tokens_per_second"] = view.predicted_tokens_per_second;
  json["pinned"] = view.keep_ms == wire::kKeepAlways;
  const bool is_timed = view.keep_ms != 0 && view.keep_ms != wire::kKeepAlways;
  json["keep_alive"] = is_timed ? Json(static_cast<double>(view.keep_ms) / 1000) : Json();
  return json;
}

Json DevicesJson(const node::PlanView& view) {
  Json devices = Json::array();
  for (const node::PlanDevice& device : view.devices) {
    devices.push_back({{"id", device.id.Hex()},
                       {"name", device.name},
                       {"memory_available", device.memory_available},
                       {"memory_budget", device.memory_budget},
                       {"decode_gbps", device.decode_gbps},
                       {"prefill_gops", device.prefill_gops},
                       {"disk_gbps", device.disk_gbps},
                       {"guest", device.guest}});
  }
  return devices;
}

Json HopsJson(const std::vector<node::PlanHop>& all) {
  Json hops = Json::array();
  for (const node::PlanHop& hop : all) {
    hops.push_back({{"from", hop.from.Hex()},
                    {"to", hop.to.Hex()},
                    {"rtt_ms", hop.rtt_ms},
                    {"rtt_p99_ms", hop.rtt_p99_ms},
                    {"mbps", MbpsJson(hop.mbps)},
                    {"mbps_back", MbpsJson(hop.mbps_back)}});
  }
  return hops;
}

// What a placement is and what is expected of it alone.
Json PlacementJson(const wire::Plan& plan, const wire::Expectation& expected,
                   const std::vector<std::string>& names, const std::vector<node::PlanHop>& hops) {
  Json json = PlanFields(
      plan, [&](size_t i) { return i < names.size() ? names[i] : plan.stages[i].node.Short(); });
  json["predicted_tokens_per_second"] = expected.decode_tokens_per_second;
  json["predicted_prompt_per_second"] = expected.prefill_tokens_per_second;
  json["predicted_ttft_ms"] = expected.ttft_ms;
  json["predicted_prompt_tokens"] = wire::PromptTokensOf(expected.use);
  json["users"] = expected.users;
  json["predicted_total_per_second"] = expected.total_tokens_per_second;
  Json& stages = json["stages"];
  for (size_t i = 0; i < stages.size() && i < expected.stage_ms.size(); ++i)
    stages[i]["ms_per_token"] = expected.stage_ms[i];
  json["hops"] = HopsJson(hops);
  return json;
}

}  // namespace

Json ClusterJson(const node::ClusterView& cluster) {
  Names names;
  Json nodes = Json::array(), links = Json::array(), instances = Json::array();
  for (const node::NodeView& node : cluster.nodes) {
    names[node.record.id] = node.record.name;
    nodes.push_back(NodeJson(node));
    if (node.record.id == cluster.self) continue;
    links.push_back({{"from", cluster.self.Hex()},
                     {"to", node.record.id.Hex()},
                     {"state", node.state},
                     {"rtt_ms", node.rtt_ms}});
  }
  for (const node::InstanceView& instance : cluster.instances)
    instances.push_back(InstanceJson(instance, names));
  return {{"self", cluster.self.Hex()},
          {"nodes", std::move(nodes)},
          {"links", std::move(links)},
          {"instances", std::move(instances)},
          {"neighbors_of_other_clusters", cluster.neighbors_of_other_clusters},
          {"sent", {{"rows", cluster.wire_rows}, {"bytes", cluster.wire_bytes}}},
          {"sequence", cluster.sequence}};
}

Json PlanJson(const node::PlanView& view) {
  Json json = PlacementJson(view.plan, view.expected, view.node_names, view.hops);
  json["reason"] = view.reason;
  json["replicas"] = Json::array();
  for (const node::ReplicaView& replica : view.replicas) {
    json["replicas"].push_back(
        PlacementJson(replica.plan, replica.expected, replica.node_names, replica.hops));
  }
  json["devices"] = DevicesJson(view);
  json["explanation"] = view.explanation;
  return json;
}

}  // namespace exo::service::admin
