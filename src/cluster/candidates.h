// What MakePlan compares where nobody says how to divide a model: every node alone, the fastest
// pipeline of every number of stages, the fastest tensor group of every size, for one answer such
// groups joined by a pipeline, and for many answers the whole model on several nodes.
//
// Thread: pure, any thread.
#pragma once

#include <vector>

#include "cluster/pipelines.h"
#include "cluster/placement.h"

namespace exo::cluster {

struct Comparison {
  Placement best;                        // the one to take; invalid: nothing fits
  std::vector<Placement> replicas = {};  // beside it, with the whole model as it has
  double value = 0;                      // tokens per second that count, of all of them
  std::vector<wire::PlanRival> rivals;   // the fastest first, at most kMostRivals of each kind

  size_t devices() const { return best.nodes.size() + replicas.size(); }
};
// With room for so many KV pages. Further nodes are taken only where they gain kWorthMoreNodes, or,
// for the whole model on each, kWorthReplica.
Comparison Compare(const Search& search, uint64_t pages);

// The nodes as stages of a pipeline: what each takes for a token of this use, and its memory.
PipelineProblem ProblemOf(const Search& search, uint64_t pages);
// Sets of `count` members that are worth a look as a group: all, where there are few, else the
// fastest, which are first among `members`.
std::vector<std::vector<size_t>> SetsOf(const std::vector<size_t>& members, size_t count);

// What is told of a placement.
wire::PlanRival RivalOf(const Search& search, const Placement& placement, wire::RivalFate fate);

}  // namespace exo::cluster
