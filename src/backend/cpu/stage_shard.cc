// Sums over the shards of a tensor split, and logits of their parts of the vocabulary.
#include <algorithm>

#include "backend/cpu/stage.h"
#include "base/check.h"

namespace exo::backend {

Result<void> CpuStage::SumParts(SplitProduct product, std::span<const PartOfMatrix> parts,
                                const float* x, size_t cols, size_t rows, float* out) {
  CHECK_LE(parts.size(), sums_.max_parts);
  const size_t values = rows * config_.width;
  const std::span<float> memory = partials_.As<float>();
  std::vector<Partial> partials;
  // The parts' columns stand side by side in x.
  const float* from = x;
  for (const PartOfMatrix& part : parts) {
    const kernels::Weights& weights = part.matrix.weights;
    const kernels::ActivationKind kind = kernels::KindFor(weights.type);
    ForRows(rows, weights.cols, [&](size_t first, size_t count) {
      kernels_.Prepare(kind, from, cols, rows, weights.cols, first, count, ActivationsOf(kind));
    });
    const std::span<float> own = memory.subspan(partials.size() * values, values);
    MatMul(std::array{Of(weights, rows, own.data())});
    partials.push_back({.leaves = part.leaves, .values = own});
    from += weights.cols;
  }
  const uint32_t leaves =
      product == SplitProduct::kAttention ? sums_.attention_leaves : sums_.ffn_leaves;
  return collective_->Sum(product, leaves, partials, std::span(out, values));
}

// Of a lead that holds the whole matrix as its embedding: the panels of its own rows.
kernels::Weights CpuStage::OutputMatrix() const {
  kernels::Weights matrix = weights_.output_matrix();
  if (!sharded() || !weights_.tied) return matrix;
  const Shard& shard = *spec_.shard;
  const size_t panel = kernels_.PackedBytes(matrix.type, kernels::kPanelRows, matrix.cols);
  matrix.data += shard.vocab_begin / kernels::kPanelRows * panel;
  matrix.rows = shard.vocab_end - shard.vocab_begin;
  return matrix;
}

// While the lead multiplies with its rows the others do with theirs.
Result<std::span<float>> CpuStage::ShardLogits(size_t first, size_t count, uint32_t best) {
  const Shard& shard = *spec_.shard;
  const size_t rows = shard.vocab_end - shard.vocab_begin;
  const std::span<float> own = own_logits_.As<float>().first(count * rows);
  if (!spec_.lead) {
    MultiplyOutput(first, count, own.data());
    return own;
  }
  TRY(collective_->AskLogits(first, count, best));
  MultiplyOutput(first, count, own.data());
  const std::span<float> logits = logits_.As<float>().first(count * config_.vocab);
  for (size_t i = 0; i < count; ++i) {
    std::ranges::copy(
        own.subspan(i * rows, rows),
        logits.begin() + static_cast<ptrdiff_t>(i * config_.vocab + shard.vocab_begin));
  }
  TRY(collective_->TakeLogits(logits));
  return logits;
}

}  // namespace exo::backend
