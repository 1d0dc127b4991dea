// Models that no memory of the cluster holds: stages that hold a part of their layers and read the
// others from their disk for each step. Slow, and predicted as such; nobody reads who does not
// offer it (PlanNode::disk_gbps).
//
// A stage computes while it reads, and has kStreamWindows layers at hand when a step comes: of
// several stages each reads ahead while the others compute (the piped ring of prima.cpp, Li et al.
// 2025). So a token takes the sum of what each stage computes or, beyond those layers, reads, and
// no less than the longest reading.
//
// Thread: pure, any thread. Cost: nodes x layers^3 simple steps.
#pragma once

#include "cluster/candidates.h"
#include "cluster/placement.h"

namespace exo::cluster {

// The best of each node alone and of those with the most memory together, however many; as many as
// possible where a division by layers is asked for. Invalid: even so it does not fit.
Comparison CompareStreamed(const Search& search);
// Why it does not, to follow the refusal of a plan in memory.
std::string WhyNotStreamed(const Search& search);

}  // namespace exo::cluster
