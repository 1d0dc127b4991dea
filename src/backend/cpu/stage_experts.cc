// A mixture of experts: route the rows, then multiply each expert once with all rows that chose it,
// and add each row's results in ascending expert index. What a row gets does not depend on the rows
// beside it. A shard routes the rows to all experts and computes its own (stage_shard.cc sums).
#include "backend/cpu/stage.h"
#include "base/check.h"
#include "model/keys.h"

namespace exo::backend {

using kernels::ActivationKind;

static_assert(model::kMaxExpertsUsed <= kernels::kMaxMixed);

std::vector<uint32_t> CpuStage::ChosenExperts() const {
  std::vector<uint32_t> chosen;
  for (size_t expert = expert_begin(); expert < expert_end(); ++expert) {
    if (routing_.SlotsOf(expert) > 0) chosen.push_back(static_cast<uint32_t>(expert));
  }
  return chosen;
}

Result<void> CpuStage::RunExperts(const LayerWeights& layer, size_t rows) {
  Route(layer, rows);
  if (expert_begin() == expert_end()) return {};
  if (experts_ != nullptr) {
    const auto index = static_cast<size_t>(&layer - weights_.layers.data());
    TRY(experts_->Acquire(index, ChosenExperts(), cancel_));
  }
  const size_t width = config_.width;
  const size_t ffn = config_.experts.width;
  float* gate = At(Scratch::kGate);
  float* up = At(Scratch::kUp);
  float* results = At(Scratch::kExpertOut);
  const ActivationKind gate_kind = kernels::KindFor(layer.gate_exps.weights[0].type);
  const ActivationKind up_kind = kernels::KindFor(layer.up_exps.weights[0].type);
  const auto normed = [&](size_t slot) {
    return At(Scratch::kNormed) + routing_.row_of[slot] * width;
  };
  PrepareSlots(gate_kind, width, normed);
  if (up_kind != gate_kind) PrepareSlots(up_kind, width, normed);
  MatMulExperts(
      std::array{ExpertProduct{&layer.gate_exps, gate}, ExpertProduct{&layer.up_exps, up}});

  PrepareSlots(kernels::KindFor(layer.down_exps.weights[0].type), ffn, [&](size_t slot) {
    Activate(gate + slot * ffn, up + slot * ffn, ffn);
    return gate + slot * ffn;
  });
  MatMulExperts(std::array{ExpertProduct{&layer.down_exps, results}});
  return {};
}

void CpuStage::MixExperts(size_t rows, float* out) {
  const size_t width = config_.width;
  const float* results = At(Scratch::kExpertOut);
  ForRows(rows, width * routing_.used, [&](size_t first, size_t count) {
    std::array<const float*, kernels::kMaxMixed> parts;
    for (size_t row = first; row < first + count; ++row) {
      const size_t at = row * routing_.used;
      for (size_t i = 0; i < routing_.used; ++i) parts[i] = results + routing_.slot[at + i] * width;
      kernels_.Mix(parts.data(), &routing_.weights[at], routing_.used, width, out + row * width);
    }
  });
}

void CpuStage::Route(const LayerWeights& layer, size_t rows) {
  const model::ExpertConfig& experts = config_.experts;
  float* logits = At(Scratch::kRouter);
  Prepare(kernels::KindFor(layer.router.weights.type), At(Scratch::kNormed), config_.width, rows);
  MatMul(std::array{Of(layer.router, rows, logits)});
  routing_.Resize(rows, experts.used);
  ForRows(rows, size_t{experts.count} * experts.used, [&](size_t first, size_t count) {
    for (size_t row = first; row < first + count; ++row) {
      const std::span<float> own(logits + row * experts.count, experts.count);
      kernels_.Softmax(own.data(), own.size(), own.data());
      ChooseExperts(own, experts.renormalize,
                    std::span(routing_.chosen).subspan(row * experts.used, experts.used),
                    std::span(routing_.weights).subspan(row * experts.used, experts.used));
    }
  });
  routing_.Group(experts.count);
}

// Where an expert's activations begin: each slot before counts as if it were alone, which is never
// less than what several take together.
std::byte* CpuStage::SlotActivations(size_t expert, ActivationKind kind, size_t cols) const {
  const Buffer& buffer = slot_activations_[static_cast<size_t>(kind)];
  const size_t at = routing_.begin[expert] * kernels_.ActivationBytes(kind, 1, cols);
  CHECK(at + kernels_.ActivationBytes(kind, routing_.SlotsOf(expert), cols) <= buffer.size());
  return buffer.data() + at;
}

void CpuStage::PrepareSlots(ActivationKind kind, size_t cols,
                            const std::function<const float*(size_t slot)>& value) {
  const size_t begin = routing_.begin[expert_begin()];
  const size_t slots = routing_.begin[expert_end()] - begin;
  ForRows(slots, cols, [&](size_t first, size_t count) {
    for (size_t slot = begin + first; slot < begin + first + count; ++slot) {
      const size_t expert = routing_.expert_of[slot];
      // With a stride of 0 the one token is read at value(slot).
      kernels_.Prepare(kind, value(slot), 0, routing_.SlotsOf(expert), cols,
                       slot - routing_.begin[expert], 1, SlotActivations(expert, kind, cols));
    }
  });
}

// Products of each expert that has slots with them; results go to the slots' rows.
void CpuStage::MatMulExperts(std::span<const ExpertProduct> products) {
  expert_products_.clear();
  for (size_t expert = expert_begin(); expert < expert_end(); ++expert) {
    const size_t slots = routing_.SlotsOf(expert);
    if (slots == 0) continue;
    for (const auto& [matrices, out] : products) {
      const kernels::Weights& weights = matrices->weights[expert - expert_begin()];
      const ActivationKind kind = kernels::KindFor(weights.type);
      expert_products_.push_back({.weights = &weights,
                                  .x = {.kind = kind,
                                        .tokens = slots,
                                        .cols = weights.cols,
                                        .data = SlotActivations(expert, kind, weights.cols)},
                                  .out = out + routing_.begin[expert] * weights.rows});
    }
  }
  MatMul(expert_products_);
}

}  // namespace exo::backend
