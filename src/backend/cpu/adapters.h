// Packed low-rank adapters of one stage, and how they are loaded.
#pragma once

#include <array>
#include <atomic>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "backend/buffer.h"
#include "backend/shard.h"

namespace exo::backend {

// A [rank, cols] and B [rows, rank] of one adapted matrix. Types that are not floats are packed as
// the f32 that they stand for (docs/arithmetic.md, rule 14).
struct AdapterMatrices {
  // One, or of a shard that has some of the columns, one for each of their subtrees.
  std::vector<kernels::Weights> a;
  kernels::Weights b;  // of a shard that has some of the rows, those
  size_t rank() const { return b.cols; }
};
using AdaptedLayer = std::array<std::optional<AdapterMatrices>, model::kAdapterTargets>;

struct AdapterWeights {
  std::shared_ptr<const model::AdapterTensors> tensors;
  Buffer memory;                     // of all its matrices
  std::vector<AdaptedLayer> layers;  // of the stage
};

// Bytes of all adapters of a stage, packed, and of what their products need beside: nothing without
// adapters. `shard`: of one, its part of them; null: all.
uint64_t AdapterWeightBytes(const kernels::Kernels& kernels, const StageSpec& spec,
                            const ShardPlan* shard);
uint64_t AdapterScratchBytes(const kernels::Kernels& kernels, const StageSpec& spec);
// Values of all adapters' A x of one row and product, at most.
size_t LowRankValues(const StageSpec& spec);

// Scratch of a step's adapted products, for spec.chunk rows.
struct AdapterScratch {
  size_t products = 0;  // of one input at most: q, k, v
  size_t input = 0;     // bytes: activations of the widest input
  // Bytes: [products][chunk][max rank] floats; of a shard, whose sums all adapters share, at least
  // [chunk] of all their ranks.
  size_t low = 0;
  size_t low_x = 0;  // bytes: their activations, of one product
  size_t out = 0;    // bytes: [products][chunk][widest] floats
};
AdapterScratch AdapterScratchOf(const kernels::Kernels& kernels, const StageSpec& spec);

// Reads and packs the stage's layers of all adapters, of a shard its part of them: each tensor is
// read whole, what the shard has not is let go. Errors: those of the sources, kOverloaded,
// kCancelled.
Result<std::vector<AdapterWeights>> LoadAdapters(const kernels::Kernels& kernels,
                                                 const StageSpec& spec, const ShardPlan* shard,
                                                 const std::atomic<bool>* cancel);

}  // namespace exo::backend
