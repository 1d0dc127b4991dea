#include "backend/cpu/stage.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/units.h"
#include "kernels/elementary.h"

namespace exo::backend {
namespace {

using kernels::ActivationKind;

// Items of a product for each thread: enough to even out unequal cores, few enough that the counter
// is free.
constexpr size_t kItemsPerThread = 8;
constexpr size_t kMaxPanelsPerItem = 64;
// Attention scratch grows by this many positions at a time.
constexpr size_t kScratchPositions = 4096;

size_t WidestInput(const model::ModelConfig& config) {
  return std::max({config.width, config.q_width(), config.ffn_width});
}

// Floats of each scratch array for one row.
std::array<size_t, kScratches> RowFloats(const model::ModelConfig& config, bool sharded) {
  const model::ExpertConfig& experts = config.experts;
  const bool mixture = experts.count != 0;
  std::array<size_t, kScratches> floats{};
  const auto set = [&](Scratch scratch, size_t n) { floats[static_cast<size_t>(scratch)] = n; };
  for (const Scratch s : {Scratch::kQ, Scratch::kAttention}) set(s, config.q_width());
  for (const Scratch s : {Scratch::kK, Scratch::kV}) set(s, config.kv_width());
  for (const Scratch s : {Scratch::kCos, Scratch::kSin}) set(s, config.rotary_dim / 2);
  for (const Scratch s : {Scratch::kWindowCos, Scratch::kWindowSin}) {
    set(s, config.window != 0 ? config.rotary_dim / 2 : 0);
  }
  for (const Scratch s : {Scratch::kGate, Scratch::kUp}) {
    set(s, std::max<size_t>(config.ffn_width, size_t{experts.used} * experts.width));
  }
  set(Scratch::kBlock, mixture || sharded || config.post_norms ? config.width : 0);
  set(Scratch::kNormed, mixture ? config.width : 0);
  set(Scratch::kRouter, experts.count);
  set(Scratch::kExpertOut, size_t{experts.used} * config.width);
  set(Scratch::kShared, experts.shared ? config.width : 0);
  set(Scratch::kSharedGate, experts.shared ? 1 : 0);
  for (const Scratch s : {Scratch::kHidden, Scratch::kOutput}) set(s, config.width);
  return floats;
}

// Bytes of the activations of `chunk` rows, and of those of their slots, each slot counted by
// itself.
uint64_t ActivationsBytes(const kernels::Kernels& kernels, const model::ModelConfig& config,
                          ActivationKind kind, uint32_t chunk) {
  return kernels.ActivationBytes(kind, chunk, RoundUp(WidestInput(config), 128));
}
uint64_t SlotActivationsBytes(const kernels::Kernels& kernels, const model::ModelConfig& config,
                              ActivationKind kind, uint32_t chunk) {
  const size_t widest = std::max(config.width, config.experts.width);
  return uint64_t{chunk} * config.experts.used *
         kernels.ActivationBytes(kind, 1, RoundUp(widest, 128));
}

uint64_t PartialsBytes(const StageSpec& spec, size_t parts) {
  return uint64_t{parts} * spec.chunk * spec.config->width * sizeof(float);
}

uint64_t LogitsBytes(const StageSpec& spec) {
  return spec.lead ? kLogitRows * spec.config->vocab * sizeof(float) : 0;
}

}  // namespace

uint64_t ScratchBytes(const kernels::Kernels& kernels, const StageSpec& spec, size_t parts) {
  const model::ModelConfig& config = *spec.config;
  uint64_t bytes = LogitsBytes(spec) + PartialsBytes(spec, parts);
  for (const size_t floats : RowFloats(config, parts != 0))
    bytes += uint64_t{floats} * sizeof(float) * spec.chunk;
  for (const ActivationKind kind : kAllKinds) {
    bytes += ActivationsBytes(kernels, config, kind, spec.chunk) +
             SlotActivationsBytes(kernels, config, kind, spec.chunk);
  }
  return bytes;
}

uint64_t KvBytesPerPosition(const StageSpec& spec) {
  const size_t head_dim = spec.config->head_dim;
  const uint64_t tile = kernels::KvTileBytes(kernels::KvTypeFor(spec.kv_type, head_dim), head_dim);
  return 2 * uint64_t{spec.layer_end - spec.layer_begin} * spec.config->kv_heads * tile /
         kernels::kKvTile;
}

Result<std::unique_ptr<StageCompute>> CpuStage::Make(const kernels::Kernels& kernels,
                                                     sys::ThreadPool& pool, const StageSpec& spec,
                                                     const ShardSums& sums, StageWeights weights) {
  std::unique_ptr<CpuStage> stage(new CpuStage(kernels, pool, spec, sums, std::move(weights)));
  TRY(stage->AllocateScratch());
  return stage;
}

CpuStage::CpuStage(const kernels::Kernels& kernels, sys::ThreadPool& pool, const StageSpec& spec,
                   const ShardSums& sums, StageWeights weights)
    : kernels_(kernels),
      pool_(pool),
      spec_(spec),
      config_(*spec_.config),
      sums_(sums),
      weights_(std::move(weights)) {
  weights_bytes_ = WeightBytes(kernels, spec_);
  attention_scale_ = config_.attention_scale != 0
                         ? config_.attention_scale
                         : 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
  rope_frequencies_ = kernels::RopeFrequencies(
      config_.rotary_dim, config_.rope_base, config_.rope_scale,
      weights_.rope_factors.empty() ? nullptr : weights_.rope_factors.data());
  if (config_.window != 0) {
    window_rope_frequencies_ =
        kernels::RopeFrequencies(config_.rotary_dim, config_.window_rope_base, 1.0, nullptr);
  }
  attention_scratch_.resize(pool.threads());
}

Result<void> CpuStage::AllocateScratch() {
  const auto floats = RowFloats(config_, sharded());
  for (size_t i = 0; i < kScratches; ++i) {
    scratch_[i] = TRY(Buffer::Allocate(floats[i] * spec_.chunk * sizeof(float)));
  }
  for (const ActivationKind kind : kAllKinds) {
    const auto at = static_cast<size_t>(kind);
    activations_[at] =
        TRY(Buffer::Allocate(ActivationsBytes(kernels_, config_, kind, spec_.chunk)));
    slot_activations_[at] =
        TRY(Buffer::Allocate(SlotActivationsBytes(kernels_, config_, kind, spec_.chunk)));
  }
  partials_ = TRY(Buffer::Allocate(PartialsBytes(spec_, sums_.max_parts)));
  logits_ = TRY(Buffer::Allocate(LogitsBytes(spec_)));
  return {};
}

Result<void> CpuStage::Open(SequenceId id, uint32_t capacity) {
  if (sequences_.contains(id)) return Fail(ErrorCode::kInvalid, "sequence {} is open already", id);
  const KvLayout layout = {.type = kernels::KvTypeFor(spec_.kv_type, config_.head_dim),
                           .head_dim = config_.head_dim,
                           .layers = weights_.layers.size(),
                           .heads = config_.kv_heads};
  sequences_.emplace(id, Sequence{.capacity = capacity, .kv = KvPages(layout)});
  return {};
}

Result<void> CpuStage::Reserve(std::span<const Segment> segments) {
  if (segments.empty()) return {};
  uint32_t longest = 0;
  for (const Segment& segment : segments) {
    const uint32_t end = segment.first + segment.count;
    TRY(sequences_.at(segment.sequence).kv.Reserve(segment.first, end));
    longest = std::max(longest, end);
  }
  // In steps, so that a growing sequence seldom asks for another buffer.
  const size_t scratch = kernels_.AttentionScratchBytes(RoundUp(longest, kScratchPositions),
                                                        config_.group(), config_.head_dim);
  for (Buffer& buffer : attention_scratch_) {
    if (buffer.size() < scratch) buffer = TRY(Buffer::Allocate(scratch));
  }
  return {};
}

Result<void> CpuStage::Fork(SequenceId from, uint32_t length, SequenceId id, uint32_t capacity) {
  const auto found = sequences_.find(from);
  if (found == sequences_.end()) return Fail(ErrorCode::kInvalid, "sequence {} is not open", from);
  if (length > found->second.defined || length > capacity) {
    return Fail(ErrorCode::kInvalid,
                "sequence {} with {} positions computed cannot give {} to one with room for {}",
                from, found->second.defined, length, capacity);
  }
  TRY(Open(id, capacity));
  const Sequence& source = sequences_.at(from);  // Open may have moved the table
  Sequence& copy = sequences_.at(id);
  copy.kv = source.kv.Share(length);
  copy.length = copy.defined = length;
  return {};
}

void CpuStage::Close(SequenceId id) {
  sequences_.erase(id);
}

Result<void> CpuStage::Truncate(SequenceId id, uint32_t length) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return Fail(ErrorCode::kInvalid, "sequence {} is not open", id);
  if (length > found->second.length) {
    return Fail(ErrorCode::kInvalid, "sequence {} holds {} positions, it cannot be cut to {}", id,
                found->second.length, length);
  }
  found->second.length = length;
  found->second.defined = std::min(found->second.defined, length);
  found->second.kv.Truncate(length);
  return {};
}

void CpuStage::ForRows(size_t rows, size_t cost,
                       const std::function<void(size_t first, size_t count)>& work) {
  if (rows * cost < kSerialValues || pool_.threads() == 1) {
    work(0, rows);
    return;
  }
  const size_t per_item = std::max<size_t>(1, rows / (pool_.threads() * kItemsPerThread));
  pool_.Run(
      static_cast<uint32_t>((rows + per_item - 1) / per_item),
      [&](uint32_t item, unsigned) {
        const size_t first = item * per_item;
        work(first, std::min(per_item, rows - first));
      },
      cancel_);
}

void CpuStage::NormPrepare(std::span<const Product> products, const float* x, const Vector& gain,
                           size_t rows) {
  std::array<bool, kAllKinds.size()> wanted{};
  for (const Product& product : products) {
    wanted[static_cast<size_t>(product.x.kind)] = true;
  }
  const size_t cols = gain.size();
  ForRows(rows, cols, [&](size_t first, size_t count) {
    for (const ActivationKind kind : kAllKinds) {
      if (!wanted[static_cast<size_t>(kind)]) continue;
      kernels_.NormPrepare(kind, x, cols, gain.data(), config_.norm_eps, rows, cols, first, count,
                           ActivationsOf(kind));
    }
  });
}

void CpuStage::Prepare(ActivationKind kind, const float* x, size_t cols, size_t rows) {
  ForRows(rows, cols, [&](size_t first, size_t count) {
    kernels_.Prepare(kind, x, cols, rows, cols, first, count, ActivationsOf(kind));
  });
}

CpuStage::Product CpuStage::Of(const kernels::Weights& weights, size_t rows, float* out,
                               bool add) const {
  const ActivationKind kind = kernels::KindFor(weights.type);
  return {.weights = &weights,
          .x = {.kind = kind, .tokens = rows, .cols = weights.cols, .data = ActivationsOf(kind)},
          .out = out,
          .add = add};
}

void CpuStage::MatMul(std::span<const Product> products) {
  size_t panels = 0;
  for (const Product& product : products) panels += product.weights->panels();
  // Even: long prompts take panels in pairs.
  const size_t per_item = RoundUp(
      std::clamp<size_t>(panels / (pool_.threads() * kItemsPerThread), 1, kMaxPanelsPerItem), 2);
  const auto work = [&](uint32_t item, unsigned) {
    size_t begin = item * per_item;
    const size_t end = std::min(begin + per_item, panels);
    size_t base = 0;
    for (const Product& product : products) {
      const size_t own = product.weights->panels();
      const size_t first = std::max(begin, base);
      const size_t last = std::min(end, base + own);
      if (first < last) {
        kernels_.MatMul(*product.weights, product.x, first - base, last - first, product.out,
                        product.weights->rows, product.add);
      }
      base += own;
    }
  };
  pool_.Run(static_cast<uint32_t>((panels + per_item - 1) / per_item), work, cancel_);
}

void CpuStage::AddBlock(const Vector& gain, size_t rows, float* hidden) {
  const size_t width = config_.width;
  ForRows(rows, width, [&](size_t first, size_t count) {
    for (size_t row = first; row < first + count; ++row) {
      float* block = At(Scratch::kBlock) + row * width;
      if (!gain.empty()) kernels_.RmsNorm(block, gain.data(), config_.norm_eps, width, block);
      kernels_.Add(hidden + row * width, block, width, hidden + row * width);
    }
  });
}

}  // namespace exo::backend
