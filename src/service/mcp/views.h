// What the node tells about models, devices and plans, as results of tools: a text that a model
// reads, and the same as data.
//
// Thread: pure, any.
#pragma once

#include <vector>

#include "node/api.h"
#include "service/json.h"

namespace exo::service::mcp {

Json ModelsResult(const std::vector<node::ModelView>& models);
Json DevicesResult(const node::ClusterView& cluster);
Json PlanResult(const node::PlanView& plan);

}  // namespace exo::service::mcp
