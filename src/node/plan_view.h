// A plan as clients see it: of this node's cluster, or of one that somebody describes.
//
// Thread: pure, any thread.
#pragma once

#include <vector>

#include "cluster/describe.h"
#include "cluster/planner.h"
#include "node/api.h"

namespace exo::node {

// `nodes`: what was planned with.
PlanView MakePlanView(const wire::Plan& plan, const wire::Expectation& expected,
                      std::vector<wire::PlanRival> rivals,
                      const std::vector<cluster::PlanNode>& nodes, const cluster::NameOf& name_of);

// Says in the view's explanation which placement is the one that runs; adds it where it was not
// compared.
void MarkRunning(PlanView& view, const wire::Plan& running, const cluster::NameOf& name_of);

}  // namespace exo::node
