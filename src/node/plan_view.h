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
// `replicas`: one placement, or all that run side by side, the fastest first.
PlanView MakePlanView(const std::vector<wire::PlannedReplica>& replicas,
                      std::vector<wire::PlanRival> rivals,
                      const std::vector<cluster::PlanNode>& nodes, const cluster::NameOf& name_of);

// Says in the view's explanation which placement is the one that runs; adds it where it was not
// compared. `running`: of one instance, or of each replica.
void MarkRunning(PlanView& view, const std::vector<wire::Plan>& running,
                 const cluster::NameOf& name_of);

}  // namespace exo::node
