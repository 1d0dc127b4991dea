// A stage on the CPU: the layer loop over kernels and thread pool. One operation is one or two jobs of
// the pool; rows (tokens), panels (output rows) and (sequence, KV head, query tile) are its items.
#pragma once

#include <array>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/weights.h"
#include "sys/thread_pool.h"

namespace exo::backend {

// Scratch bytes of a stage with `chunk` rows in a step, without attention scratch.
uint64_t ScratchBytes(const kernels::Kernels& kernels, const model::ModelConfig& config, uint32_t chunk);
// K and V bytes of one position in all layers of the stage.
uint64_t KvBytesPerPosition(const StageSpec& spec);

class CpuStage final : public StageCompute {
 public:
  static Result<std::unique_ptr<StageCompute>> Make(const kernels::Kernels& kernels,
                                                    sys::ThreadPool& pool, const StageSpec& spec,
                                                    StageWeights weights);

  Result<void> Open(SequenceId sequence, uint32_t capacity) override;
  void Close(SequenceId sequence) override;
  Result<void> Truncate(SequenceId sequence, uint32_t length) override;
  Result<void> Embed(std::span<const TokenId> tokens, std::span<float> hidden) override;
  Result<void> Forward(std::span<const Segment> segments, std::span<float> hidden,
                       const std::atomic<bool>* cancel) override;
  Result<void> Logits(std::span<const float> hidden, std::span<float> logits,
                      const std::atomic<bool>* cancel) override;
  uint64_t weights_bytes() const override { return weights_bytes_; }

 private:
  struct Sequence {
    uint32_t capacity = 0;  // a multiple of kernels::kKvTile
    uint32_t length = 0;
    Buffer memory;
  };
  // One product of a step: `out` rows have stride `stride`.
  struct Product {
    const kernels::Weights* weights;
    float* out;
    size_t stride;
    bool add;
  };
  // A query tile of one sequence: rows [row, row + count) at positions [first, …).
  struct Tile {
    const Sequence* sequence;
    size_t row;
    uint32_t first;
    uint32_t count;
  };

  CpuStage(const kernels::Kernels& kernels, sys::ThreadPool& pool, const StageSpec& spec,
           StageWeights weights);
  Result<void> AllocateScratch();
  Result<void> CheckSegments(std::span<const Segment> segments, size_t rows) const;
  void PlaceRows(std::span<const Segment> segments);
  Result<void> RunLayer(size_t index, size_t rows, float* hidden);

  kernels::KvHead Kv(const Sequence& sequence, size_t layer, size_t head) const;
  void ForRows(size_t rows, size_t cost, const std::function<void(size_t first, size_t count)>& work);
  void NormPrepare(std::span<const Product> products, const float* x, const Vector& gain, size_t rows);
  void Prepare(kernels::ActivationKind kind, const float* x, size_t cols, size_t rows);
  void MatMul(std::span<const Product> products, size_t rows);
  void RotateAndStore(size_t layer, size_t rows);
  void Attend(size_t layer);
  std::byte* ActivationsOf(kernels::ActivationKind kind) {
    return activations_[static_cast<size_t>(kind)].data();
  }
  bool cancelled() const { return cancel_ != nullptr && cancel_->load(std::memory_order_relaxed); }

  const kernels::Kernels& kernels_;
  sys::ThreadPool& pool_;
  const StageSpec spec_;
  const model::ModelConfig& config_;
  const StageWeights weights_;
  uint64_t weights_bytes_ = 0;
  float attention_scale_ = 0;
  std::vector<double> rope_frequencies_;
  std::unordered_map<SequenceId, Sequence> sequences_;

  // Of the step in progress.
  const std::atomic<bool>* cancel_ = nullptr;
  std::vector<const Sequence*> row_sequence_;
  std::vector<uint32_t> row_position_;
  std::vector<Tile> tiles_;

  // Scratch, allocated once for spec.chunk rows.
  Buffer q_, k_, v_, attention_, gate_, up_, cos_, sin_;
  std::array<Buffer, 3> activations_;  // by ActivationKind
  std::vector<Buffer> attention_scratch_;  // by worker, grown by Open
};

}  // namespace exo::backend
