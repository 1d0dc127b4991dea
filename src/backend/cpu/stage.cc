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

// Query positions of one attention item: few enough that all threads have work in a short prompt, many
// enough that a tile's keys and values are read from memory once for all of them.
constexpr uint32_t kQueryTile = 16;
// A row operation below this many values runs on the calling thread: waking others costs more (~5 us).
constexpr size_t kSerialValues = 1 << 15;
// Items of a product for each thread: enough to even out unequal cores, few enough that the counter is free.
constexpr size_t kItemsPerThread = 8;
constexpr size_t kMaxPanelsPerItem = 64;

constexpr std::array kAllKinds = {ActivationKind::kFloat, ActivationKind::kQ8x32, ActivationKind::kQ8x128};

size_t KvValueBytes(kernels::KvType type) { return type == kernels::KvType::kF16 ? 2 : 4; }

size_t WidestInput(const model::ModelConfig& config) {
  return std::max({config.width, config.q_width(), config.ffn_width});
}

kernels::RopeStyle KernelStyle(model::RopeStyle style) {
  return style == model::RopeStyle::kInterleaved ? kernels::RopeStyle::kInterleaved
                                                 : kernels::RopeStyle::kHalves;
}

// A row with inf or NaN becomes all NaN, of one bit pattern: it is sent on like any other, poisons every logit
// of its request and of no other, and the sampler ends that request (docs/arithmetic.md, rule 4).
void PoisonRow(std::span<float> row) {
  uint32_t worst = 0;
  for (const float value : row) worst = std::max(worst, std::bit_cast<uint32_t>(value) & 0x7fffffff);
  if (worst >= 0x7f800000) std::fill(row.begin(), row.end(), std::bit_cast<float>(0x7fc00000u));
}

std::unexpected<Error> CancelledError() { return Fail(ErrorCode::kCancelled, "the step was cancelled"); }

}  // namespace

uint64_t ScratchBytes(const kernels::Kernels& kernels, const model::ModelConfig& config, uint32_t chunk) {
  uint64_t floats = 2ull * config.q_width() + 2ull * config.kv_width() + 2ull * config.ffn_width +
                    config.rotary_dim;
  uint64_t bytes = floats * sizeof(float) * chunk;
  for (const ActivationKind kind : kAllKinds) {
    bytes += kernels.ActivationBytes(kind, chunk, RoundUp(WidestInput(config), 128));
  }
  return bytes;
}

uint64_t KvBytesPerPosition(const StageSpec& spec) {
  return 2ull * (spec.layer_end - spec.layer_begin) * spec.config->kv_width() * KvValueBytes(spec.kv_type);
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
    : kernels_(kernels), pool_(pool), spec_(spec), config_(*spec_.config), weights_(std::move(weights)) {
  weights_bytes_ = WeightBytes(kernels, spec_);
  attention_scale_ = config_.attention_scale != 0
                         ? config_.attention_scale
                         : 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
  rope_frequencies_ =
      kernels::RopeFrequencies(config_.rotary_dim, config_.rope_base, config_.rope_scale,
                               weights_.rope_factors.empty() ? nullptr : weights_.rope_factors.data());
  attention_scratch_.resize(pool.threads());
}

Result<void> CpuStage::AllocateScratch() {
  const auto rows = [&](size_t width) { return Buffer::Allocate(width * spec_.chunk * sizeof(float)); };
  q_ = TRY(rows(config_.q_width()));
  attention_ = TRY(rows(config_.q_width()));
  k_ = TRY(rows(config_.kv_width()));
  v_ = TRY(rows(config_.kv_width()));
  gate_ = TRY(rows(config_.ffn_width));
  up_ = TRY(rows(config_.ffn_width));
  cos_ = TRY(rows(config_.rotary_dim / 2));
  sin_ = TRY(rows(config_.rotary_dim / 2));
  for (const ActivationKind kind : kAllKinds) {
    activations_[static_cast<size_t>(kind)] = TRY(Buffer::Allocate(
        kernels_.ActivationBytes(kind, spec_.chunk, RoundUp(WidestInput(config_), 128))));
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

void CpuStage::Close(SequenceId id) { sequences_.erase(id); }

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
  const size_t bytes = sequence.capacity * config_.head_dim * KvValueBytes(spec_.kv_type);
  std::byte* base = sequence.memory.data() + 2 * bytes * (layer * config_.kv_heads + head);
  return {.type = spec_.kv_type, .head_dim = config_.head_dim, .k = base, .v = base + bytes};
}

Result<void> CpuStage::Embed(std::span<const TokenId> tokens, std::span<float> hidden) {
  CHECK(spec_.head);
  CHECK_EQ(hidden.size(), tokens.size() * config_.width);
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || static_cast<uint32_t>(tokens[i]) >= config_.vocab) {
      return Fail(ErrorCode::kInvalid, "token {} is outside the vocabulary of {}", tokens[i], config_.vocab);
    }
    kernels_.UnpackRow(weights_.embedding.weights, static_cast<size_t>(tokens[i]),
                       hidden.data() + i * config_.width);
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
                  segment.first, segment.count, segment.sequence, sequence.length, sequence.capacity);
    }
    total += segment.count;
  }
  if (total != rows || rows > spec_.chunk) {
    return Fail(ErrorCode::kInvalid, "a step of {} rows with segments of {} (limit {})", rows, total,
                spec_.chunk);
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
    kernels::RopeAngles(rope_frequencies_, row_position_[row], cos_.As<float>().data() + row * half,
                        sin_.As<float>().data() + row * half);
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
    TRY(RunLayer(layer, rows, hidden.data()));
  }
  for (size_t row = 0; row < rows; ++row) PoisonRow(hidden.subspan(row * config_.width, config_.width));
  return {};
}

Result<void> CpuStage::RunLayer(size_t index, size_t rows, float* hidden) {
  const LayerWeights& layer = weights_.layers[index];
  float* q = q_.As<float>().data();
  float* attention = attention_.As<float>().data();
  float* gate = gate_.As<float>().data();
  const float* up = up_.As<float>().data();
  const size_t width = config_.width;

  const std::array<Product, 3> qkv = {{{&layer.q.weights, q, config_.q_width(), false},
                                       {&layer.k.weights, k_.As<float>().data(), config_.kv_width(), false},
                                       {&layer.v.weights, v_.As<float>().data(), config_.kv_width(), false}}};
  NormPrepare(qkv, hidden, layer.attn_norm, rows);
  MatMul(qkv, rows);
  RotateAndStore(index, rows);
  Attend(index);
  const std::array<Product, 1> output = {{{&layer.o.weights, hidden, width, true}}};
  Prepare(kernels::KindFor(layer.o.weights.type), attention, config_.q_width(), rows);
  MatMul(output, rows);

  const size_t ffn = config_.ffn_width;
  const std::array<Product, 2> gate_up = {
      {{&layer.gate.weights, gate, ffn, false}, {&layer.up.weights, up_.As<float>().data(), ffn, false}}};
  NormPrepare(gate_up, hidden, layer.ffn_norm, rows);
  MatMul(gate_up, rows);
  const ActivationKind kind = kernels::KindFor(layer.down.weights.type);
  ForRows(rows, ffn, [&](size_t first, size_t count) {
    kernels_.SiluMul(gate + first * ffn, up + first * ffn, count * ffn, gate + first * ffn);
    kernels_.Prepare(kind, gate, ffn, rows, ffn, first, count, ActivationsOf(kind));
  });
  const std::array<Product, 1> down = {{{&layer.down.weights, hidden, width, true}}};
  MatMul(down, rows);
  if (cancelled()) return CancelledError();
  return {};
}

void CpuStage::ForRows(size_t rows, size_t cost,
                       const std::function<void(size_t first, size_t count)>& work) {
  if (rows * cost < kSerialValues || pool_.threads() == 1) {
    work(0, rows);
    return;
  }
  const size_t per_item = std::max<size_t>(1, rows / (pool_.threads() * kItemsPerThread));
  pool_.Run(static_cast<uint32_t>((rows + per_item - 1) / per_item), [&](uint32_t item, unsigned) {
    const size_t first = item * per_item;
    work(first, std::min(per_item, rows - first));
  }, cancel_);
}

void CpuStage::NormPrepare(std::span<const Product> products, const float* x, const Vector& gain,
                           size_t rows) {
  std::array<bool, kAllKinds.size()> wanted{};
  for (const Product& product : products) {
    wanted[static_cast<size_t>(kernels::KindFor(product.weights->type))] = true;
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

void CpuStage::MatMul(std::span<const Product> products, size_t rows) {
  size_t panels = 0;
  for (const Product& product : products) panels += product.weights->panels();
  const size_t per_item =
      std::clamp<size_t>(panels / (pool_.threads() * kItemsPerThread), 1, kMaxPanelsPerItem);
  const auto work = [&](uint32_t item, unsigned) {
    size_t begin = item * per_item;
    const size_t end = std::min(begin + per_item, panels);
    size_t base = 0;
    for (const Product& product : products) {
      const size_t own = product.weights->panels();
      const size_t first = std::max(begin, base);
      const size_t last = std::min(end, base + own);
      if (first < last) {
        const ActivationKind kind = kernels::KindFor(product.weights->type);
        const kernels::Activations x = {
            .kind = kind, .tokens = rows, .cols = product.weights->cols, .data = ActivationsOf(kind)};
        kernels_.MatMul(*product.weights, x, first - base, last - first, product.out, product.stride,
                        product.add);
      }
      base += own;
    }
  };
  pool_.Run(static_cast<uint32_t>((panels + per_item - 1) / per_item), work, cancel_);
}

void CpuStage::RotateAndStore(size_t layer, size_t rows) {
  const LayerWeights& weights = weights_.layers[layer];
  const size_t head_dim = config_.head_dim;
  const size_t half = config_.rotary_dim / 2;
  const kernels::RopeStyle style = KernelStyle(config_.rope_style);
  const auto one = [&](size_t row) {
    float* q = q_.As<float>().data() + row * config_.q_width();
    float* k = k_.As<float>().data() + row * config_.kv_width();
    float* v = v_.As<float>().data() + row * config_.kv_width();
    if (!weights.q_bias.empty()) kernels_.Add(q, weights.q_bias.data(), config_.q_width(), q);
    if (!weights.k_bias.empty()) kernels_.Add(k, weights.k_bias.data(), config_.kv_width(), k);
    if (!weights.v_bias.empty()) kernels_.Add(v, weights.v_bias.data(), config_.kv_width(), v);
    if (!weights.q_norm.empty()) {
      for (size_t head = 0; head < config_.heads; ++head) {
        kernels_.RmsNorm(q + head * head_dim, weights.q_norm.data(), config_.norm_eps, head_dim,
                         q + head * head_dim);
      }
    }
    if (!weights.k_norm.empty()) {
      for (size_t head = 0; head < config_.kv_heads; ++head) {
        kernels_.RmsNorm(k + head * head_dim, weights.k_norm.data(), config_.norm_eps, head_dim,
                         k + head * head_dim);
      }
    }
    const float* cos = cos_.As<float>().data() + row * half;
    const float* sin = sin_.As<float>().data() + row * half;
    kernels_.Rope(style, cos, sin, config_.heads, head_dim, config_.rotary_dim, q);
    kernels_.Rope(style, cos, sin, config_.kv_heads, head_dim, config_.rotary_dim, k);
    for (size_t head = 0; head < config_.kv_heads; ++head) {
      kernels_.StoreKv(Kv(*row_sequence_[row], layer, head), row_position_[row], k + head * head_dim,
                       v + head * head_dim);
    }
  };
  ForRows(rows, config_.q_width() + 2 * config_.kv_width(), [&](size_t first, size_t count) {
    for (size_t row = first; row < first + count; ++row) one(row);
  });
}

void CpuStage::Attend(size_t layer) {
  const size_t group_width = config_.group() * config_.head_dim;
  const auto items = static_cast<uint32_t>(tiles_.size() * config_.kv_heads);
  const auto work = [&](uint32_t item, unsigned worker) {
    const Tile& tile = tiles_[item / config_.kv_heads];
    const size_t head = item % config_.kv_heads;
    const size_t at = tile.row * config_.q_width() + head * group_width;
    const kernels::AttentionSpan span = {
        .first = tile.first, .tokens = tile.count, .group = config_.group(), .scale = attention_scale_};
    kernels_.Attention(Kv(*tile.sequence, layer, head), span, q_.As<float>().data() + at,
                       config_.q_width(), attention_scratch_[worker].data(),
                       attention_.As<float>().data() + at, config_.q_width());
  };
  uint64_t values = 0;
  for (const Tile& tile : tiles_) values += uint64_t{tile.count} * (tile.first + tile.count);
  if (values * config_.q_width() < 8 * kSerialValues) {
    for (uint32_t item = 0; item < items; ++item) work(item, 0);
  } else {
    pool_.Run(items, work, cancel_);
  }
}

Result<void> CpuStage::Logits(std::span<const float> hidden, std::span<float> logits,
                              const std::atomic<bool>* cancel) {
  CHECK(spec_.head);
  kernels::SetFloatMode();
  const size_t rows = hidden.size() / config_.width;
  CHECK_EQ(logits.size(), rows * config_.vocab);
  cancel_ = cancel;
  for (size_t first = 0; first < rows; first += spec_.chunk) {
    const size_t count = std::min<size_t>(spec_.chunk, rows - first);
    const std::array<Product, 1> product = {
        {{&weights_.output_matrix(), logits.data() + first * config_.vocab, config_.vocab, false}}};
    NormPrepare(product, hidden.data() + first * config_.width, weights_.output_norm, count);
    MatMul(product, count);
  }
  if (cancelled()) return CancelledError();
  return {};
}

}  // namespace exo::backend
