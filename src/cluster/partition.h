// How the layers of a model divide over an order of nodes, and what a division costs: the
// arithmetic below the planner's choice of nodes.
//
// Thread: pure, any thread.
#pragma once

#include <algorithm>
#include <vector>

#include "cluster/planner.h"

namespace exo::cluster {

// Prices that no measurement covers yet: a step's wake-up, framing and batching in a stage
// (measured 22-94 us per exchange on loopback), and a home network's round trip when
// it is not known.
inline constexpr double kVisitMs = 0.05;
inline constexpr double kUnknownRttMs = 1.0;
// To seal a byte and send it, or to receive and open it (measured: frames of 4 MiB over loopback).
inline constexpr double kCarryMsPerByte = 0.2e-6;
// A disk of which nothing is known: a slow one.
inline constexpr double kUnknownDiskGbps = 0.1;

// Speeds with unknown ones replaced by the slowest known one (1 GB/s, 10 GOPS when none is known).
// What formats and layers cost beside Q4_0 is the node's own; of one that is not in the list they
// cost nothing more.
struct Speeds {
  double decode_gbps = 1;
  double prefill_gops = 10;
  double layer_bytes = 0;
  std::vector<wire::FormatCost> formats = {};
  double duty = 1;  // work between pauses takes so much of the time that it takes without
};
std::vector<Speeds> KnownSpeeds(const std::vector<PlanNode>& nodes);

// Those of a node of the list, `known` being KnownSpeeds of it.
Speeds SpeedsOf(const std::vector<PlanNode>& nodes, const std::vector<Speeds>& known,
                const NodeId& id);
// A node of the list, or one of which nothing is known.
const PlanNode& NodeOf(const std::vector<PlanNode>& nodes, const NodeId& id);
// Milliseconds there and back between two nodes: as measured, else estimated from their round trips
// to the planning node, else kUnknownRttMs.
double RttMs(const PlanNode& a, const PlanNode& b);
// 99 of 100 take no longer; where that is not known, the same.
double RttP99Ms(const PlanNode& a, const PlanNode& b);
// 1e6 bits per second from one to the other, or the other way where only that is known; 0: unknown.
double Mbps(const PlanNode& from, const PlanNode& to);
// Milliseconds from one to the other, with so many bytes. Where the slowest of several `ways` is
// waited for, each counts with what the slowest of so many takes, if what is above the median falls
// off exponentially through 99 %: with the median for one way, nearly with 99 % for a hundred.
double HopMs(const PlanNode& from, const PlanNode& to, double bytes, size_t ways = 1);
// Bytes of so many rows between stages.
double RowBytes(const ModelShape& shape, uint32_t rows);
// What a layer, or the output matrix, costs a node for one row: what it reads and computes, as if
// all were Q4_0.
struct LayerCost {
  double bytes = 0;
  double ops = 0;
  double fixed_bytes = 0;  // not divided where the layer is
};
LayerCost CostOfLayer(const ModelShape& shape, uint32_t layer, const Speeds& speeds);
LayerCost CostOfOutput(const ModelShape& shape, const Speeds& speeds);
// One step of decode with `rows` sequences: weights are read once, and each further row is
// computed.
double StepMs(const LayerCost& cost, const Speeds& speeds, uint32_t rows);
// So many rows of one prompt.
double ChunkMs(const LayerCost& cost, const Speeds& speeds, uint32_t rows);

// What a stage reads from its disk for a step of so many rows, and what of it is there before the
// step comes.
struct DiskMs {
  double all = 0;
  double ahead = 0;
  bool beside = true;  // while it computes; false: experts, which are known when rows go to them

  // Of a step that computes so long.
  double Visit(double compute_ms) const;
};
DiskMs DiskMsOf(const ModelShape& shape, const wire::LayerSpan& layers, uint32_t streamed,
                double disk_gbps, uint32_t rows);

// How `users` answers share the stages: so many steps in flight, each with so many of them.
struct InFlight {
  uint32_t steps = 1;
  uint32_t rows = 1;
};
InFlight SharesOf(uint32_t users, size_t stages);

// Rows of a step, and of a chunk of a prompt.
struct VisitRows {
  uint32_t step = 1;
  uint32_t chunk = 1;
};
// Milliseconds of a visit of a group: a step with one row, one with those of all answers that share
// it, a full chunk of a prompt.
struct VisitMs {
  double token = 0;
  double step = 0;
  double chunk = 0;

  void Add(const VisitMs& other) {
    token += other.token;
    step += other.step;
    chunk += other.chunk;
  }
  void Cover(const VisitMs& other) {
    token = std::max(token, other.token);
    step = std::max(step, other.step);
    chunk = std::max(chunk, other.chunk);
  }
};
// What the nodes of a group take for their layers, and for the output matrix where they have it.
struct GroupCosts {
  VisitMs busy;               // if they do nothing else
  VisitMs quick;              // if they wait in between: as quick as each is between pauses
  double fixed_chunk_ms = 0;  // of a chunk, whatever its size
  double output_ms = 0;       // of the output matrix, for one row
  std::vector<double> token_ms, chunk_ms;  // of each node without the waits for others, as told
};

// layer_end of each stage, stage i on nodes[i], nodes[0] the lead: every stage has at least one
// layer and fits its node's memory; the slowest stage (decode, with the output matrix at the lead)
// is as fast as it can be, which is layers in proportion to speed; among those the smallest sum.
// Empty: does not fit. Cost: O(stages x layers^2).
std::vector<uint32_t> Partition(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                                const KvPositions& positions, uint8_t kv_type);

}  // namespace exo::cluster
