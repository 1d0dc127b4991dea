#include "backend/cpu/expert_cache.h"

#include <algorithm>

#include "base/check.h"
#include "base/units.h"

namespace exo::backend {
namespace {

// Bytes that one item of the pool packs.
constexpr uint64_t kItemBytes = 256u << 10;

}  // namespace

ExpertCache::ExpertCache(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                         const StageSpec& spec, StageWeights& weights)
    : kernels_(kernels),
      pool_(pool),
      source_(*spec.streamed.source),
      memory_(weights.windows.data()),
      slot_bytes_(weights.window_bytes / spec.config->experts.count) {
  index_of_.resize(weights.layers.size());
  slots_.resize(weights.windows.size() / slot_bytes_);
  CHECK_GE(slots_.size(), spec.config->experts.count);  // a layer may need all of its own at once
  for (const uint32_t layer : spec.streamed.layers) {
    const model::LayerTensors& tensors = spec.tensors->layers[layer];
    LayerWeights& own = weights.layers[layer - spec.layer_begin];
    index_of_[layer - spec.layer_begin] = layers_.size();
    layers_.push_back({.tensors = {&*tensors.gate_exps, &*tensors.up_exps, &*tensors.down_exps},
                       .matrices = {&own.gate_exps, &own.up_exps, &own.down_exps},
                       .slots = {}});
    layers_.back().slots.resize(spec.config->experts.count);
  }
}

Result<void> ExpertCache::Acquire(size_t layer, std::span<const uint32_t> experts,
                                  const std::atomic<bool>* cancel) {
  const auto index = index_of_[layer];
  if (!index) return {};
  ++calls_;
  std::vector<uint32_t> missing;
  for (const uint32_t expert : experts) {
    if (const auto slot = layers_[*index].slots[expert]) {
      slots_[*slot].used = calls_;
    } else {
      missing.push_back(expert);
    }
  }
  if (missing.empty()) return {};
  auto read = Read(*index, missing, cancel);
  if (!read) {
    for (const uint32_t expert : missing) Drop(*index, expert);
  }
  return read;
}

size_t ExpertCache::TakeSlot(size_t layer, uint32_t expert) {
  const auto slot = std::ranges::min_element(slots_, {}, &Slot::used);
  CHECK_LT(slot->used, calls_);
  if (slot->taken) Drop(slot->layer, slot->expert);
  *slot = {.layer = layer, .expert = expert, .taken = true, .used = calls_};
  const auto at = static_cast<size_t>(slot - slots_.begin());
  layers_[layer].slots[expert] = at;
  return at;
}

void ExpertCache::Drop(size_t layer, uint32_t expert) {
  std::optional<size_t>& slot = layers_[layer].slots[expert];
  if (!slot) return;
  slots_[*slot] = {};
  slot.reset();
}

Result<void> ExpertCache::Read(size_t layer, std::span<const uint32_t> experts,
                               const std::atomic<bool>* cancel) {
  const Layer& own = layers_[layer];
  std::vector<Window> windows;
  for (const uint32_t expert : experts) {
    std::byte* to = memory_ + TakeSlot(layer, expert) * slot_bytes_;
    for (size_t i = 0; i < kMatrices; ++i) {
      kernels::Weights& matrix = own.matrices[i]->weights[expert];
      matrix.data = to;
      PlanMatrix(kernels_, *own.tensors[i], expert, to, windows);
      to += RoundUp(kernels_.PackedBytes(matrix.type, matrix.rows, matrix.cols), kMatrixAlignment);
    }
  }
  WindowReader reader(source_, [&, at = size_t{0}]() mutable {
    return at < windows.size() ? &windows[at++] : nullptr;
  });
  for (const Window& window : windows) {
    const auto bytes = reader.Next(cancel);
    if (!bytes) return std::unexpected(bytes.error());
    Pack(window, *bytes);
    source_.Done(*window.tensor, window.offset(bytes->size() / window.rows()), bytes->size());
  }
  return {};
}

// A job of the pool, which has nothing else to do for this stage.
void ExpertCache::Pack(const Window& window, std::span<const std::byte> bytes) {
  const size_t per_item =
      std::max<size_t>(1, kItemBytes * window.count / std::max<size_t>(1, bytes.size()));
  pool_.Run(static_cast<uint32_t>((window.count + per_item - 1) / per_item),
            [&](uint32_t item, unsigned) {
              const size_t first = item * per_item;
              PackPanels(kernels_, window, bytes, first, std::min(per_item, window.count - first));
            });
}

}  // namespace exo::backend
