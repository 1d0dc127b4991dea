#include "service/admin/model_metrics.h"

#include <algorithm>

namespace exo::service::admin {
namespace {

using node::ModelMetrics;

// vLLM's label.
MetricLabels LabelsOf(const std::string& model) {
  return {{"model_name", model}};
}

// A family with a sample for each model.
void AddField(MetricsText& out, const node::NodeMetrics& node, const char* name, const char* type,
              const char* help, uint64_t ModelMetrics::* field) {
  out.Family(name, type, help);
  for (const auto& [model, metrics] : node.models)
    out.Sample(LabelsOf(model), static_cast<double>(metrics.*field));
}

void AddHistogram(MetricsText& out, const node::NodeMetrics& node, const char* name,
                  const char* help, node::Histogram ModelMetrics::* field) {
  out.Family(name, "histogram", help);
  for (const auto& [model, metrics] : node.models) out.Samples(LabelsOf(model), metrics.*field);
}

void AddSuccesses(MetricsText& out, const node::NodeMetrics& node) {
  out.Family("vllm:request_success_total", "counter", "Requests that have ended, by how.");
  for (const auto& [model, metrics] : node.models) {
    const auto add = [&](const char* reason, uint64_t count) {
      MetricLabels labels = LabelsOf(model);
      labels.emplace_back("finished_reason", reason);
      out.Sample(labels, static_cast<double>(count));
    };
    add("stop", metrics.stopped);
    add("length", metrics.at_length);
    add("abort", metrics.aborted);
    add("error", metrics.failed);
  }
}

double PerSecond(double tokens, double seconds) {
  return seconds > 0 ? tokens / seconds : 0;
}

}  // namespace

void AddVllmNames(MetricsText& out, const node::NodeMetrics& node) {
  AddField(out, node, "vllm:num_requests_running", "gauge", "Requests that are being answered.",
           &ModelMetrics::running);
  AddField(out, node, "vllm:num_requests_waiting", "gauge", "Requests that wait for a place.",
           &ModelMetrics::waiting);
  out.Family("vllm:kv_cache_usage_perc", "gauge",
             "Part of the KV cache's pages that are taken, of models that this node leads; 1 is "
             "all.");
  for (const auto& [model, usage] : node.kv_usage) out.Sample(LabelsOf(model), usage);
  AddField(out, node, "vllm:prefix_cache_queries_total", "counter",
           "Tokens of prompts that were looked for in the prefix cache.",
           &ModelMetrics::prompt_tokens);
  AddField(out, node, "vllm:prefix_cache_hits_total", "counter",
           "Tokens of prompts that were found there.", &ModelMetrics::cached_tokens);
  AddField(out, node, "vllm:prompt_tokens_total", "counter", "Tokens of prompts.",
           &ModelMetrics::prompt_tokens);
  AddField(out, node, "vllm:generation_tokens_total", "counter", "Tokens generated.",
           &ModelMetrics::generated_tokens);
  AddSuccesses(out, node);
  AddHistogram(out, node, "vllm:time_to_first_token_seconds", "From a request to its first token.",
               &ModelMetrics::first_token);
  AddHistogram(out, node, "vllm:inter_token_latency_seconds", "Between two tokens of an answer.",
               &ModelMetrics::token_gap);
  AddHistogram(out, node, "vllm:e2e_request_latency_seconds", "From a request to its end.",
               &ModelMetrics::whole);
  AddHistogram(out, node, "vllm:request_queue_time_seconds",
               "From a request to the first step of its prompt.", &ModelMetrics::queue);
  AddHistogram(out, node, "vllm:request_prefill_time_seconds",
               "From there to the first token, by the lead's clock.", &ModelMetrics::prefill);
  AddHistogram(out, node, "vllm:request_decode_time_seconds", "From there to the last token.",
               &ModelMetrics::decode);
}

void AddLlamaNames(MetricsText& out, const node::NodeMetrics& node) {
  double prompt_seconds = 0, predicted_seconds = 0;
  for (const auto& [model, metrics] : node.models) {
    prompt_seconds += metrics.prefill.sum();
    predicted_seconds += metrics.decode.sum();
  }
  const auto computed =
      static_cast<double>(node.prompt_tokens - std::min(node.cached_tokens, node.prompt_tokens));
  const auto predicted = static_cast<double>(node.generated_tokens);
  out.Counter("llamacpp:prompt_tokens_total", "Tokens of prompts that were computed.", computed);
  out.Counter("llamacpp:prompt_seconds_total", "Seconds of computing prompts, of all requests.",
              prompt_seconds);
  out.Counter("llamacpp:tokens_predicted_total", "Tokens generated.", predicted);
  out.Counter("llamacpp:tokens_predicted_seconds_total",
              "Seconds from the first to the last token, of all requests.", predicted_seconds);
  out.Gauge("llamacpp:prompt_tokens_seconds", "Tokens of prompts per second, on average.",
            PerSecond(computed, prompt_seconds));
  out.Gauge("llamacpp:predicted_tokens_seconds", "Tokens generated per second, on average.",
            PerSecond(predicted, predicted_seconds));
  out.Gauge("llamacpp:requests_processing", "Requests that are being answered.",
            static_cast<double>(node.requests_active));
  out.Gauge("llamacpp:requests_deferred", "Requests that wait.",
            static_cast<double>(node.requests_queued));
  out.Counter("llamacpp:n_decode_total", "Steps of models that this node leads.",
              static_cast<double>(node.led_steps));
  out.Gauge("llamacpp:n_busy_slots_per_decode", "Requests in one of these steps, on average.",
            PerSecond(static_cast<double>(node.led_requests), static_cast<double>(node.led_steps)));
}

}  // namespace exo::service::admin
