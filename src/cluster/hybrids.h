// Layers over groups of nodes, each layer over all nodes of its group: which nodes share the layers
// of a stage, in which order the stages are, and where the layers are cut. A group is looked at as
// one node of a pipeline, with the speed that its shards have together and as many layers as the
// memory of each allows (pipelines.h). Layers are cut for one token, whatever the plan is for.
//
// Every group that is faster than its fastest node is tried beside single nodes, unless it holds
// the model and no other node is faster, or it can be seen to be slower than what was found; and
// with the best of them every second group. Of more than
// kExactNodes nodes the fastest are grouped. A good guess: links of a group count as the slowest of
// its ways, memory as that of an average layer.
//
// Thread: pure, any thread. Cost: of 8 nodes that need each other's memory at most twelve searches
// for a pipeline of them (hybrids_test.cc); where each of them holds the model, none, and few
// groups are divided.
#pragma once

#include <vector>

#include "cluster/placement.h"

namespace exo::cluster {

// For one answer, with room for so many KV pages: [k] over k + 1 nodes, invalid where there is
// none.
std::vector<Placement> FastestHybrids(const Search& search, uint64_t pages);

// As asked: over as many members as possible, the slowest group as fast as it can be; invalid where
// there is none.
Placement SpreadHybrid(const Search& search);

}  // namespace exo::cluster
