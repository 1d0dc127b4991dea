// The attention block of a layer: norm, q k v, biases, norms of heads, rotation, cache, attention,
// output.
#include <algorithm>

#include "backend/cpu/stage.h"

namespace exo::backend {
namespace {

kernels::RopeStyle KernelStyle(model::RopeStyle style) {
  return style == model::RopeStyle::kInterleaved ? kernels::RopeStyle::kInterleaved
                                                 : kernels::RopeStyle::kHalves;
}

// RMSNorm of each head; nothing without a gain.
void NormHeads(const kernels::Kernels& kernels, const Vector& gain,
               const model::ModelConfig& config, size_t heads, float* x) {
  if (gain.empty()) return;
  for (size_t head = 0; head < heads; ++head, x += config.head_dim) {
    kernels.RmsNorm(x, gain.data(), config.norm_eps, config.head_dim, x);
  }
}

}  // namespace

Result<void> CpuStage::AttentionBlock(size_t index, size_t rows, float* hidden) {
  const LayerWeights& layer = weights_.layers[index];
  const std::array qkv = {Of(layer.q, rows, At(Scratch::kQ)), Of(layer.k, rows, At(Scratch::kK)),
                          Of(layer.v, rows, At(Scratch::kV))};
  NormPrepare(qkv, hidden, layer.attn_norm, rows);
  MatMul(qkv);
  AddAdapters(layer,
              std::array{Adapted{model::AdapterTarget::kQ, At(Scratch::kQ)},
                         Adapted{model::AdapterTarget::kK, At(Scratch::kK)},
                         Adapted{model::AdapterTarget::kV, At(Scratch::kV)}},
              {.rows = hidden, .gain = &layer.attn_norm});
  RotateAndStore(index, rows);
  Attend(index);
  const float* attention = At(Scratch::kAttention);
  if (sharded()) {
    constexpr auto kTarget = model::AdapterTarget::kOutput;
    const auto low =
        TRY(SumParts(layer, kTarget, attention, config_.q_width(), rows, At(Scratch::kBlock)));
    AddSplitBlock(layer, kTarget, low, rows, hidden);
    return {};
  }
  Prepare(kernels::KindFor(layer.o.weights.type), attention, config_.q_width(), rows);
  const bool apart = !layer.post_attn_norm.empty() || !layer.o_bias.empty();
  float* out = apart ? At(Scratch::kBlock) : hidden;
  MatMul(std::array{Of(layer.o, rows, out, /*add=*/!apart)});
  AddAdapters(layer, std::array{Adapted{model::AdapterTarget::kOutput, out}}, {attention});
  if (apart) {
    AddBias(layer.o_bias, rows);
    AddBlock(layer.post_attn_norm, rows, hidden);
  }
  return {};
}

void CpuStage::RotateAndStore(size_t layer, size_t rows) {
  const LayerWeights& weights = weights_.layers[layer];
  const size_t head_dim = config_.head_dim;
  const size_t half = config_.rotary_dim / 2;
  const bool window = WindowOf(layer) != 0;
  const kernels::RopeStyle style = KernelStyle(config_.rope_style);
  const auto one = [&](size_t row) {
    float* q = At(Scratch::kQ) + row * config_.q_width();
    float* k = At(Scratch::kK) + row * config_.kv_width();
    float* v = At(Scratch::kV) + row * config_.kv_width();
    if (!weights.q_bias.empty()) kernels_.Add(q, weights.q_bias.data(), config_.q_width(), q);
    if (!weights.k_bias.empty()) kernels_.Add(k, weights.k_bias.data(), config_.kv_width(), k);
    if (!weights.v_bias.empty()) kernels_.Add(v, weights.v_bias.data(), config_.kv_width(), v);
    NormHeads(kernels_, weights.q_norm, config_, config_.heads, q);
    NormHeads(kernels_, weights.k_norm, config_, config_.kv_heads, k);
    const float* cos = At(window ? Scratch::kWindowCos : Scratch::kCos) + row * half;
    const float* sin = At(window ? Scratch::kWindowSin : Scratch::kSin) + row * half;
    kernels_.Rope(style, cos, sin, config_.heads, head_dim, config_.rotary_dim, q);
    kernels_.Rope(style, cos, sin, config_.kv_heads, head_dim, config_.rotary_dim, k);
    for (size_t head = 0; head < config_.kv_heads; ++head) {
      kernels_.StoreKv(KvOf(*row_sequence_[row], layer, head), row_position_[row],
                       k + head * head_dim, v + head * head_dim);
    }
  };
  ForRows(rows, config_.q_width() + 2 * config_.kv_width(), [&](size_t first, size_t count) {
    for (size_t row = first; row < first + count; ++row) one(row);
  });
}

CpuStage::HeadRange CpuStage::HeadsOf(size_t kv_head) const {
  const size_t first = kv_head * group_;  // counted from where the first group begins
  const size_t begin = std::max<size_t>(first, first_head_) - first_head_;
  const size_t end = std::min<size_t>(first + group_ - first_head_, config_.heads);
  return {static_cast<uint32_t>(begin), static_cast<uint32_t>(end - begin)};
}

void CpuStage::Attend(size_t layer) {
  const uint32_t window = WindowOf(layer);
  const auto items = static_cast<uint32_t>(tiles_.size() * config_.kv_heads);
  const auto work = [&](uint32_t item, unsigned worker) {
    const Tile& tile = tiles_[item / config_.kv_heads];
    const size_t head = item % config_.kv_heads;
    const HeadRange heads = HeadsOf(head);
    const size_t at = tile.row * config_.q_width() + size_t{heads.begin} * config_.head_dim;
    const kernels::AttentionSpan span = {.first = tile.first,
                                         .tokens = tile.count,
                                         .group = heads.count,
                                         .scale = attention_scale_,
                                         .window = window};
    kernels_.Attention(KvOf(*tile.sequence, layer, head), span, At(Scratch::kQ) + at,
                       config_.q_width(), attention_scratch_[worker].data(),
                       At(Scratch::kAttention) + at, config_.q_width());
  };
  uint64_t values = 0;
  for (const Tile& tile : tiles_) values += uint64_t{tile.count} * (tile.first + tile.count);
  if (values * config_.q_width() < 8 * kSerialValues) {
    for (uint32_t item = 0; item < items; ++item) work(item, 0);
  } else {
    pool_.Run(items, work, cancel_);
  }
}

}  // namespace exo::backend
