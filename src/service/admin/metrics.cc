#include "service/admin/metrics.h"

#include "service/admin/metrics_text.h"
#include "service/admin/model_metrics.h"

namespace exo::service::admin {
namespace {

double Seconds(Time time) {
  return std::chrono::duration<double>(time).count();
}

// A turn of the event loop should cost at most 5 ms: everything else waits meanwhile.
void AddTurns(MetricsText& out, const net::TurnStats& turns) {
  constexpr const char* kName = "exo_loop_turn_seconds";
  constexpr const char* kHelp = "Processor time of one turn of the event loop.";
  std::vector<std::pair<double, uint64_t>> within;
  for (size_t i = 0; i < net::kTurnBounds.size(); ++i)
    within.emplace_back(Seconds(net::kTurnBounds[i]), turns.within[i]);
  out.Family(kName, "histogram", kHelp);
  out.Buckets({}, within, Seconds(turns.total), turns.count);
  out.Gauge("exo_loop_longest_turn_seconds",
            "Processor time of the event loop's longest turn since the start.",
            Seconds(turns.longest));
}

void AddRequests(MetricsText& out, const node::NodeMetrics& node) {
  const auto count = [](uint64_t value) { return static_cast<double>(value); };
  out.Gauge("exo_requests_active", "Requests of this node's clients that are being answered.",
            count(node.requests_active));
  out.Gauge("exo_requests_queued", "Requests that are being prepared or wait for a place.",
            count(node.requests_queued));
  out.Counter("exo_requests_total", "Requests of this node's clients.", count(node.requests_total));
  out.Counter("exo_prompt_tokens_total", "Tokens of the prompts of these requests.",
              count(node.prompt_tokens));
  out.Counter("exo_cached_prompt_tokens_total",
              "Tokens of these prompts whose keys and values were in memory or on disk already.",
              count(node.cached_tokens));
  out.Counter("exo_generated_tokens_total", "Tokens generated for these requests.",
              count(node.generated_tokens));
}

void AddNode(MetricsText& out, const node::NodeMetrics& node) {
  const auto count = [](uint64_t value) { return static_cast<double>(value); };
  out.Gauge("exo_nodes_alive", "Nodes of the cluster that this one sees alive, itself included.",
            count(node.nodes_alive));
  out.Gauge("exo_instances_ready", "Models that run somewhere in the cluster.",
            count(node.instances_ready));
  out.Family("exo_replicas_ready", "gauge", "How often a model runs somewhere in the cluster.");
  for (const auto& [model, replicas] : node.replicas_ready)
    out.Sample({{"model", model}}, count(replicas));
  out.Gauge("exo_memory_budget_bytes", "Memory that this node may use for models.",
            count(node.memory_budget));
  out.Gauge("exo_memory_reserved_bytes", "Memory that is taken or promised of it.",
            count(node.memory_reserved));
  out.Counter("exo_log_lines_lost_total", "Lines of the log that standard error did not take.",
              count(node.log_lines_lost));
  out.Gauge("exo_prefix_store_bytes", "Bytes on disk of keys and values of ended requests.",
            count(node.prefix_store_bytes));
  out.Counter("exo_prefix_pages_written_total", "Pages of 256 tokens that were written there.",
              count(node.prefix_pages_written));
  out.Counter("exo_prefix_pages_dropped_total", "Pages that could not be written.",
              count(node.prefix_pages_dropped));
  out.Counter("exo_prefix_pages_loaded_total", "Pages that were wanted and found there.",
              count(node.prefix_pages_loaded));
  out.Counter("exo_prefix_pages_missed_total", "Pages that were wanted and not there, or damaged.",
              count(node.prefix_pages_missed));
  out.Counter("exo_prefix_restored_tokens_total",
              "Tokens of prompts that came from disk, of models that this node leads.",
              count(node.prefix_restored_tokens));
  out.Counter("exo_moved_tokens_total",
              "Tokens whose keys and values came along when an answer went on at this node.",
              count(node.moved_tokens));
  out.Counter("exo_recomputed_tokens_total",
              "Tokens that were computed again when an answer went on at this node.",
              count(node.recomputed_tokens));
  out.Counter("exo_wire_rows_total", "Rows that stages on this node sent to the next ones.",
              count(node.wire_rows));
  out.Counter("exo_wire_bytes_total", "Bytes of these rows, without frames and TLS.",
              count(node.wire_bytes));
}

void AddHttp(MetricsText& out, const HttpStats& http) {
  out.Gauge("exo_http_connections", "Open connections of HTTP clients.",
            static_cast<double>(http.connections));
  out.Gauge("exo_http_body_bytes", "Bytes of request bodies in memory.",
            static_cast<double>(http.bodies->used()));
  out.Counter("exo_http_requests_total", "Requests over HTTP, of every route.",
              static_cast<double>(http.requests));
}

// A family with a sample for each device, or link, that says something about it.
template <class Things>
void AddEach(MetricsText& out, const Things& things, const char* label, const char* name,
             const char* type, const char* help, auto value_of) {
  out.Family(name, type, help);
  for (const auto& thing : things) {
    if (const std::optional<double> value = value_of(thing))
      out.Sample({{label, thing.name}, {"id", thing.id.Short()}}, *value);
  }
}

void AddDevices(MetricsText& out, const node::NodeMetrics& node) {
  using Device = node::DeviceMetrics;
  const auto add = [&](const char* name, const char* help, auto value_of,
                       const char* type = "gauge") {
    AddEach(out, node.devices, "device", name, type, help, value_of);
  };
  add("exo_device_alive", "1 while this node sees the device.",
      [](const Device& d) { return std::optional(d.alive ? 1.0 : 0.0); });
  add("exo_device_memory_total_bytes", "Memory of the device.",
      [](const Device& d) { return std::optional(static_cast<double>(d.memory_total)); });
  add("exo_device_memory_used_bytes", "Memory that all programs there use.",
      [](const Device& d) { return std::optional<double>(d.health.memory_used); });
  add("exo_device_memory_budget_bytes", "Memory that it may use for models.",
      [](const Device& d) { return std::optional(static_cast<double>(d.memory_budget)); });
  add("exo_device_memory_reserved_bytes", "Memory that is taken or promised of it.",
      [](const Device& d) { return std::optional(static_cast<double>(d.memory_reserved)); });
  add("exo_device_temperature_celsius", "Of the warmest sensor of its processors.",
      [](const Device& d) { return std::optional<double>(d.health.celsius); });
  add("exo_device_throttled", "1 while it is slowed down by heat.", [](const Device& d) {
    const bool known = d.health.heat != wire::Heat::kUnknown;
    return known ? std::optional(d.health.heat == wire::Heat::kHot ? 1.0 : 0.0) : std::nullopt;
  });
  add("exo_device_battery_charge_ratio", "Charge of its batteries; 1 is full.",
      [](const Device& d) -> std::optional<double> {
        if (!d.health.charge) return std::nullopt;
        return *d.health.charge / 100.0;
      });
  add("exo_device_on_battery", "1 while it runs on its battery.", [](const Device& d) {
    const bool known = d.health.power != wire::PowerSource::kUnknown;
    const bool battery = d.health.power == wire::PowerSource::kBattery;
    return known ? std::optional(battery ? 1.0 : 0.0) : std::nullopt;
  });
  add("exo_device_other_load_ratio", "Part of its processors that other programs take.",
      [](const Device& d) { return std::optional(d.health.other_load); });
  add("exo_device_share_ratio", "Part of its speed that models may count on.",
      [](const Device& d) { return std::optional(d.share); });
  add(
      "exo_stage_seconds_total", "Seconds that it computed for requests of this node's clients.",
      [](const Device& d) { return std::optional(d.stage_seconds); }, "counter");
}

void AddLinks(MetricsText& out, const node::NodeMetrics& node) {
  using Link = node::LinkMetrics;
  const auto add = [&](const char* name, const char* type, const char* help, auto value_of) {
    AddEach(out, node.links, "peer", name, type, help, value_of);
  };
  add("exo_link_round_trip_seconds", "gauge", "To the device and back.",
      [](const Link& l) { return l.rtt_ms > 0 ? std::optional(l.rtt_ms / 1000) : std::nullopt; });
  add("exo_link_sent_bytes_total", "counter", "Bytes of rows and sums that went there.",
      [](const Link& l) { return std::optional(static_cast<double>(l.sent_bytes)); });
  add("exo_link_received_bytes_total", "counter", "Bytes of rows and sums that came from there.",
      [](const Link& l) { return std::optional(static_cast<double>(l.received_bytes)); });
}

}  // namespace

std::string MetricsOf(const node::NodeMetrics& node, const HttpStats& http) {
  MetricsText out;
  AddTurns(out, node.loop);
  AddRequests(out, node);
  AddNode(out, node);
  AddHttp(out, http);
  AddDevices(out, node);
  AddLinks(out, node);
  AddVllmNames(out, node);
  AddLlamaNames(out, node);
  return out.Take();
}

}  // namespace exo::service::admin
