// The promise of docs/arithmetic.md on a small random model: the same bits for every thread count, chunk
// size, batch, split and instruction set.
#include "engine/local.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "backend/cpu/cpu.h"
#include "base/random.h"
#include "tensor/blocks.h"
#include "tensor/float16.h"

namespace exo::engine {
namespace {

using backend::SequenceId;
using tensor::DType;

// Tensors that live in memory, filled with valid random blocks.
class MemorySource final : public backend::TensorSource {
 public:
  model::TensorRef Add(std::string name, DType type, uint64_t rows, uint64_t cols) {
    model::TensorRef ref{.name = name, .type = type, .rows = rows, .cols = cols};
    const uint64_t row = tensor::RowBytes(type, cols).value();
    ref.bytes = rows * row;
    std::vector<std::byte> bytes(ref.bytes);
    if (type == DType::kF32) {
      auto* values = reinterpret_cast<float*>(bytes.data());
      const float offset = rows == 1 ? 1.0f : 0.0f;  // a norm's gain is near one
      for (uint64_t i = 0; i < rows * cols; ++i) values[i] = offset + 0.1f * Value();
    } else {
      for (std::byte& b : bytes) b = static_cast<std::byte>(rng_.Next());
      const auto& info = tensor::Info(type);
      for (uint64_t at = 0; at < bytes.size(); at += info.block_bytes) SetScale(type, &bytes[at]);
    }
    data_[name] = std::move(bytes);
    return ref;
  }
  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                          uint64_t bytes) override {
    return std::span<const std::byte>(data_.at(tensor.name)).subspan(offset, bytes);
  }
  void Done(const model::TensorRef&, uint64_t, uint64_t) override {}

 private:
  float Value() { return static_cast<float>(rng_.Uniform() * 2 - 1); }
  // Scales (and minima, which stand behind them) that make weights of about 0.1.
  void SetScale(DType type, std::byte* block) {
    if (type == DType::kF16) {
      Half(block, 0.1f * Value());
    } else if (type == DType::kBF16) {
      const float value = 0.1f * Value();
      std::memcpy(block, reinterpret_cast<const char*>(&value) + 2, 2);
    } else if (type == DType::kMXFP4) {
      block[0] = static_cast<std::byte>(120 + rng_.Below(3));
    } else {
      const auto [largest, middle] = kCodes.at(type);
      const float scale = 0.15f / largest * (1 + 0.5f * Value());
      Half(block + tensor::ScaleOffset(type), scale);
      if (tensor::Info(type).minimum) Half(block + tensor::ScaleOffset(type) + 2, scale * middle);
    }
  }
  static void Half(std::byte* at, float value) {
    const uint16_t half = tensor::FloatToHalf(value);
    std::memcpy(at, &half, 2);
  }

  // The largest product of sub-scale and code, and the minimum in scales that centres the values.
  static inline const std::map<DType, std::pair<float, float>> kCodes = {
      {DType::kQ8_0, {128, 0}},    {DType::kQ4_0, {8, 0}},      {DType::kQ4_1, {8, -8}},
      {DType::kQ5_0, {16, 0}},     {DType::kQ5_1, {16, -16}},   {DType::kIQ4_NL, {127, 0}},
      {DType::kQ2_K, {22, 1.5f}},  {DType::kQ3_K, {128, 0}},    {DType::kQ4_K, {480, 7.5f}},
      {DType::kQ5_K, {960, 15.5f}}, {DType::kQ6_K, {2048, 0}},  {DType::kIQ4_XS, {4064, 0}}};
  Rng rng_{7};
  std::map<std::string, std::vector<std::byte>> data_;
};

struct Fixture {
  std::shared_ptr<model::ModelConfig> config = std::make_shared<model::ModelConfig>();
  std::shared_ptr<model::ModelTensors> tensors = std::make_shared<model::ModelTensors>();
  MemorySource source;

  // Mixed types as real files mix them; qwen: biases, q/k norms, halves.
  Fixture(DType matrices, DType output, bool qwen) {
    *config = {.architecture = qwen ? "qwen3" : "llama", .layers = 5, .width = 256, .ffn_width = 512,
               .heads = 4, .kv_heads = 2, .head_dim = 64, .vocab = 300, .context = 1024,
               .rope_style = qwen ? model::RopeStyle::kHalves : model::RopeStyle::kInterleaved,
               .rotary_dim = 64, .tied_output = qwen, .qkv_bias = qwen, .qk_norm = qwen};
    tensors->token_embd = source.Add("token_embd.weight", output, 300, 256);
    tensors->output_norm = source.Add("output_norm.weight", DType::kF32, 1, 256);
    tensors->output = qwen ? tensors->token_embd : source.Add("output.weight", output, 300, 256);
    for (int i = 0; i < 5; ++i) {
      const auto add = [&](const char* name, DType type, uint64_t rows, uint64_t cols) {
        return source.Add(fmt::format("blk.{}.{}", i, name), type, rows, cols);
      };
      model::LayerTensors layer;
      layer.attn_norm = add("attn_norm", DType::kF32, 1, 256);
      layer.attn_q = add("attn_q", matrices, 256, 256);
      layer.attn_k = add("attn_k", matrices, 128, 256);
      layer.attn_v = add("attn_v", output, 128, 256);
      layer.attn_output = add("attn_output", matrices, 256, 256);
      layer.ffn_norm = add("ffn_norm", DType::kF32, 1, 256);
      layer.ffn_gate = add("ffn_gate", matrices, 512, 256);
      layer.ffn_up = add("ffn_up", matrices, 512, 256);
      layer.ffn_down = add("ffn_down", matrices, 256, 512);
      if (qwen) {
        layer.q_bias = add("q_bias", DType::kF32, 1, 256);
        layer.k_bias = add("k_bias", DType::kF32, 1, 128);
        layer.v_bias = add("v_bias", DType::kF32, 1, 128);
        layer.q_norm = add("q_norm", DType::kF32, 1, 64);
        layer.k_norm = add("k_norm", DType::kF32, 1, 64);
      }
      tensors->layers.push_back(layer);
    }
  }
};

struct Division {
  kernels::Isa isa = kernels::Isa::kReference;
  unsigned threads = 1;
  uint32_t chunk = 64;
  std::vector<uint32_t> cuts;
};

std::vector<TokenId> Prompt(size_t n) {
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < n; ++i) tokens.push_back(static_cast<TokenId>((i * i + 3 * i) % 300));
  return tokens;
}

// Logits of every position of a prompt, prefilled in chunks.
std::vector<float> Logits(Fixture& fixture, const Division& division, size_t n,
                          kernels::KvType kv = kernels::KvType::kF16) {
  const auto kernels = kernels::KernelsFor(division.isa);
  EXPECT_TRUE(kernels.has_value());
  const auto pool = backend::MakeComputePool(division.threads);
  const auto backend = backend::MakeCpuBackend(**kernels, *pool);
  auto model = LocalModel::Load(*backend, fixture.config, fixture.tensors, fixture.source,
                                {.kv_type = kv, .chunk = division.chunk, .cuts = division.cuts});
  EXPECT_TRUE(model.has_value()) << model.error().message;
  EXPECT_TRUE((*model)->Open(1, static_cast<uint32_t>(n)));
  std::vector<float> logits(n * 300);
  const auto done = (*model)->Append(1, 0, Prompt(n), n, logits);
  EXPECT_TRUE(done.has_value()) << done.error().message;
  return logits;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class ExactnessTest : public testing::TestWithParam<std::tuple<DType, DType, bool>> {};

TEST_P(ExactnessTest, SameBitsForEveryDivisionOfTheWork) {
  const auto [matrices, output, qwen] = GetParam();
  Fixture fixture(matrices, output, qwen);
  const size_t n = 41;
  const std::vector<float> expected = Logits(fixture, {}, n);
  const std::vector<Division> divisions = {
      {.threads = 3},
      {.chunk = 1},
      {.threads = 2, .chunk = 7},
      {.cuts = {2}},
      {.threads = 2, .chunk = 16, .cuts = {0, 1, 4}},
      {.cuts = {1, 2, 3, 4}},
  };
  for (const kernels::Isa isa : {kernels::Isa::kReference, kernels::Isa::kAvx2, kernels::Isa::kAvx512}) {
    if (!kernels::KernelsFor(isa)) continue;
    for (Division division : divisions) {
      division.isa = isa;
      EXPECT_TRUE(SameBits(expected, Logits(fixture, division, n)))
          << kernels::IsaName(isa) << " threads " << division.threads << " chunk " << division.chunk << " cuts "
          << division.cuts.size();
    }
  }
  // The comparison can fail: another prompt's logits differ.
  EXPECT_FALSE(SameBits(expected, Logits(fixture, {}, n - 1)));
}

INSTANTIATE_TEST_SUITE_P(Formats, ExactnessTest,
                         testing::Values(std::tuple{DType::kQ4_0, DType::kQ6_K, false},
                                         std::tuple{DType::kQ8_0, DType::kQ8_0, true},
                                         std::tuple{DType::kF16, DType::kF16, false},
                                         std::tuple{DType::kBF16, DType::kF32, true},
                                         std::tuple{DType::kQ4_K, DType::kQ6_K, true},
                                         std::tuple{DType::kQ3_K, DType::kQ5_K, false},
                                         std::tuple{DType::kIQ4_XS, DType::kQ2_K, false},
                                         std::tuple{DType::kQ5_0, DType::kIQ4_NL, true},
                                         std::tuple{DType::kMXFP4, DType::kQ5_1, false}));

// Decoding several sequences together gives each the logits that it has alone, also after a truncation.
TEST(BatchTest, SequencesDoNotTouchEachOther) {
  Fixture fixture(DType::kQ4_0, DType::kQ6_K, false);
  const auto kernels = kernels::ChooseKernels("");
  ASSERT_TRUE(kernels);
  const auto pool = backend::MakeComputePool(2);
  const auto backend = backend::MakeCpuBackend(**kernels, *pool);
  auto model = LocalModel::Load(*backend, fixture.config, fixture.tensors, fixture.source, {.chunk = 32});
  ASSERT_TRUE(model);
  const auto prompt = Prompt(40);
  std::vector<float> unused;
  std::vector<std::vector<float>> alone(3, std::vector<float>(300));
  const std::vector<uint32_t> lengths = {5, 17, 33};
  for (size_t i = 0; i < 3; ++i) {
    const SequenceId id = 10 + i;
    ASSERT_TRUE((*model)->Open(id, 64));
    ASSERT_TRUE((*model)->Append(id, 0, std::span(prompt).first(lengths[i] + 1), 1, alone[i]));
    // Once more with a wrong token behind, then cut back to where the batch goes on.
    const std::vector<TokenId> wrong = {7, 8, 9};
    ASSERT_TRUE((*model)->Append(id, lengths[i] + 1, wrong, 0, unused));
    ASSERT_TRUE((*model)->Truncate(id, lengths[i]));
  }
  std::vector<LocalModel::Next> next;
  for (size_t i = 0; i < 3; ++i) next.push_back({10 + i, lengths[i], prompt[lengths[i]]});
  std::vector<float> together(3 * 300);
  ASSERT_TRUE((*model)->Step(next, together));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(std::memcmp(alone[i].data(), together.data() + i * 300, 300 * sizeof(float)), 0) << i;
  }
}

TEST(BatchTest, BadSegmentsAreRefused) {
  Fixture fixture(DType::kQ8_0, DType::kQ8_0, false);
  const auto pool = backend::MakeComputePool(1);
  const auto backend = backend::MakeCpuBackend(kernels::Reference(), *pool);
  auto model = LocalModel::Load(*backend, fixture.config, fixture.tensors, fixture.source, {.chunk = 8});
  ASSERT_TRUE(model);
  std::vector<float> unused;
  const std::vector<TokenId> tokens = {1, 2, 3};
  EXPECT_EQ((*model)->Append(1, 0, tokens, 0, unused).error().code, ErrorCode::kInvalid);  // not open
  ASSERT_TRUE((*model)->Open(1, 2));
  EXPECT_FALSE((*model)->Open(1, 2));                                      // twice
  EXPECT_FALSE((*model)->Append(1, 4, tokens, 0, unused));                 // a gap
  const std::vector<TokenId> foreign = {300};
  EXPECT_FALSE((*model)->Append(1, 0, foreign, 0, unused));                // outside the vocabulary
  EXPECT_TRUE((*model)->Append(1, 0, tokens, 0, unused));                  // capacity is rounded up to 16
  EXPECT_FALSE((*model)->Truncate(1, 9));
}

}  // namespace
}  // namespace exo::engine
