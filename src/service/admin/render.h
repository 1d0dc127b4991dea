// The JSON of nodes, instances and plans.
#pragma once

#include "node/api.h"
#include "service/json.h"

namespace exo::service::admin {

Json ClusterJson(const node::ClusterView& cluster);
Json PlanJson(const node::PlanView& plan);

}  // namespace exo::service::admin
