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

void CpuStage::AddAdapters(const LayerWeights& layer, std::span<const Adapted> products,
                           const RowInput& x) {
  const auto index = static_cast<size_t>(&layer - weights_.layers.data());
  for (const AdapterRows& group : adapter_rows_)
    AddAdapter(group, group.adapter->layers[index], products, x);
}

void CpuStage::AddAdapter(const AdapterRows& group, const AdaptedLayer& layer,
                          std::span<const Adapted> products, const RowInput& x) {
  const size_t slots = group.rows.size();
  std::vector<const AdapterMatrices*> pairs;
  std::vector<float*> outs;
  for (const Adapted& product : products) {
    const auto& pair = layer[static_cast<size_t>(product.target)];
    if (!pair) continue;
    pairs.push_back(&*pair);
    outs.push_back(product.out);
  }
  if (pairs.empty()) return;
  CHECK_LE(pairs.size(), adapter_low_x_.size());
  PrepareAdapterInput(group, pairs[0]->a.cols, x);

  std::vector<Product> low, high;
  float* u = adapter_low_.As<float>().data();
  float* part = adapter_out_.As<float>().data();
  for (size_t i = 0; i < pairs.size(); ++i) {
    const AdapterMatrices& pair = *pairs[i];
    low.push_back({.weights = &pair.a,
                   .x = {.kind = ActivationKind::kFloat,
                         .tokens = slots,
                         .cols = pair.a.cols,
                         .data = adapter_input_.data()},
                   .out = u});
    high.push_back({.weights = &pair.b,
                    .x = {.kind = ActivationKind::kFloat,
                          .tokens = slots,
                          .cols = pair.b.cols,
                          .data = adapter_low_x_[i].data()},
                    .out = part});
    u += slots * pair.rank();
    part += slots * pair.b.rows;
  }
  MatMul(low);
  for (size_t i = 0; i < pairs.size(); ++i)
    ScaleLow(group, pairs[i]->rank(), low[i].out, adapter_low_x_[i].data());
  MatMul(high);
  for (size_t i = 0; i < pairs.size(); ++i) {
    const size_t width = pairs[i]->b.rows;
    ForRows(slots, width, [&](size_t first, size_t count) {
      for (size_t slot = first; slot < first + count; ++slot) {
        float* out = outs[i] + group.rows[slot] * width;
        kernels_.Add(out, high[i].out + slot * width, width, out);
      }
    });
  }
}

// The rows' input as activations of a float product, whatever the base model's weights take.
void CpuStage::PrepareAdapterInput(const AdapterRows& group, size_t cols, const RowInput& x) {
  const size_t slots = group.rows.size();
  ForRows(slots, cols, [&](size_t first, size_t count) {
    for (size_t slot = first; slot < first + count; ++slot) {
      // With a stride of 0 the one token is read where it lies.
      const float* row = x.rows + group.rows[slot] * cols;
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
