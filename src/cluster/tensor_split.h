// How each layer of a model divides over nodes, and what such a division costs.
//
// Thread: pure, any thread.
#pragma once

#include <vector>

#include "cluster/planner.h"

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

// As Predict, of a plan of shards.
Prediction PredictShards(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                         const wire::Plan& plan, uint32_t users, wire::Use use);

}  // namespace exo::cluster
