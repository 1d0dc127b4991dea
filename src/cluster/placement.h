// What the planner compares: a division of a model over some nodes that fits their memory.
//
// Thread: pure, any thread.
#pragma once

#include <functional>
#include <vector>

#include "cluster/planner.h"

namespace exo::cluster {

// What one call of MakePlan looks at.
struct Search {
  const ModelShape& shape;
  const std::vector<PlanNode>& nodes;
  const PlanOptions& options;
  uint32_t context = 0;
  wire::Use use = wire::Use::kLatency;      // never kAuto
  uint32_t users = 1;                       // answers at once that throughput is predicted for
  std::vector<uint64_t> page_choices = {};  // wanted first

  KvPositions Positions(uint64_t pages) const {
    return ReservedKv(shape, pages, context, options.chunk);
  }
};

struct Placement {
  std::vector<size_t> nodes;   // indices, stage order; none: it does not fit
  std::vector<uint32_t> ends;  // layer_end of each stage
  // Of each stage, or none; neighbors that have one and end at the same layer are a group.
  std::vector<std::optional<wire::ShardPlan>> shards = {};
  std::vector<uint32_t> streamed = {};  // layers of each stage that are read from disk, or none
  uint64_t pages = 0;
  Prediction prediction;

  bool valid() const { return !nodes.empty(); }
  StageShare ShareOf(size_t stage) const;
  wire::Split split() const;
  // How many nodes each group has.
  std::vector<uint32_t> groups() const;
};

wire::Plan BuildPlan(const Search& search, const Placement& placement);

// Tokens per second that count: of one answer, or of all.
double ValueOf(const Search& search, const Prediction& prediction);
// Better: more tokens per second beyond rounding, then the preferred node at the lead, then the
// smaller id.
bool Better(const Search& search, const Placement& a, const Placement& b);

// Cuts the layers for the nodes of a placement, in their order: `ends` and what else the division
// has. False: they do not fit.
using CutLayers = std::function<bool(Placement&)>;
// The best order for this set of nodes with this reservation; invalid when it does not fit.
Placement PlaceOn(const Search& search, const std::vector<size_t>& set, uint64_t pages,
                  const CutLayers& cut);

// One node with everything; invalid when it does not fit.
Placement PlaceAlone(const Search& search, size_t node, uint64_t pages);
// Layers over all nodes, at most one per layer; one that cannot hold a single layer is left out,
// and guests that two members cannot take between them.
Placement Spread(const Search& search);
// Each layer over these nodes, the one at the lead that is best there; invalid when it does not fit
// or cannot be divided so. `short_of`, if it is not null, becomes a node whose memory is too small.
Placement PlaceShards(const Search& search, const std::vector<size_t>& set, uint64_t pages,
                      const PlanNode** short_of = nullptr);
// Members by speed, as many as a plan may have: those that a tensor split is for.
std::vector<size_t> FastestMembers(const Search& search);
// Each layer over as many members as possible, two at least: alone there is nothing to split.
Placement SplitLayers(const Search& search);

}  // namespace exo::cluster
