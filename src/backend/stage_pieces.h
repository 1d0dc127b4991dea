// What a stage reads of its tensors: all of each, but a shard less.
//
// Thread: pure, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"

namespace exo::backend {

// Bytes [begin, end) of a tensor.
struct TensorPiece {
  std::string tensor;
  uint64_t begin = 0;
  uint64_t end = 0;
};

std::vector<TensorPiece> WholeTensors(const std::vector<const model::TensorRef*>& tensors);

// Of each tensor what the stage's load reads of it, in loading order. Rows and experts of a shard
// lie in one piece; of a matrix whose columns it has a part of, it reads every row. Errors: those
// of PlanShard.
Result<std::vector<TensorPiece>> StagePieces(const StageSpec& spec);

}  // namespace exo::backend
