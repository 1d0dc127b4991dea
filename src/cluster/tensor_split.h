// How each layer of a model divides over nodes, and what such a division costs.
//
// Thread: pure, any thread.
#pragma once

#include <vector>

#include "cluster/partition.h"

namespace exo::cluster {

// The part of nodes[i]: heads, feed-forward columns and experts of each layer, and rows of the
// output matrix, so that the bytes that a token reads are in proportion to speed, cut where the
// shape allows. The groups of KV heads are cut only where there are more nodes than groups. Empty:
// there are more nodes than parts; every node has heads, and columns where there are no experts.
std::vector<wire::ShardPlan> DivideLayers(const ModelShape& shape,
                                          const std::vector<PlanNode>& nodes);

// What part of the model a shard has, of each of LayerParts.
struct ShardParts {
  double heads = 0;
  double kv = 0;
  double ffn = 0;
  double experts = 0;
  double vocab = 0;  // of the output matrix

  // Bytes of a layer of so many, divided as in `layer`.
  double Of(const LayerParts& layer, uint64_t bytes) const;
};
ShardParts PartsOf(const ModelShape& shape, const wire::ShardPlan& shard);

// Nodes that compute layers together, each its part.
struct Shards {
  std::vector<const PlanNode*> nodes;
  std::vector<Speeds> speeds;
  std::vector<wire::ShardPlan> parts;
};
// What a visit of layers `layers` takes them, in a plan of so many groups; with the output matrix,
// where they have it. `rows`: of a step.
GroupCosts CostsOfShards(const ModelShape& shape, const Shards& shards,
                         const wire::LayerSpan& layers, const VisitRows& rows, size_t groups);
// What a token takes in layers [0, i), for all i; between pauses.
std::vector<double> LayersMs(const ModelShape& shape, const Shards& shards);
// And what the output matrix takes of so many rows; `duty`: between pauses.
double OutputMs(const ModelShape& shape, const Shards& shards, uint32_t rows, bool between_pauses);
// Where other groups compute the last layers: what `rows` of these states take from the lead to the
// shards beside it, and their logits back.
double AskMs(const ModelShape& shape, const Shards& shards, uint32_t rows);

}  // namespace exo::cluster
