// Low-rank adapters (LoRA) in llama.cpp's GGUF format: general.type = adapter, adapter.type = lora,
// adapter.lora.alpha, and for each adapted matrix X of the base model the tensors X.lora_a [rank,
// cols of X] and X.lora_b [rows of X, rank]. What they compute: docs/arithmetic.md, rule 14.
//
// Two steps, since the base model need not be at hand: ReadAdapter checks a file by itself,
// FindAdapter fits it to a model.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tensors.h"

namespace exo::model {

// No published adapter comes near; a product of that rank costs as much as the matrix itself.
inline constexpr uint64_t kMaxAdapterRank = 4096;

// The matrices of a layer that an adapter may change.
enum class AdapterTarget : uint8_t { kQ, kK, kV, kOutput, kGate, kUp, kDown };
inline constexpr size_t kAdapterTargets = 7;

// One adapted matrix: a [rank, cols], b [rows, rank].
struct AdapterPair {
  TensorRef a, b;
  uint32_t rank() const { return static_cast<uint32_t>(a.rows); }
};

struct AdapterLayer {
  std::array<std::optional<AdapterPair>, kAdapterTargets> pairs;
  const std::optional<AdapterPair>& Of(AdapterTarget target) const {
    return pairs[static_cast<size_t>(target)];
  }
};

// An adapter of one model, shapes checked against it.
struct AdapterTensors {
  float alpha = 0;  // 0: the scale of a request is taken as it is
  uint32_t max_rank = 0;
  std::vector<AdapterLayer> layers;

  // What multiplies A x of a pair: (scale * alpha) / rank.
  float ScaleOf(float scale, uint32_t rank) const {
    if (alpha == 0) return scale;
    const float scaled = scale * alpha;
    return scaled / static_cast<float>(rank);
  }
};

// What an adapter's file says without its base model.
struct AdapterConfig {
  std::string architecture;  // of the base model
  std::string name;          // general.name, may be empty
  float alpha = 0;
};

// Whether the file says that it is an adapter and no model.
bool IsAdapter(const Gguf& gguf);

// Errors: kUnsupported (another kind of adapter, a tensor type), kCorrupt (no finite alpha, a
// tensor that is no X.lora_a or X.lora_b, one without the other, ranks that differ); names and
// values.
Result<AdapterConfig> ReadAdapter(const Gguf& gguf);

// Errors: those of ReadAdapter; kInvalid (another architecture), kCorrupt (a shape that is not the
// base model's, with both), kUnsupported (a matrix that cannot be adapted, named).
Result<AdapterTensors> FindAdapter(const Gguf& gguf, const ModelConfig& config,
                                   const ModelTensors& tensors);

}  // namespace exo::model
