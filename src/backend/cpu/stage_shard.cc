// Sums over the shards of a tensor split.
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

}  // namespace exo::backend
