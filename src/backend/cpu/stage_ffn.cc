// The feed-forward block of a layer: dense, or a mixture of experts with or without a shared one.
#include "backend/cpu/stage.h"
#include "kernels/elementary.h"

namespace exo::backend {

Result<void> CpuStage::FeedForwardBlock(const LayerWeights& layer, size_t rows, float* hidden) {
  float* block = At(Scratch::kBlock);
  if (!layer.has_experts()) {
    const std::array inputs = {Of(layer.gate, rows, nullptr), Of(layer.up, rows, nullptr)};
    NormPrepare(inputs, hidden, layer.ffn_norm, rows);
    if (sharded()) {
      GateUp(layer, {hidden, &layer.ffn_norm}, rows);
      constexpr auto kTarget = model::AdapterTarget::kDown;
      const auto low =
          TRY(SumParts(layer, kTarget, At(Scratch::kGate), config_.ffn_width, rows, block));
      AddSplitBlock(layer, kTarget, low, rows, hidden);
      return {};
    }
    if (layer.post_ffn_norm.empty()) {
      Dense(layer, {hidden, &layer.ffn_norm}, rows, hidden, /*add=*/true);
      return {};
    } else {
      Dense(layer, {hidden, &layer.ffn_norm}, rows, block, /*add=*/false);
    }
  } else {
    ForRows(rows, config_.width, [&](size_t first, size_t count) {
      for (size_t at = first * config_.width; at < (first + count) * config_.width;
           at += config_.width) {
        kernels_.RmsNorm(hidden + at, layer.ffn_norm.data(), config_.norm_eps, config_.width,
                         At(Scratch::kNormed) + at);
      }
    });
    TRY(MixtureBlock(layer, rows));
  }
  AddBlock(layer.post_ffn_norm, rows, hidden);
  return {};
}

void CpuStage::Activate(float* gate, const float* up, size_t n) const {
  switch (config_.activation) {
    case model::Activation::kSilu:
      return kernels_.SiluMul(gate, up, n, gate);
    case model::Activation::kGelu:
      return kernels_.GeluMul(gate, up, n, gate);
  }
}

// kGate = activation(gate · x) * (up · x), x being prepared.
void CpuStage::GateUp(const LayerWeights& layer, const RowInput& x, size_t rows) {
  float* gate = At(Scratch::kGate);
  float* up = At(Scratch::kUp);
  MatMul(std::array{Of(layer.gate, rows, gate), Of(layer.up, rows, up)});
  AddAdapters(layer,
              std::array{Adapted{model::AdapterTarget::kGate, gate},
                         Adapted{model::AdapterTarget::kUp, up}},
              x);
  const size_t ffn = config_.ffn_width;
  ForRows(rows, ffn, [&](size_t first, size_t count) {
    Activate(gate + first * ffn, up + first * ffn, count * ffn);
  });
}

void CpuStage::Dense(const LayerWeights& layer, const RowInput& x, size_t rows, float* out,
                     bool add) {
  const size_t ffn = config_.ffn_width;
  float* gate = At(Scratch::kGate);
  float* up = At(Scratch::kUp);
  MatMul(std::array{Of(layer.gate, rows, gate), Of(layer.up, rows, up)});
  AddAdapters(layer,
              std::array{Adapted{model::AdapterTarget::kGate, gate},
                         Adapted{model::AdapterTarget::kUp, up}},
              x);
  const kernels::ActivationKind kind = kernels::KindFor(layer.down.weights.type);
  // Activated and prepared in one pass.
  ForRows(rows, ffn, [&](size_t first, size_t count) {
    Activate(gate + first * ffn, up + first * ffn, count * ffn);
    kernels_.Prepare(kind, gate, ffn, rows, ffn, first, count, ActivationsOf(kind));
  });
  MatMul(std::array{Of(layer.down, rows, out, add)});
  AddAdapters(layer, std::array{Adapted{model::AdapterTarget::kDown, out}}, {gate});
}

Result<void> CpuStage::MixtureBlock(const LayerWeights& layer, size_t rows) {
  TRY(RunExperts(layer, rows));
  if (sharded()) {
    TRY(SumMixture(layer, rows));
  } else {
    MixExperts(rows, At(Scratch::kBlock));
    if (layer.has_shared_expert()) {
      PrepareShared(layer, rows);
      Dense(layer, {At(Scratch::kNormed)}, rows, At(Scratch::kShared), /*add=*/false);
    }
  }
  if (layer.has_shared_expert()) AddSharedExpert(layer, rows);
  return {};
}

void CpuStage::PrepareShared(const LayerWeights& layer, size_t rows) {
  const kernels::ActivationKind gate = kernels::KindFor(layer.gate.weights.type);
  const kernels::ActivationKind up = kernels::KindFor(layer.up.weights.type);
  Prepare(gate, At(Scratch::kNormed), config_.width, rows);
  if (up != gate) Prepare(up, At(Scratch::kNormed), config_.width, rows);
}

void CpuStage::AddSharedExpert(const LayerWeights& layer, size_t rows) {
  const size_t width = config_.width;
  float* out = At(Scratch::kBlock);
  float* shared = At(Scratch::kShared);
  float* gate = At(Scratch::kSharedGate);
  Prepare(kernels::KindFor(layer.shared_router.weights.type), At(Scratch::kNormed), width, rows);
  MatMul(std::array{Of(layer.shared_router, rows, gate)});
  ForRows(rows, width, [&](size_t first, size_t count) {
    for (size_t row = first; row < first + count; ++row) {
      const float weight = kernels::Sigmoid(gate[row]);
      float* scaled = shared + row * width;
      const float* const one = scaled;
      kernels_.Mix(&one, &weight, 1, width, scaled);
      kernels_.Add(out + row * width, scaled, width, out + row * width);
    }
  });
}

}  // namespace exo::backend
