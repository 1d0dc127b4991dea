// The states of a node that the stream of events tells (admin/live_states.h): the cluster, its
// figures and the models on their way here.
#pragma once

#include <vector>

#include "node/api.h"
#include "service/admin/live_states.h"

namespace exo::service::admin {

// `api` must outlive them.
std::vector<Topic> ClusterTopics(node::Api& api);

}  // namespace exo::service::admin
