// Sums over the shards of a tensor split, and logits of their parts of the vocabulary.
#include <algorithm>

#include "backend/cpu/stage.h"
#include "base/check.h"

namespace exo::backend {
namespace {

// Neighboring leaves of a row's tree: choices [first, first + leaves) of Routing::chosen.
struct Subtree {
  size_t first = 0;
  size_t leaves = 0;
};

}  // namespace

SplitSum CpuStage::MultiplyParts(SplitProduct product, std::span<const PartOfMatrix> parts,
                                 const float* x, size_t cols, size_t rows, std::span<float> out,
                                 size_t at) {
  const std::span<float> own = partials_.As<float>().subspan(at, parts.size() * out.size());
  // The parts' columns stand side by side in x.
  for (size_t i = 0; i < parts.size(); ++i) {
    const kernels::Weights& weights = parts[i].matrix.weights;
    const kernels::ActivationKind kind = kernels::KindFor(weights.type);
    ForRows(rows, weights.cols, [&](size_t first, size_t count) {
      kernels_.Prepare(kind, x, cols, rows, weights.cols, first, count, ActivationsOf(kind));
    });
    MatMul(std::array{Of(weights, rows, own.data() + i * out.size())});
    x += weights.cols;
  }
  return {.product = product, .own = own, .sum = out};
}

Result<std::vector<SplitSum>> CpuStage::SumParts(const LayerWeights& layer,
                                                 model::AdapterTarget target, const float* x,
                                                 size_t cols, size_t rows, float* out) {
  const bool attention = target == model::AdapterTarget::kOutput;
  const SplitProduct product = attention ? SplitProduct::kAttention : SplitProduct::kFeedForward;
  const std::span<float> sum(out, rows * config_.width);
  std::vector<SplitSum> sums = {
      MultiplyParts(product, attention ? layer.o_parts : layer.down_parts, x, cols, rows, sum, 0)};
  const auto low = MultiplyLowParts(layer, target, product, x, cols, sums.front().own.size());
  sums.insert(sums.end(), low.begin(), low.end());
  TRY(collective_->Sum(sums));
  return low;
}

// As one device does it: where the product itself is not added to the hidden state, adapters are
// not either.
void CpuStage::AddSplitBlock(const LayerWeights& layer, model::AdapterTarget target,
                             std::span<const SplitSum> low, size_t rows, float* hidden) {
  const bool attention = target == model::AdapterTarget::kOutput;
  const Vector& gain = attention ? layer.post_attn_norm : layer.post_ffn_norm;
  const bool apart = !gain.empty() || (attention && !layer.o_bias.empty());
  if (apart) AddLowSums(layer, target, low, At(Scratch::kBlock));
  if (attention) AddBias(layer.o_bias, rows);
  AddBlock(gain, rows, hidden);
  if (!apart) AddLowSums(layer, target, low, hidden);
}

SplitSum CpuStage::MixOwnExperts(size_t rows, std::span<float> out, size_t at) {
  const size_t width = config_.width, used = routing_.used;
  const auto begin = static_cast<uint32_t>(expert_begin());
  const auto end = static_cast<uint32_t>(expert_end());
  std::vector<Subtree> subtrees;
  for (size_t row = 0; row < rows; ++row) {
    const std::span<const uint32_t> chosen(&routing_.chosen[row * used], used);
    const LeafRange leaves = ChosenLeaves(chosen, begin, end);
    for (const LeafRange& tree : CanonicalSubtrees(static_cast<uint32_t>(used), leaves))
      subtrees.push_back({row * used + tree.begin, tree.end - tree.begin});
  }
  const std::span<float> own = partials_.As<float>().subspan(at, subtrees.size() * width);
  const float* results = At(Scratch::kExpertOut);
  ForRows(subtrees.size(), width * used, [&](size_t first, size_t count) {
    std::array<const float*, kernels::kMaxMixed> parts;
    for (size_t i = first; i < first + count; ++i) {
      const auto [choice, leaves] = subtrees[i];
      for (size_t j = 0; j < leaves; ++j) parts[j] = results + routing_.slot[choice + j] * width;
      kernels_.Mix(parts.data(), &routing_.weights[choice], leaves, width, &own[i * width]);
    }
  });
  return {.product = SplitProduct::kExperts, .chosen = routing_.chosen, .own = own, .sum = out};
}

Result<void> CpuStage::SumMixture(const LayerWeights& layer, size_t rows) {
  const size_t values = rows * config_.width;
  const std::span<float> block(At(Scratch::kBlock), values);
  const SplitSum experts = MixOwnExperts(rows, block, 0);
  if (!layer.has_shared_expert()) return collective_->Sum(std::array{experts});
  if (!layer.down_parts.empty()) {
    PrepareShared(layer, rows);
    GateUp(layer, {At(Scratch::kNormed)}, rows);
  }
  const std::span<float> shared(At(Scratch::kShared), values);
  const float* gate = At(Scratch::kGate);
  constexpr auto kTarget = model::AdapterTarget::kDown;
  constexpr auto kProduct = SplitProduct::kFeedForward;
  std::vector<SplitSum> sums = {
      experts, MultiplyParts(kProduct, layer.down_parts, gate, config_.ffn_width, rows, shared,
                             experts.own.size())};
  const auto low = MultiplyLowParts(layer, kTarget, kProduct, gate, config_.ffn_width,
                                    experts.own.size() + sums.back().own.size());
  sums.insert(sums.end(), low.begin(), low.end());
  TRY(collective_->Sum(sums));
  AddLowSums(layer, kTarget, low, shared.data());
  return {};
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
  const size_t width = config_.width;
  TRY(collective_->AskLogits(first, count, best,
                             {At(Scratch::kOutput) + first * width, count * width}));
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
