// Packed low-rank adapters of one stage, and how they are loaded.
#pragma once

#include <array>
#include <atomic>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "backend/buffer.h"

namespace exo::backend {

// A [rank, cols] and B [rows, rank] of one adapted matrix. Types that are not floats are packed as
// the f32 that they stand for (docs/arithmetic.md, rule 14).
struct AdapterMatrices {
  kernels::Weights a, b;
  size_t rank() const { return a.rows; }
};
using AdaptedLayer = std::array<std::optional<AdapterMatrices>, model::kAdapterTargets>;

struct AdapterWeights {
  std::shared_ptr<const model::AdapterTensors> tensors;
  Buffer memory;                     // of all its matrices
  std::vector<AdaptedLayer> layers;  // of the stage
};

// Bytes of all adapters of a stage, packed, and of what their products need beside: nothing without
// adapters.
uint64_t AdapterWeightBytes(const kernels::Kernels& kernels, const StageSpec& spec);
uint64_t AdapterScratchBytes(const kernels::Kernels& kernels, const StageSpec& spec);

// Scratch of a step's adapted products, for spec.chunk rows.
struct AdapterScratch {
  size_t products = 0;  // of one input at most: q, k, v
  size_t input = 0;     // bytes: activations of the widest input
  size_t low = 0;       // bytes: [products][chunk][max rank] floats
  size_t low_x = 0;     // bytes: their activations, of one product
  size_t out = 0;       // bytes: [products][chunk][widest] floats
};
AdapterScratch AdapterScratchOf(const kernels::Kernels& kernels, const StageSpec& spec);

// Reads and packs the stage's layers of all adapters. Errors: those of the sources, kOverloaded,
// kCancelled.
Result<std::vector<AdapterWeights>> LoadAdapters(const kernels::Kernels& kernels,
                                                 const StageSpec& spec,
                                                 const std::atomic<bool>* cancel);

}  // namespace exo::backend
