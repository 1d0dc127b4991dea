#include "store/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "model/gguf_builder.h"
#include "sys/files.h"
#include "tensor/dequantize.h"

namespace exo::store {
namespace {

using tensor::DType;

class QuantizeModelTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(::mkdtemp(folder_), nullptr); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string Path(const std::string& name) const { return std::string(folder_) + "/" + name; }

  // One tensor of every kind, F32, value i of each being i % 101 - 50; then as `change` makes them.
  std::string Source(
      const std::function<void(const model::Gguf&, std::string&)>& change = {}) const {
    model::GgufBuilder file;
    file.String("general.architecture", "anything")
        .Uint("general.file_type", 0)
        .Strings("tokens", {"a", "bc"});
    const auto add = [&](const char* name, std::vector<uint64_t> dims) {
      uint64_t bytes = 4;
      for (const uint64_t dim : dims) bytes *= dim;
      file.Tensor(name, dims, 0, bytes);
    };
    add("token_embd.weight", {256, 40});
    add("blk.0.attn_norm.weight", {256});
    add("blk.0.attn_q.weight", {256, 300});
    add("blk.0.attn_k.weight", {96, 7});
    add("blk.0.attn_v.weight", {20, 9});
    add("blk.0.ffn_gate_inp.weight", {256, 4});
    add("blk.0.ffn_up_exps.weight", {256, 3, 4});
    std::string bytes = file.Build();
    const auto gguf = model::ParseText(bytes).value();
    for (const model::GgufTensor& tensor : gguf.tensors()) {
      for (uint64_t i = 0; i < tensor.bytes / 4; ++i) {
        const float value = static_cast<float>(i % 101) - 50;
        std::memcpy(bytes.data() + tensor.offset + 4 * i, &value, 4);
      }
    }
    if (change) change(gguf, bytes);
    EXPECT_TRUE(sys::WriteFileAtomically(Path("in.gguf"), bytes, 0600));
    return Path("in.gguf");
  }
  Result<QuantizeSummary> Quantize(const std::string& source, DType type,
                                   unsigned threads = 1) const {
    sys::ThreadPool pool(threads);
    return QuantizeModel({.source = source, .type = type, .overwrite = true, .pool = pool},
                         Path("out.gguf"));
  }

 private:
  char folder_[32] = "/tmp/exo-quantize-test-XXXXXX";
};

TEST_F(QuantizeModelTest, AFolderThatIsNoWholeModelIsRefusedBeforeAByteIsWritten) {
  const std::string folder = Path("folder");
  ASSERT_TRUE(sys::MakeFolders(folder));
  const auto write = [&](const char* name, const std::string& bytes) {
    ASSERT_TRUE(sys::WriteFileAtomically(folder + "/" + name, bytes, 0600));
  };
  write("config.json",
        R"({"model_type":"qwen2","num_hidden_layers":1,"num_attention_heads":2,"hidden_size":4,)"
        R"("intermediate_size":2,"max_position_embeddings":64,"tie_word_embeddings":true})");
  write("tokenizer.json", R"({"pre_tokenizer":{"type":"ByteLevel"},)"
                          R"("model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}})");
  std::string weights =
      R"({"model.embed_tokens.weight":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]}})";
  const uint64_t bytes = weights.size();
  weights.insert(0, reinterpret_cast<const char*>(&bytes), sizeof(bytes));
  write("model.safetensors", weights + std::string(32, '\0'));
  const auto done = Quantize(folder, DType::kQ8_0);
  ASSERT_FALSE(done);
  EXPECT_TRUE(done.error().message.contains("output_norm.weight")) << done.error().message;
  EXPECT_FALSE(sys::Exists(Path("out.gguf")));
}

TEST_F(QuantizeModelTest, EveryTensorGetsTheTypeThatFitsIt) {
  const auto summary = Quantize(Source(), DType::kQ4_K, 3);
  ASSERT_TRUE(summary) << summary.error().message;
  const std::string out = sys::ReadFile(Path("out.gguf")).value();
  EXPECT_EQ(summary->bytes, out.size());
  EXPECT_EQ(summary->requantized, 0u);
  const auto gguf = model::ParseText(out).value();
  const auto type = [&](const char* name) {
    return static_cast<DType>(gguf.FindTensor(name)->type);
  };
  EXPECT_EQ(type("token_embd.weight"), DType::kQ6_K);  // serves as the output matrix
  EXPECT_EQ(type("blk.0.attn_norm.weight"), DType::kF32);
  EXPECT_EQ(type("blk.0.attn_q.weight"), DType::kQ4_K);
  EXPECT_EQ(type("blk.0.attn_k.weight"), DType::kQ8_0);
  EXPECT_EQ(type("blk.0.attn_v.weight"), DType::kF32);
  EXPECT_EQ(type("blk.0.ffn_gate_inp.weight"), DType::kF32);
  EXPECT_EQ(type("blk.0.ffn_up_exps.weight"), DType::kQ4_K);
  for (const model::GgufTensor& tensor : gguf.tensors()) {
    const size_t count = tensor.bytes / tensor::Info(static_cast<DType>(tensor.type)).block_bytes *
                         tensor::Info(static_cast<DType>(tensor.type)).block_values;
    std::vector<float> values(count);
    tensor::DequantizeRow(static_cast<DType>(tensor.type),
                          std::as_bytes(std::span(out)).data() + tensor.offset, count,
                          values.data());
    // Half a step of 4 bits over -50 to 50, and the rounding of the scales.
    for (size_t i = 0; i < count; ++i)
      EXPECT_NEAR(values[i], static_cast<float>(i % 101) - 50, 5) << tensor.name << i;
  }
}

TEST_F(QuantizeModelTest, MetadataIsKeptButForTheFileType) {
  ASSERT_TRUE(Quantize(Source(), DType::kQ5_K));
  const std::string out = sys::ReadFile(Path("out.gguf")).value();
  const auto gguf = model::ParseText(out).value();
  EXPECT_EQ(gguf.GetUint("general.file_type").value(), 16u);
  EXPECT_EQ(gguf.GetUint("general.quantization_version").value(), 2u);
  EXPECT_EQ(gguf.GetString("general.architecture").value(), "anything");
  EXPECT_EQ(gguf.GetStrings("tokens").value(), (std::vector<std::string>{"a", "bc"}));
  EXPECT_EQ(gguf.keys().size(), 4u);
}

TEST_F(QuantizeModelTest, WhatIsOfTheTypeAlreadyKeepsItsBytes) {
  ASSERT_TRUE(Quantize(Source(), DType::kQ4_K));
  const std::string once = sys::ReadFile(Path("out.gguf")).value();
  std::filesystem::rename(Path("out.gguf"), Path("in.gguf"));
  const auto again = Quantize(Path("in.gguf"), DType::kQ4_K);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->requantized, 0u);
  EXPECT_EQ(sys::ReadFile(Path("out.gguf")).value(), once);
  EXPECT_EQ(Quantize(Path("in.gguf"), DType::kQ4_0)->requantized, 3u);
}

TEST_F(QuantizeModelTest, AWeightThatIsNoNumberIsNamedAndNothingIsLeft) {
  const auto source = Source([](const model::Gguf& gguf, std::string& bytes) {
    for (const size_t row : {17, 250}) {
      const float wrong = row == 17 ? std::numeric_limits<float>::quiet_NaN()
                                    : std::numeric_limits<float>::infinity();
      std::memcpy(
          bytes.data() + gguf.FindTensor("blk.0.attn_q.weight")->offset + (row * 256 + 3) * 4,
          &wrong, 4);
    }
  });
  const auto done = Quantize(source, DType::kQ4_K, 3);
  ASSERT_FALSE(done.has_value());
  EXPECT_TRUE(
      done.error().message.starts_with("tensor 'blk.0.attn_q.weight', row 17: value 3 is nan"))
      << done.error().message;
  EXPECT_EQ(sys::ListFolder(std::filesystem::path(source).parent_path()),
            std::vector<std::string>{"in.gguf"});
}

}  // namespace
}  // namespace exo::store
