// Experts of layers that do not hold theirs: those that rows go to are read when they are needed,
// and stay until others need the place; of all layers together the least recently used one goes.
// So hot experts stay in memory and cold ones are read.
//
// Thread: the stage's.
#pragma once

#include <array>
#include <atomic>
#include <optional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/weights.h"
#include "sys/thread_pool.h"

namespace exo::backend {

class ExpertCache {
 public:
  // `weights`, whose windows the experts share, and `source` outlive it, the weights at the same
  // address.
  ExpertCache(const kernels::Kernels& kernels, sys::ThreadPool& pool, const StageSpec& spec,
              StageWeights& weights);

  // Until the next call for any layer, these experts (ascending) of this layer of the stage are
  // there: reads those that are not. Nothing to do for a layer that holds its own. Errors: those of
  // the source, kCancelled; the next call tries again.
  Result<void> Acquire(size_t layer, std::span<const uint32_t> experts,
                       const std::atomic<bool>* cancel);

 private:
  static constexpr size_t kMatrices = 3;  // gate, up, down
  struct Layer {
    std::array<const model::TensorRef*, kMatrices> tensors;
    std::array<Matrices*, kMatrices> matrices;
    std::vector<std::optional<size_t>> slots;  // of each expert
  };
  struct Slot {
    size_t layer = 0;  // of layers_
    uint32_t expert = 0;
    bool taken = false;
    uint64_t used = 0;  // the call that asked for it last
  };

  // The place of an expert that is to be read: the one that was used longest ago, by no expert of
  // this call.
  size_t TakeSlot(size_t layer, uint32_t expert);
  Result<void> Read(size_t layer, std::span<const uint32_t> experts,
                    const std::atomic<bool>* cancel);
  void Pack(const Window& window, std::span<const std::byte> bytes);
  void Drop(size_t layer, uint32_t expert);

  const kernels::Kernels& kernels_;
  sys::ThreadPool& pool_;
  TensorSource& source_;
  std::byte* const memory_;
  const uint64_t slot_bytes_;
  std::vector<std::optional<size_t>> index_of_;  // of layers_, by layer of the stage
  std::vector<Layer> layers_;
  std::vector<Slot> slots_;
  uint64_t calls_ = 0;
};

}  // namespace exo::backend
