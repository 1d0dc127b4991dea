// GET /metrics: the node's figures in Prometheus' text format.
#pragma once

#include <string>

#include "node/api.h"
#include "service/http/stats.h"

namespace exo::service::admin {

std::string MetricsOf(const node::NodeMetrics& node, const HttpStats& http);

}  // namespace exo::service::admin
