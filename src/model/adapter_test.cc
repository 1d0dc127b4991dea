#include "model/adapter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/random.h"
#include "model/gguf_builder.h"

namespace exo::model {
namespace {

constexpr uint32_t kF32 = 0, kF16 = 1, kQ8_0 = 8, kI32 = 26;

GgufBuilder Header(const std::string& architecture = "llama") {
  GgufBuilder file;
  file.String("general.type", "adapter").String("general.architecture", architecture);
  file.String("adapter.type", "lora").Float("adapter.lora.alpha", 8);
  return file;
}

// A pair for a matrix of `rows` by `cols`.
void AddPair(GgufBuilder& file, const std::string& base, uint64_t cols, uint64_t rows,
             uint64_t rank = 4) {
  file.Tensor(base + ".lora_a", {cols, rank}, kF32, 4 * cols * rank);
  file.Tensor(base + ".lora_b", {rank, rows}, kF16, 2 * rank * rows);
}

class AdapterTest : public testing::Test {
 protected:
  explicit AdapterTest(const std::string& architecture = "llama") {
    GgufBuilder base = TinyModel(architecture).Uint(architecture + ".vocab_size", 4);
    base_bytes_ = TinyTensors(base, architecture).Build();
    base_ = ParseText(base_bytes_).value();
    config_ = ReadConfig(base_).value();
    tensors_ = FindTensors(base_, config_).value();
  }
  Result<AdapterTensors> Find(const GgufBuilder& file) const {
    const std::string bytes = file.Build();
    return FindAdapter(TRY(ParseText(bytes)), config_, tensors_);
  }
  // The refusal, "" when there is none.
  std::string Refusal(const GgufBuilder& file, ErrorCode code) const {
    const auto found = Find(file);
    if (found) return "";
    EXPECT_EQ(found.error().code, code) << found.error().message;
    return found.error().message;
  }

  std::string base_bytes_;
  Gguf base_;
  ModelConfig config_;
  ModelTensors tensors_;
};

TEST_F(AdapterTest, FindsThePairsOfEachLayer) {
  GgufBuilder file = Header();
  AddPair(file, "blk.0.attn_q.weight", 32, 32);
  AddPair(file, "blk.0.ffn_down.weight", 64, 32, 7);
  const auto found = Find(file);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->max_rank, 7u);
  ASSERT_EQ(found->layers.size(), 1u);
  const auto& down = found->layers[0].Of(AdapterTarget::kDown);
  ASSERT_TRUE(down && found->layers[0].Of(AdapterTarget::kQ));
  EXPECT_FALSE(found->layers[0].Of(AdapterTarget::kK));
  EXPECT_EQ(down->rank(), 7u);
  EXPECT_EQ(down->a.cols, 64u);
  EXPECT_EQ(down->b.rows, 32u);
  EXPECT_EQ(down->b.type, tensor::DType::kF16);
  EXPECT_EQ(found->ScaleOf(0.5f, 7), 0.5f * 8 / 7);
}

TEST_F(AdapterTest, WithoutAlphaTheScaleIsTakenAsItIs) {
  EXPECT_EQ(AdapterTensors{.alpha = 0}.ScaleOf(0.3f, 16), 0.3f);
}

TEST_F(AdapterTest, RefusesWhatDoesNotFitByName) {
  const auto refusal = [&](ErrorCode code, auto change) {
    GgufBuilder file = Header();
    change(file);
    return Refusal(file, code);
  };
  const auto of = [&](const char* base, uint64_t cols, uint64_t rows) {
    return [=](GgufBuilder& file) { AddPair(file, base, cols, rows); };
  };
  using enum ErrorCode;
  std::string said = refusal(kCorrupt, of("blk.0.attn_q.weight", 32, 16));
  EXPECT_TRUE(said.contains("attn_q.weight.lora_b") && said.contains("[4, 16]") &&
              said.contains("[4, 32]"))
      << said;
  said = refusal(kCorrupt, of("blk.0.attn_k.weight", 64, 16));
  EXPECT_TRUE(said.contains("attn_k.weight.lora_a") && said.contains("[64, 4]")) << said;
  for (const char* other : {"blk.1.attn_q.weight", "token_embd.weight", "output.weight",
                            "blk.0.attn_norm.weight", "blk.0.attn_qkv.weight"}) {
    EXPECT_TRUE(refusal(kUnsupported, of(other, 32, 32)).contains(other)) << other;
  }
  said = refusal(kCorrupt, [](GgufBuilder& file) {
    file.Tensor("blk.0.attn_q.weight.lora_a", {32, 4}, kF32, 512);
  });
  EXPECT_TRUE(said.contains("'blk.0.attn_q.weight.lora_a' without")) << said;
  said = refusal(kCorrupt, [](GgufBuilder& file) {
    file.Tensor("blk.0.attn_q.weight.lora_b", {4, 32}, kF32, 512);
  });
  EXPECT_TRUE(said.contains("'blk.0.attn_q.weight.lora_b' without")) << said;
  said = refusal(kCorrupt, [](GgufBuilder& file) {
    file.Tensor("blk.0.attn_q.weight.lora_a", {32, 4}, kF32, 512);
    file.Tensor("blk.0.attn_q.weight.lora_b", {5, 32}, kF32, 640);
  });
  EXPECT_TRUE(said.contains("rank 4") && said.contains("has 5")) << said;
  said = refusal(kUnsupported, [](GgufBuilder& file) {
    file.Tensor("blk.0.attn_q.weight", {32, 32}, kF32, 4096);
  });
  EXPECT_TRUE(said.contains("a tensor 'blk.0.attn_q.weight'")) << said;
  said = refusal(kUnsupported, [](GgufBuilder& file) {
    file.Tensor("blk.0.ffn_gate_exps.weight.lora_a", {32, 4, 2}, kF32, 1024);
    file.Tensor("blk.0.ffn_gate_exps.weight.lora_b", {4, 32, 2}, kF32, 1024);
  });
  EXPECT_TRUE(said.contains("ffn_gate_exps.weight")) << said;
  said = refusal(kUnsupported, [](GgufBuilder& file) {
    file.Tensor("blk.0.attn_q.weight.lora_a", {32, 5000}, kF32, 4 * 32 * 5000);
    file.Tensor("blk.0.attn_q.weight.lora_b", {5000, 32}, kF32, 4 * 32 * 5000);
  });
  EXPECT_TRUE(said.contains("5000")) << said;
  said = refusal(kUnsupported, [](GgufBuilder& file) {
    file.Tensor("blk.0.attn_q.weight.lora_a", {32, 4}, kI32, 512);
    file.Tensor("blk.0.attn_q.weight.lora_b", {4, 32}, kF32, 512);
  });
  EXPECT_FALSE(said.empty());
  EXPECT_TRUE(refusal(kCorrupt, [](GgufBuilder&) {}).contains("no tensors"));
}

TEST_F(AdapterTest, RefusesOtherKindsOfFiles) {
  const auto refusal = [&](const std::string& type, const std::string& kind, float alpha,
                           const std::string& architecture, ErrorCode code) {
    GgufBuilder file;
    file.String("general.type", type).String("general.architecture", architecture);
    file.String("adapter.type", kind).Float("adapter.lora.alpha", alpha);
    AddPair(file, "blk.0.attn_q.weight", 32, 32);
    return Refusal(file, code);
  };
  using enum ErrorCode;
  EXPECT_EQ(refusal("adapter", "lora", 1, "llama", kInvalid), "");
  EXPECT_TRUE(refusal("model", "lora", 1, "llama", kInvalid).contains("general.type"));
  EXPECT_TRUE(refusal("adapter", "control_vector", 1, "llama", kUnsupported).contains("control"));
  EXPECT_TRUE(refusal("adapter", "lora", 1, "qwen3", kInvalid).contains("'qwen3', not 'llama'"));
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(refusal("adapter", "lora", infinity, "llama", kCorrupt).contains("alpha"));
  GgufBuilder without;
  without.String("general.type", "adapter").String("adapter.type", "lora");
  AddPair(without, "blk.0.attn_q.weight", 32, 32);
  EXPECT_TRUE(Refusal(without, kCorrupt).contains("adapter.lora.alpha"));
  GgufBuilder activated = Header();
  activated.Numbers<uint32_t>("adapter.alora.invocation_tokens", ValueType::kU32, {1, 2});
  AddPair(activated, "blk.0.attn_q.weight", 32, 32);
  EXPECT_TRUE(Refusal(activated, kUnsupported).contains("invocation"));
}

// Every cut and thousands of flipped bytes: a reason or a sound adapter, never anything else.
TEST_F(AdapterTest, DamagedFilesAreRefusedOrSound) {
  GgufBuilder file = Header();
  AddPair(file, "blk.0.attn_q.weight", 32, 32);
  AddPair(file, "blk.0.attn_v.weight", 32, 16, 2);
  file.Tensor("blk.0.ffn_up.weight.lora_a", {32, 32}, kQ8_0, 34 * 32);
  file.Tensor("blk.0.ffn_up.weight.lora_b", {32, 64}, kQ8_0, 34 * 64);
  const std::string sound = file.Build();
  ASSERT_TRUE(Find(file));
  size_t refused = 0, taken = 0;
  const auto look = [&](const std::string& bytes) {
    const auto gguf = ParseText(bytes);
    const auto found = gguf ? FindAdapter(*gguf, config_, tensors_)
                            : Result<AdapterTensors>(std::unexpected(gguf.error()));
    if (!found) {
      ++refused;
      EXPECT_FALSE(found.error().message.empty());
      return;
    }
    ++taken;
    for (const AdapterLayer& layer : found->layers) {
      for (const auto& pair : layer.pairs) {
        if (!pair) continue;
        EXPECT_EQ(pair->a.rows, pair->b.cols);
        EXPECT_LE(pair->a.offset + pair->a.bytes, bytes.size());
        EXPECT_LE(pair->b.offset + pair->b.bytes, bytes.size());
      }
    }
  };
  for (size_t size = 0; size < sound.size(); size += 7) look(sound.substr(0, size));
  Rng rng(5);
  const size_t head = 1200;
  for (int i = 0; i < 4000; ++i) {
    std::string bytes = sound;
    for (uint64_t n = 1 + rng.Below(3); n > 0; --n)
      bytes[rng.Below(std::min(head, bytes.size()))] = static_cast<char>(rng.Below(256));
    look(bytes);
  }
  EXPECT_GT(refused, 3000u);
  EXPECT_GT(taken, 0u);
}

}  // namespace
}  // namespace exo::model
