// What MakePlan compares where nobody says how to divide a model: every node alone, the fastest
// pipeline of every number of stages, and the fastest tensor group of every size.
//
// Thread: pure, any thread.
#pragma once

#include <vector>

#include "cluster/placement.h"

namespace exo::cluster {

struct Comparison {
  Placement best;                       // the one to take; invalid: nothing fits
  std::vector<wire::PlanRival> rivals;  // the fastest first, at most kMostRivals of each kind
};
// With room for so many KV pages. Further nodes are taken only where they gain kWorthMoreNodes.
Comparison Compare(const Search& search, uint64_t pages);

// What is told of a placement.
wire::PlanRival RivalOf(const Search& search, const Placement& placement, wire::RivalFate fate);

}  // namespace exo::cluster
