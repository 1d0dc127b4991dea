// How each layer of a model divides over nodes, and what such a division costs.
//
// Thread: pure, any thread.
#pragma once

#include <vector>

#include "cluster/planner.h"

namespace exo::cluster {

// The part of nodes[i]: KV heads and feed-forward columns of each layer, and rows of the output
// matrix, so that the bytes are in proportion to speed, cut where the shape allows. Empty: there
// are more nodes than parts.
std::vector<wire::ShardPlan> DivideLayers(const ModelShape& shape,
                                          const std::vector<PlanNode>& nodes);

// What part of the model a shard has.
struct ShardParts {
  double kv = 0;     // of the attention's bytes of a layer
  double ffn = 0;    // of those of its feed-forward block
  double vocab = 0;  // of the output matrix
};
ShardParts PartsOf(const ModelShape& shape, const wire::ShardPlan& shard);

// As Predict, of a plan of shards.
Prediction PredictShards(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                         const wire::Plan& plan, uint32_t users);

}  // namespace exo::cluster
