#include "service/admin/metrics.h"

#include <fmt/format.h>

namespace exo::service::admin {
namespace {

double Seconds(Time time) {
  return std::chrono::duration<double>(time).count();
}

void Add(std::string& out, const char* name, const char* type, const char* help, double value) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n{} {}\n", name, help, name, type, name, value);
}

// A turn of the event loop should cost at most 5 ms: everything else waits meanwhile.
void AddTurns(std::string& out, const net::TurnStats& turns) {
  constexpr const char* kName = "exo_loop_turn_seconds";
  out +=
      fmt::format("# HELP {} Processor time of one turn of the event loop.\n# TYPE {} histogram\n",
                  kName, kName);
  for (size_t i = 0; i < net::kTurnBounds.size(); ++i) {
    out += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", kName, Seconds(net::kTurnBounds[i]),
                       turns.within[i]);
  }
  out += fmt::format("{}_bucket{{le=\"+Inf\"}} {}\n{}_sum {}\n{}_count {}\n", kName, turns.count,
                     kName, Seconds(turns.total), kName, turns.count);
  Add(out, "exo_loop_longest_turn_seconds", "gauge",
      "Processor time of the event loop's longest turn since the start.", Seconds(turns.longest));
}

// The same figures by llama-server's names, for dashboards that know those.
void AddLlamaNames(std::string& out, const node::NodeMetrics& node) {
  const auto add = [&](const char* name, const char* type, const char* help, uint64_t value) {
    Add(out, name, type, help, static_cast<double>(value));
  };
  add("llamacpp:prompt_tokens_total", "counter", "Tokens of prompts that were computed.",
      node.prompt_tokens - std::min(node.cached_tokens, node.prompt_tokens));
  add("llamacpp:tokens_predicted_total", "counter", "Tokens generated.", node.generated_tokens);
  add("llamacpp:requests_processing", "gauge", "Requests that are being answered.",
      node.requests_active);
  add("llamacpp:requests_deferred", "gauge", "Requests that wait.", node.requests_queued);
}

}  // namespace

std::string MetricsText(const node::NodeMetrics& node, const HttpStats& http) {
  std::string out;
  const auto gauge = [&](const char* name, const char* help, uint64_t value) {
    Add(out, name, "gauge", help, static_cast<double>(value));
  };
  const auto counter = [&](const char* name, const char* help, uint64_t value) {
    Add(out, name, "counter", help, static_cast<double>(value));
  };
  AddTurns(out, node.loop);
  gauge("exo_requests_active", "Requests of this node's clients that are being answered.",
        node.requests_active);
  gauge("exo_requests_queued", "Requests that are being prepared or wait for a place.",
        node.requests_queued);
  counter("exo_requests_total", "Requests of this node's clients.", node.requests_total);
  counter("exo_prompt_tokens_total", "Tokens of the prompts of these requests.",
          node.prompt_tokens);
  counter("exo_cached_prompt_tokens_total",
          "Tokens of these prompts whose keys and values were in memory or on disk already.",
          node.cached_tokens);
  counter("exo_generated_tokens_total", "Tokens generated for these requests.",
          node.generated_tokens);
  gauge("exo_nodes_alive", "Nodes of the cluster that this one sees alive, itself included.",
        node.nodes_alive);
  gauge("exo_instances_ready", "Models that run somewhere in the cluster.", node.instances_ready);
  gauge("exo_memory_budget_bytes", "Memory that this node may use for models.", node.memory_budget);
  gauge("exo_memory_reserved_bytes", "Memory that is taken or promised of it.",
        node.memory_reserved);
  counter("exo_log_lines_lost_total", "Lines of the log that standard error did not take.",
          node.log_lines_lost);
  gauge("exo_prefix_store_bytes", "Bytes on disk of keys and values of ended requests.",
        node.prefix_store_bytes);
  counter("exo_prefix_pages_written_total", "Pages of 256 tokens that were written there.",
          node.prefix_pages_written);
  counter("exo_prefix_pages_dropped_total", "Pages that could not be written.",
          node.prefix_pages_dropped);
  counter("exo_prefix_pages_loaded_total", "Pages that were wanted and found there.",
          node.prefix_pages_loaded);
  counter("exo_prefix_pages_missed_total", "Pages that were wanted and not there, or damaged.",
          node.prefix_pages_missed);
  counter("exo_prefix_restored_tokens_total",
          "Tokens of prompts that came from disk, of models that this node leads.",
          node.prefix_restored_tokens);
  counter("exo_wire_rows_total", "Rows that stages on this node sent to the next ones.",
          node.wire_rows);
  counter("exo_wire_bytes_total", "Bytes of these rows, without frames and TLS.", node.wire_bytes);
  gauge("exo_http_connections", "Open connections of HTTP clients.", http.connections);
  gauge("exo_http_body_bytes", "Bytes of request bodies in memory.", http.bodies->used());
  counter("exo_http_requests_total", "Requests over HTTP, of every route.", http.requests);
  AddLlamaNames(out, node);
  return out;
}

}  // namespace exo::service::admin
