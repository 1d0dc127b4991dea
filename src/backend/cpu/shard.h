// A stage's part of a tensor split: the spec and the tensors of one shard as if they were a smaller
// model's, so that loader and layer loop need not know. Rows of q, k, v, gate and up are a
// contiguous range; columns of attention output and down are cut into the maximal canonical
// subtrees of the shard's leaves (backend/collective.h), each a matrix of its own that any kernel
// set multiplies at full speed.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/collective.h"
#include "base/mutex.h"

namespace exo::backend {

// A range of rows and columns of a tensor of the whole model.
struct Slice {
  model::TensorRef whole;
  uint64_t row = 0;
  uint64_t col = 0;
};

// A subtree's columns of a matrix whose columns are divided.
struct MatrixPart {
  model::TensorRef tensor;
  LeafRange leaves;
};

struct ShardLayer {
  std::vector<MatrixPart> o, down;
};

struct ShardPlan {
  StageSpec spec;                  // of the shard: its own config and tensors
  std::vector<ShardLayer> layers;  // of the stage
  uint32_t attention_leaves = 0;   // of the whole model
  uint32_t ffn_leaves = 0;
  size_t max_parts = 0;                 // of any matrix
  std::map<std::string, Slice> slices;  // by the shard's tensor names
};

// Errors: kUnsupported (a mixture of experts), kInvalid (a range that is empty, outside the model
// or not cut between leaves and blocks, or panels of the output matrix).
Result<ShardPlan> PlanShard(const StageSpec& spec);

// Gives out a shard's tensors from those of the whole model. Rows lie where they are; columns are
// gathered. Thread: any, as its source.
class ShardSource final : public TensorSource {
 public:
  ShardSource(TensorSource& source, const ShardPlan& plan) : source_(source), plan_(plan) {}

  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                          uint64_t bytes) override;
  void Done(const model::TensorRef& tensor, uint64_t offset, uint64_t bytes) override;

 private:
  TensorSource& source_;
  const ShardPlan& plan_;
  Mutex mutex_;
  std::map<std::pair<std::string, uint64_t>, std::vector<std::byte>> gathered_
      EXO_GUARDED_BY(mutex_);
};

}  // namespace exo::backend
