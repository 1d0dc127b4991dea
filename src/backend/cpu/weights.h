// Packed weights of one stage and how they are loaded: tensor by tensor, panels in parallel, the
// file's pages dropped behind, so that a load never holds two copies of more than a few panels.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "backend/buffer.h"
#include "backend/cpu/adapters.h"
#include "backend/cpu/windows.h"
#include "backend/shard.h"
#include "sys/thread_pool.h"

namespace exo::backend {

// A packed matrix; without data where a layer has none. Its bytes lie in StageWeights::memory or in
// a prepared file's mapping, which `owner` keeps.
struct Matrix {
  kernels::Weights weights;
  std::shared_ptr<const void> owner;
};
// Matrices of one shape, one for each expert.
struct Matrices {
  std::vector<kernels::Weights> weights;
  std::shared_ptr<const void> owner;
};
// Of a shard: the columns of one subtree of a matrix whose columns are divided.
struct PartOfMatrix {
  Matrix matrix;
  LeafRange leaves;
};
// A vector of floats (norm gains, biases, rope factors).
using Vector = std::vector<float>;

struct LayerWeights {
  Vector attn_norm, ffn_norm;
  Matrix q, k, v, o;
  Vector q_bias, k_bias, v_bias, o_bias;  // empty: none
  Vector q_norm, k_norm;                  // empty: none
  Vector post_attn_norm, post_ffn_norm;   // empty: none
  Matrix gate, up, down;                  // the dense or shared block
  Matrix router, shared_router;
  Matrices gate_exps, up_exps, down_exps;

  std::vector<PartOfMatrix> o_parts, down_parts;  // of a shard, instead of o and down

  bool has_experts() const { return router.weights.data != nullptr; }
  bool has_shared_expert() const { return shared_router.weights.data != nullptr; }
};

// A dense layer whose matrices are not held: what is read of it when it computes, packed to the
// first of StageWeights::windows, where its matrices point to.
struct StreamedLayer {
  size_t layer;  // of the stage
  std::vector<Window> windows;
};

struct StageWeights {
  Buffer memory;       // of all matrices that were packed here, one after the other
  Matrix embedding;    // lead only
  Matrix output;       // of a lead or shard; without data when tied to the embedding
  Vector output_norm;  // of a lead or shard
  Vector rope_factors;
  std::vector<LayerWeights> layers;
  std::vector<StreamedLayer> streamed;  // of them, ascending; none of a mixture
  // Of streamed layers, one behind the other: for the matrices of one, or all of its experts.
  Buffer windows;
  uint64_t window_bytes = 0;             // of each
  std::vector<AdapterWeights> adapters;  // in the order of StageSpec::adapters
  bool tied = false;
  // Set when prepared matrices are lost (backend.h: Packed::broken); null: none are prepared.
  const std::atomic<bool>* broken = nullptr;

  const kernels::Weights& output_matrix() const {
    return tied ? embedding.weights : output.weights;
  }
};

// Bytes of all packed tensors of a stage that it holds, and of the windows of those that it
// streams.
uint64_t WeightBytes(const kernels::Kernels& kernels, const StageSpec& spec);
// Bytes of them that one token reads: of the experts only those that it is sent to.
uint64_t ReadBytes(const kernels::Kernels& kernels, const StageSpec& spec);
// Bytes that wait to be packed where a stage streams layers.
uint64_t StreamScratchBytes(const StageSpec& spec);
// All matrices of a layer that are there, but those of a shard's parts.
std::vector<kernels::Weights*> WeightsOf(LayerWeights& layer);

// `shard`: of a shard, whose spec is shard->spec; null otherwise. Errors: see Backend::Load.
Result<StageWeights> LoadWeights(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                                 const StageSpec& spec, const ShardPlan* shard,
                                 TensorSource& source,
                                 const std::function<void(uint64_t, uint64_t)>& progress,
                                 const std::atomic<bool>* cancel);

}  // namespace exo::backend
