#include "backend/cpu/stage.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/units.h"
#include "kernels/elementary.h"
#include "kernels/float_mode.h"

namespace exo::backend {
namespace {

using kernels::ActivationKind;
using kernels::kPanelRows;

// Query positions of one attention item: few enough that all threads have work in a short prompt,
// many enough that a tile's keys and values are read from memory once for all of them.
constexpr uint32_t kQueryTile = 16;
// Items of a product for each thread: enough to even out unequal cores, few enough that the counter
// is free.
constexpr size_t kItemsPerThread = 8;
constexpr size_t kMaxPanelsPerItem = 64;

size_t WidestInput(const model::ModelConfig& config) {
  return std::max({config.width, config.q_width(), config.ffn_width});
}

// Floats of each scratch array for one row.
std::array<size_t, kScratches> RowFloats(const model::ModelConfig& config) {
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
  set(Scratch::kBlock, mixture || config.post_norms ? config.width : 0);
  set(Scratch::kNormed, mixture ? config.width : 0);
  set(Scratch::kRouter, experts.count);
  set(Scratch::kExpertOut, size_t{experts.used} * config.width);
  set(Scratch::kShared, experts.shared ? config.width : 0);
  set(Scratch::kSharedGate, experts.shared ? 1 : 0);
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

// A row with inf or NaN becomes all NaN, of one bit pattern: it is sent on like any other, poisons
// every logit of its request and of no other, and the sampler ends that request
// (docs/arithmetic.md, rule 4).
void PoisonRow(std::span<float> row) {
  uint32_t worst = 0;
  for (const float value : row)
    worst = std::max(worst, std::bit_cast<uint32_t>(value) & 0x7fffffff);
  if (worst >= 0x7f800000) std::fill(row.begin(), row.end(), std::bit_cast<float>(0x7fc00000u));
}

std::unexpected<Error> CancelledError() {
  return Fail(ErrorCode::kCancelled, "the step was cancelled");
}

}  // namespace

uint64_t ScratchBytes(const kernels::Kernels& kernels, const model::ModelConfig& config,
                      uint32_t chunk) {
  uint64_t bytes = 0;
  for (const size_t floats : RowFloats(config)) bytes += uint64_t{floats} * sizeof(float) * chunk;
  for (const ActivationKind kind : kAllKinds) {
    bytes += ActivationsBytes(kernels, config, kind, chunk) +
             SlotActivationsBytes(kernels, config, kind, chunk);
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
                                                     StageWeights weights) {
  std::unique_ptr<CpuStage> stage(new CpuStage(kernels, pool, spec, std::move(weights)));
  TRY(stage->AllocateScratch());
  return stage;
}

CpuStage::CpuStage(const kernels::Kernels& kernels, sys::ThreadPool& pool, const StageSpec& spec,
                   StageWeights weights)
    : kernels_(kernels),
      pool_(pool),
      spec_(spec),
      config_(*spec_.config),
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
  const auto floats = RowFloats(config_);
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
  return {};
}

Result<void> CpuStage::Open(SequenceId id, uint32_t capacity) {
  if (sequences_.contains(id)) return Fail(ErrorCode::kInvalid, "sequence {} is open already", id);
  Sequence sequence;
  sequence.capacity = static_cast<uint32_t>(RoundUp(capacity, kernels::kKvTile));
  sequence.memory = TRY(Buffer::Allocate(KvBytesPerPosition(spec_) * sequence.capacity));
  const size_t scratch =
      kernels_.AttentionScratchBytes(sequence.capacity, config_.group(), config_.head_dim);
  for (Buffer& buffer : attention_scratch_) {
    if (buffer.size() < scratch) buffer = TRY(Buffer::Allocate(scratch));
  }
  sequences_.emplace(id, std::move(sequence));
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
  return {};
}

kernels::KvHead CpuStage::Kv(const Sequence& sequence, size_t layer, size_t head) const {
  const kernels::KvType type = kernels::KvTypeFor(spec_.kv_type, config_.head_dim);
  const size_t bytes =
      sequence.capacity / kernels::kKvTile * kernels::KvTileBytes(type, config_.head_dim);
  std::byte* base = sequence.memory.data() + 2 * bytes * (layer * config_.kv_heads + head);
  return {.type = type, .head_dim = config_.head_dim, .k = base, .v = base + bytes};
}

Result<void> CpuStage::Embed(std::span<const TokenId> tokens, std::span<float> hidden) {
  CHECK(spec_.lead);
  CHECK_EQ(hidden.size(), tokens.size() * config_.width);
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || static_cast<uint32_t>(tokens[i]) >= config_.vocab) {
      return Fail(ErrorCode::kInvalid, "token {} is outside the vocabulary of {}", tokens[i],
                  config_.vocab);
    }
    const std::span<float> row = hidden.subspan(i * config_.width, config_.width);
    kernels_.UnpackRow(weights_.embedding.weights, static_cast<size_t>(tokens[i]), row.data());
    if (config_.embedding_scale == 1) continue;
    for (float& value : row) value = value * config_.embedding_scale;
  }
  return {};
}

Result<void> CpuStage::CheckSegments(std::span<const Segment> segments, size_t rows) const {
  size_t total = 0;
  for (const Segment& segment : segments) {
    const auto found = sequences_.find(segment.sequence);
    if (found == sequences_.end()) {
      return Fail(ErrorCode::kInvalid, "sequence {} is not open", segment.sequence);
    }
    const Sequence& sequence = found->second;
    if (segment.count == 0 || segment.first > sequence.length ||
        uint64_t{segment.first} + segment.count > sequence.capacity) {
      return Fail(ErrorCode::kInvalid,
                  "positions {}+{} do not continue sequence {} of {} positions and room for {}",
                  segment.first, segment.count, segment.sequence, sequence.length,
                  sequence.capacity);
    }
    total += segment.count;
  }
  if (total != rows || rows > spec_.chunk) {
    return Fail(ErrorCode::kInvalid, "a step of {} rows with segments of {} (limit {})", rows,
                total, spec_.chunk);
  }
  return {};
}

// Positions, angles and query tiles of the rows: the same for every layer.
void CpuStage::PlaceRows(std::span<const Segment> segments) {
  row_sequence_.clear();
  row_position_.clear();
  tiles_.clear();
  for (const Segment& segment : segments) {
    const Sequence& sequence = sequences_.at(segment.sequence);
    for (uint32_t i = 0; i < segment.count; i += kQueryTile) {
      tiles_.push_back({.sequence = &sequence,
                        .row = row_sequence_.size() + i,
                        .first = segment.first + i,
                        .count = std::min(kQueryTile, segment.count - i)});
    }
    for (uint32_t i = 0; i < segment.count; ++i) {
      row_sequence_.push_back(&sequence);
      row_position_.push_back(segment.first + i);
    }
  }
  const size_t half = config_.rotary_dim / 2;
  for (size_t row = 0; row < row_position_.size(); ++row) {
    kernels::RopeAngles(rope_frequencies_, row_position_[row], At(Scratch::kCos) + row * half,
                        At(Scratch::kSin) + row * half);
    if (config_.window == 0) continue;
    kernels::RopeAngles(window_rope_frequencies_, row_position_[row],
                        At(Scratch::kWindowCos) + row * half, At(Scratch::kWindowSin) + row * half);
  }
}

Result<void> CpuStage::Forward(std::span<const Segment> segments, std::span<float> hidden,
                               const std::atomic<bool>* cancel) {
  kernels::SetFloatMode();
  const size_t rows = hidden.size() / config_.width;
  CHECK_EQ(rows * config_.width, hidden.size());
  TRY(CheckSegments(segments, rows));
  cancel_ = cancel;
  PlaceRows(segments);
  for (const Segment& segment : segments) {
    sequences_.at(segment.sequence).length = segment.first + segment.count;
  }
  for (size_t layer = 0; layer < weights_.layers.size(); ++layer) {
    AttentionBlock(layer, rows, hidden.data());
    FeedForwardBlock(weights_.layers[layer], rows, hidden.data());
    if (cancelled()) return CancelledError();
  }
  for (size_t row = 0; row < rows; ++row)
    PoisonRow(hidden.subspan(row * config_.width, config_.width));
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

Result<void> CpuStage::Logits(std::span<const float> hidden, std::span<float> logits,
                              const std::atomic<bool>* cancel) {
  CHECK(spec_.lead);
  kernels::SetFloatMode();
  const size_t rows = hidden.size() / config_.width;
  CHECK_EQ(logits.size(), rows * config_.vocab);
  cancel_ = cancel;
  for (size_t first = 0; first < rows; first += spec_.chunk) {
    const size_t count = std::min<size_t>(spec_.chunk, rows - first);
    const std::array product = {
        Of(weights_.output_matrix(), count, logits.data() + first * config_.vocab)};
    NormPrepare(product, hidden.data() + first * config_.width, weights_.output_norm, count);
    MatMul(product);
  }
  if (cancelled()) return CancelledError();
  return {};
}

}  // namespace exo::backend
