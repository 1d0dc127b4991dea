// The figures of requests by the names of other model servers, so that their dashboards work:
// vLLM's (`vllm:`, by model) and llama-server's (`llamacpp:`).
#pragma once

#include "node/api.h"
#include "service/admin/metrics_text.h"

namespace exo::service::admin {

void AddVllmNames(MetricsText& out, const node::NodeMetrics& node);
void AddLlamaNames(MetricsText& out, const node::NodeMetrics& node);

}  // namespace exo::service::admin
