// Packed weights of one stage and how they are loaded: tensor by tensor, panels in parallel, the file's
// pages dropped behind, so that a load never holds two copies of more than a few panels.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/memory.h"
#include "sys/thread_pool.h"

namespace exo::backend {

// A packed matrix with its memory.
struct Matrix {
  kernels::Weights weights;
  Buffer memory;                      // empty when `owner` holds the bytes
  std::shared_ptr<const void> owner;  // of a prepared file's mapping
};
// A vector of floats (norm gains, biases, rope factors).
using Vector = std::vector<float>;

struct LayerWeights {
  Vector attn_norm, ffn_norm;
  Matrix q, k, v, o, gate, up, down;
  Vector q_bias, k_bias, v_bias;  // empty: none
  Vector q_norm, k_norm;          // empty: none
};

struct StageWeights {
  Matrix embedding;   // head only
  Matrix output;      // head only, empty memory when tied to the embedding
  Vector output_norm; // head only
  Vector rope_factors;
  std::vector<LayerWeights> layers;
  bool tied = false;

  const kernels::Weights& output_matrix() const { return tied ? embedding.weights : output.weights; }
};

// Bytes of all packed tensors of a stage.
uint64_t WeightBytes(const kernels::Kernels& kernels, const StageSpec& spec);

// Errors: see Backend::Load.
Result<StageWeights> LoadWeights(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                                 const StageSpec& spec, TensorSource& source,
                                 const std::function<void(uint64_t, uint64_t)>& progress,
                                 const std::atomic<bool>* cancel);

}  // namespace exo::backend
