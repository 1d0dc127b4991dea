// A stage's part of a tensor split: the spec and the tensors of one shard as if they were a smaller
// model's, so that loader and layer loop need not know. Rows of q, k, v, gate and up are a
// contiguous range, and so are the experts of a mixture; columns of attention output and down are
// cut into the maximal canonical subtrees of the shard's leaves (backend/collective.h), each a
// matrix of its own that any kernel set multiplies at full speed.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/collective.h"
#include "base/mutex.h"

namespace exo::backend {

// A range of matrices, rows and columns of a tensor of the whole model.
struct Slice {
  model::TensorRef whole;
  uint64_t matrix = 0;
  uint64_t row = 0;
  uint64_t col = 0;

  // Where it begins in the whole tensor's bytes.
  uint64_t Start() const;
  // Whether `part`, which is this, must be gathered from several rows; anything else lies in one
  // piece.
  bool IsGathered(const model::TensorRef& part) const {
    return part.cols != whole.cols && whole.rows != 1;
  }
};

// A subtree's columns of a matrix whose columns are divided.
struct MatrixPart {
  model::TensorRef tensor;
  LeafRange leaves;
};

struct ShardLayer {
  std::vector<MatrixPart> o, down;
};

// What a shard has of the matrices that an adapter has for one adapted matrix: rows of B, and where
// the adapted matrix's columns are divided, columns of A.
struct AdapterCut {
  bool divided = false;
  std::vector<LeafRange> subtrees;  // of A's columns where they are divided
  uint64_t row_begin = 0;           // [begin, end) of B
  uint64_t row_end = 0;
};
using AdapterCuts = std::array<AdapterCut, model::kAdapterTargets>;

struct ShardPlan {
  // Of the shard: its own config and tensors. Of experts the config has all, for the router. Where
  // a group is cut ModelConfig::group() is not that of every KV head.
  StageSpec spec;
  std::vector<ShardLayer> layers;       // of the stage
  uint32_t group = 0;                   // query heads of a KV head, of the whole model
  size_t max_parts = 0;                 // subtrees of a row in one exchange, at most
  std::map<std::string, Slice> slices;  // by the shard's tensor names
  AdapterCuts adapters;                 // of every layer
};

// Errors: kInvalid (a range that is outside the model, empty where it may
// not be, or not cut between leaves and blocks, or panels of the output matrix).
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
