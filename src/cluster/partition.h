// How the layers of a model divide over an order of nodes, and what a division costs: the
// arithmetic below the planner's choice of nodes.
//
// Thread: pure, any thread.
#pragma once

#include <vector>

#include "cluster/planner.h"

namespace exo::cluster {

// Prices that no measurement covers yet: a step's wake-up, framing and batching in a stage
// (measured 22-94 us per exchange on loopback), and a home network's round trip when
// it is not known.
inline constexpr double kVisitMs = 0.05;
inline constexpr double kUnknownRttMs = 1.0;

// Speeds with unknown ones replaced by the slowest known one (1 GB/s, 10 GOPS when none is known).
struct Speeds {
  double decode_gbps = 1;
  double prefill_gops = 10;
};
std::vector<Speeds> KnownSpeeds(const std::vector<PlanNode>& nodes);

// layer_end of each stage, stage i on nodes[i], nodes[0] the lead: every stage has at least one
// layer and fits its node's memory; the slowest stage (decode, with the output matrix at the lead)
// is as fast as it can be, which is layers in proportion to speed; among those the smallest sum.
// Empty: does not fit. Cost: O(stages x layers^2).
std::vector<uint32_t> Partition(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                                const KvPositions& positions, uint8_t kv_type);

}  // namespace exo::cluster
