// What a running plan holds is free for the one that takes its place.
//
// Thread: pure, any thread.
#pragma once

#include <vector>

#include "cluster/planner.h"
#include "wire/messages.h"

namespace exo::cluster {

void GiveBack(const wire::Plan& plan, std::vector<PlanNode>& nodes);

}  // namespace exo::cluster
