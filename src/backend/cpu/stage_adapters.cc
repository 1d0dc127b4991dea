// Low-rank adapters: y += B (scale * (A x)) for the rows of the sequences that use them. Rows of
// one adapter are gathered, so that its matrices are read once for all of them; what a row gets
// does not depend on the rows beside it (docs/arithmetic.md, rule 14).
#include "backend/cpu/stage.h"
#include "base/check.h"

namespace exo::backend {

using kernels::ActivationKind;

Result<void> CpuStage::AllocateAdapterScratch() {
  const AdapterScratch scratch = AdapterScratchOf(kernels_, spec_);
  adapter_input_ = TRY(Buffer::Allocate(scratch.input));
  adapter_low_ = TRY(Buffer::Allocate(scratch.low));
  for (Buffer& buffer : adapter_low_x_) buffer = TRY(Buffer::Allocate(scratch.low_x));
  adapter_out_ = TRY(Buffer::Allocate(scratch.out));
  return {};
}

Result<void> CpuStage::CheckAdapters(std::span<const AdapterUse> adapters) const {
  for (size_t i = 0; i < adapters.size(); ++i) {
    if (adapters[i].adapter < weights_.adapters.size() &&
        (i == 0 || adapters[i - 1].adapter < adapters[i].adapter)) {
      continue;
    }
    return Fail(ErrorCode::kInvalid, "adapter {} of a stage that has {}, in ascending order",
                adapters[i].adapter, weights_.adapters.size());
  }
  return {};
}

// Which rows of the step each adapter is for.
void CpuStage::PlaceAdapters() {
  adapter_rows_.clear();
  for (uint32_t id = 0; id < weights_.adapters.size(); ++id) {
    AdapterRows group{.adapter = &weights_.adapters[id], .rows = {}, .scales = {}};
    for (size_t row = 0; row < row_sequence_.size(); ++row) {
      for (const AdapterUse& use : row_sequence_[row]->adapters) {
        if (use.adapter != id) continue;
        group.rows.push_back(row);
        group.scales.push_back(use.scale);
      }
    }
    if (!group.rows.empty()) adapter_rows_.push_back(std::move(group));
  }
}

const AdapterMatrices* CpuStage::PairOf(const AdapterRows& group, const LayerWeights& layer,
                                        model::AdapterTarget target) const {
  const auto index = static_cast<size_t>(&layer - weights_.layers.data());
  const auto& pair = group.adapter->layers[index][static_cast<size_t>(target)];
  return pair ? &*pair : nullptr;
}

CpuStage::Product CpuStage::LowProduct(const kernels::Weights& weights, size_t slots,
                                       const std::byte* x, float* out) {
  return {.weights = &weights,
          .x = {.kind = ActivationKind::kFloat, .tokens = slots, .cols = weights.cols, .data = x},
          .out = out};
}

void CpuStage::AddAdapters(const LayerWeights& layer, std::span<const Adapted> products,
                           const RowInput& x) {
  for (const AdapterRows& group : adapter_rows_) AddAdapter(group, layer, products, x);
}

void CpuStage::AddAdapter(const AdapterRows& group, const LayerWeights& layer,
                          std::span<const Adapted> products, const RowInput& x) {
  const size_t slots = group.rows.size();
  std::vector<Low> lows;
  std::vector<Product> low;
  float* u = adapter_low_.As<float>().data();
  for (const Adapted& product : products) {
    const AdapterMatrices* pair = PairOf(group, layer, product.target);
    if (pair == nullptr) continue;
    CHECK_EQ(pair->a.size(), 1u);
    lows.push_back({pair, u, product.out});
    low.push_back(LowProduct(pair->a.front(), slots, adapter_input_.data(), u));
    u += slots * pair->rank();
  }
  if (low.empty()) return;
  const size_t cols = low.front().weights->cols;
  PrepareAdapterInput(group, x, cols, cols);
  MatMul(low);
  AddLow(group, lows);
}

// Of all adapters in one exchange: what each has of A x from the columns here.
std::vector<SplitSum> CpuStage::MultiplyLowParts(const LayerWeights& layer,
                                                 model::AdapterTarget target, SplitProduct product,
                                                 const float* x, size_t cols, size_t at) {
  std::vector<SplitSum> sums;
  std::span<float> low = adapter_low_.As<float>();
  for (const AdapterRows& group : adapter_rows_) {
    const AdapterMatrices* pair = PairOf(group, layer, target);
    if (pair == nullptr) continue;
    const size_t slots = group.rows.size(), values = slots * pair->rank();
    const std::span<float> own = partials_.As<float>().subspan(at, pair->a.size() * values);
    const float* part = x;
    for (size_t i = 0; i < pair->a.size(); ++i) {
      const kernels::Weights& a = pair->a[i];
      PrepareAdapterInput(group, {part}, cols, a.cols);
      MatMul(std::array{LowProduct(a, slots, adapter_input_.data(), own.data() + i * values)});
      part += a.cols;
    }
    sums.push_back({.product = product, .own = own, .sum = low.first(values)});
    low = low.subspan(values);
    at += own.size();
  }
  return sums;
}

void CpuStage::AddLowSums(const LayerWeights& layer, model::AdapterTarget target,
                          std::span<const SplitSum> sums, float* out) {
  for (const AdapterRows& group : adapter_rows_) {
    const AdapterMatrices* pair = PairOf(group, layer, target);
    if (pair == nullptr) continue;
    AddLow(group, std::array{Low{pair, sums.front().sum.data(), out}});
    sums = sums.subspan(1);
  }
}

void CpuStage::AddLow(const AdapterRows& group, std::span<const Low> products) {
  const size_t slots = group.rows.size();
  CHECK_LE(products.size(), adapter_low_x_.size());
  std::vector<Product> high;
  float* part = adapter_out_.As<float>().data();
  for (size_t i = 0; i < products.size(); ++i) {
    const AdapterMatrices& pair = *products[i].pair;
    ScaleLow(group, pair.rank(), products[i].u, adapter_low_x_[i].data());
    high.push_back(LowProduct(pair.b, slots, adapter_low_x_[i].data(), part));
    part += slots * pair.b.rows;
  }
  MatMul(high);
  for (size_t i = 0; i < products.size(); ++i) {
    const size_t width = products[i].pair->b.rows;
    ForRows(slots, width, [&](size_t first, size_t count) {
      for (size_t slot = first; slot < first + count; ++slot) {
        float* out = products[i].out + group.rows[slot] * width;
        kernels_.Add(out, high[i].out + slot * width, width, out);
      }
    });
  }
}

// `cols` of the rows' input as activations of a float product, whatever the base model's weights
// take.
void CpuStage::PrepareAdapterInput(const AdapterRows& group, const RowInput& x, size_t stride,
                                   size_t cols) {
  const size_t slots = group.rows.size();
  ForRows(slots, cols, [&](size_t first, size_t count) {
    for (size_t slot = first; slot < first + count; ++slot) {
      // With a stride of 0 the one token is read where it lies.
      const float* row = x.rows + group.rows[slot] * stride;
      if (x.gain == nullptr) {
        kernels_.Prepare(ActivationKind::kFloat, row, 0, slots, cols, slot, 1,
                         adapter_input_.data());
      } else {
        kernels_.NormPrepare(ActivationKind::kFloat, row, 0, x.gain->data(), config_.norm_eps,
                             slots, cols, slot, 1, adapter_input_.data());
      }
    }
  });
}

void CpuStage::ScaleLow(const AdapterRows& group, size_t rank, float* u, std::byte* prepared) {
  const size_t slots = group.rows.size();
  ForRows(slots, rank, [&](size_t first, size_t count) {
    for (size_t slot = first; slot < first + count; ++slot) {
      const float scale =
          group.adapter->tensors->ScaleOf(group.scales[slot], static_cast<uint32_t>(rank));
      float* row = u + slot * rank;
      for (size_t i = 0; i < rank; ++i) row[i] = row[i] * scale;
      kernels_.Prepare(ActivationKind::kFloat, row, 0, slots, rank, slot, 1, prepared);
    }
  });
}

}  // namespace exo::backend
