// Configurations and tensors of every architecture, and what is refused.
#include <gtest/gtest.h>

#include <cmath>

#include "model/gguf_builder.h"
#include "model/tensors.h"

namespace exo::model {
namespace {

std::string ConfigError(const GgufBuilder& file, ErrorCode code) {
  const std::string bytes = file.Build();
  const auto gguf = ParseText(bytes);
  EXPECT_TRUE(gguf.has_value()) << gguf.error().message;
  if (!gguf) return "";
  const auto config = ReadConfig(*gguf);
  if (config) return "";
  EXPECT_EQ(config.error().code, code) << config.error().message;
  return config.error().message;
}

TEST(ConfigTest, ReadsEveryArchitecture) {
  struct Case {
    const char* name;
    bool bias, norms;
    size_t tensors;
  };
  for (const Case& c : {Case{"llama", false, false, 9}, Case{"qwen2", true, false, 12},
                        Case{"qwen3", false, true, 11}, Case{"qwen2moe", true, false, 17},
                        Case{"qwen3moe", false, true, 12}, Case{"gemma3", false, true, 13}}) {
    SCOPED_TRACE(c.name);
    GgufBuilder file = TinyModel(c.name);
    const std::string bytes = TinyTensors(file, c.name).Build();
    const auto gguf = ParseText(bytes);
    ASSERT_TRUE(gguf.has_value()) << gguf.error().message;
    const auto config = ReadConfig(*gguf);
    ASSERT_TRUE(config.has_value()) << config.error().message;
    EXPECT_EQ(config->head_dim, 16u);
    EXPECT_EQ(config->vocab, 4u);
    EXPECT_TRUE(config->tied_output);
    EXPECT_EQ(config->qkv_bias, c.bias);
    EXPECT_EQ(config->qk_norm, c.norms);
    EXPECT_EQ(config->rope_style == RopeStyle::kInterleaved, c.name == std::string("llama"));
    const auto tensors = FindTensors(*gguf, *config);
    ASSERT_TRUE(tensors.has_value()) << tensors.error().message;
    EXPECT_EQ(tensors->layers[0].All().size(), c.tensors);
    EXPECT_EQ(tensors->layers[0].ffn_down.has_value(), c.name != std::string("qwen3moe"));
  }
}

TEST(ConfigTest, ReadsMixtures) {
  GgufBuilder shared = TinyModel("qwen2moe").Uint("qwen2moe.vocab_size", 4);
  const std::string bytes = shared.Build();
  const ModelConfig config = ReadConfig(ParseText(bytes).value()).value();
  EXPECT_EQ(config.experts.count, 4u);
  EXPECT_EQ(config.experts.used, 2u);
  EXPECT_EQ(config.experts.width, 8u);
  EXPECT_TRUE(config.experts.shared);
  EXPECT_FALSE(config.experts.renormalize);
  EXPECT_EQ(config.ffn_width, 24u);
  GgufBuilder plain = TinyModel("qwen3moe");
  const std::string with_tensors = TinyTensors(plain, "qwen3moe").Build();
  const auto gguf = ParseText(with_tensors);
  const ModelConfig other = ReadConfig(*gguf).value();
  EXPECT_FALSE(other.experts.shared);
  EXPECT_TRUE(other.experts.renormalize);
  const auto tensors = FindTensors(*gguf, other);
  ASSERT_TRUE(tensors.has_value()) << tensors.error().message;
  const TensorRef& down = *tensors->layers[0].down_exps;
  EXPECT_EQ(down.rows, 32u);
  EXPECT_EQ(down.cols, 8u);
  EXPECT_EQ(down.count, 4u);
  EXPECT_EQ(down.count_read(other.experts.used), 2u);
  EXPECT_EQ(tensors->layers[0].router->count_read(other.experts.used), 1u);
}

TEST(ConfigTest, RefusesImpossibleMixtures) {
  const auto error = [](const char* key, uint32_t value) {
    GgufBuilder file;
    file.String("general.architecture", "qwen3moe").Uint("qwen3moe.vocab_size", 4);
    for (const auto& [name, number] :
         std::vector<std::pair<std::string, uint32_t>>{{"block_count", 1},
                                                       {"context_length", 64},
                                                       {"embedding_length", 32},
                                                       {"attention.head_count", 2},
                                                       {"expert_count", 4},
                                                       {"expert_used_count", 2},
                                                       {"expert_feed_forward_length", 8}}) {
      file.Uint("qwen3moe." + name, name == key ? value : number);
    }
    file.Float("qwen3moe.attention.layer_norm_rms_epsilon", 1e-5f);
    return ConfigError(file, ErrorCode::kCorrupt);
  };
  EXPECT_EQ(error("none", 0), "");
  EXPECT_TRUE(error("expert_count", 0).contains("qwen3moe.expert_count' is 0"));
  EXPECT_TRUE(error("expert_count", 1u << 31).contains("2147483648"));
  EXPECT_TRUE(error("expert_used_count", 0).contains("expert_used_count"));
  EXPECT_TRUE(
      error("expert_used_count", 5).contains("5 experts for each token of a model that has 4"));
  EXPECT_TRUE(error("expert_used_count", 200).contains("200"));
  EXPECT_TRUE(error("expert_feed_forward_length", 0).contains("expert_feed_forward_length"));
}

TEST(ConfigTest, ReadsWindowsAndScalesOfGemma) {
  const auto read = [](uint32_t layers) {
    GgufBuilder file;
    file.String("general.architecture", "gemma3").Uint("gemma3.vocab_size", 4);
    for (const auto& [name, number] :
         std::vector<std::pair<std::string, uint32_t>>{{"block_count", layers},
                                                       {"context_length", 4096},
                                                       {"embedding_length", 256},
                                                       {"feed_forward_length", 64},
                                                       {"attention.head_count", 2},
                                                       {"attention.key_length", 64},
                                                       {"attention.value_length", 64},
                                                       {"attention.sliding_window", 512}}) {
      file.Uint("gemma3." + name, number);
    }
    file.Float("gemma3.attention.layer_norm_rms_epsilon", 1e-6f)
        .Float("gemma3.rope.freq_base", 1e6f);
    const std::string bytes = file.Build();
    return ReadConfig(ParseText(bytes).value()).value();
  };
  const ModelConfig config = read(26);
  EXPECT_EQ(config.embedding_scale, 16.0f);
  EXPECT_EQ(config.activation, Activation::kGelu);
  EXPECT_TRUE(config.post_norms);
  EXPECT_EQ(config.rope_base, 1e6);
  EXPECT_EQ(config.window_rope_base, 1e4);
  EXPECT_EQ(config.attention_scale, 0.0f);
  for (uint32_t layer = 0; layer < 26; ++layer) {
    EXPECT_EQ(config.WindowOf(layer), layer % 6 == 5 ? 0u : 512u) << layer;
  }
  EXPECT_EQ(read(62).attention_scale, 1.0f / std::sqrt(128.0f));  // the 27B model: 256 / 2 heads
}

TEST(ConfigTest, RefusesImpossibleWindows) {
  const auto error = [](const char* key, uint32_t value) {
    GgufBuilder file = TinyModel("gemma3").Uint("gemma3.vocab_size", 4);
    if (std::string_view(key) != "attention.sliding_window")
      file.Uint("gemma3.attention.sliding_window", 8);
    return ConfigError(file.Uint(std::string("gemma3.") + key, value), ErrorCode::kCorrupt);
  };
  EXPECT_EQ(error("attention.sliding_window", 100000), "");  // more than the context: harmless
  EXPECT_TRUE(error("attention.sliding_window", 0).contains("sliding_window' is 0"));
  EXPECT_TRUE(error("attention.sliding_window", ~0u).contains("4294967295"));
  EXPECT_TRUE(error("attention.sliding_window_pattern", 0).contains("pattern"));
}

TEST(TensorsTest, NamesEachTensorOfAnArchitectureThatIsMissing) {
  for (const auto& [architecture, name] : std::vector<std::pair<std::string, std::string>>{
           {"qwen3moe", "blk.0.ffn_gate_inp.weight"},
           {"qwen3moe", "blk.0.ffn_down_exps.weight"},
           {"qwen2moe", "blk.0.ffn_up_shexp.weight"},
           {"qwen2moe", "blk.0.ffn_gate_inp_shexp.weight"},
           {"gemma3", "blk.0.post_ffw_norm.weight"}}) {
    GgufBuilder file = TinyModel(architecture);
    const std::string bytes = TinyTensors(file, architecture, name).Build();
    const auto gguf = ParseText(bytes);
    ASSERT_TRUE(gguf.has_value()) << gguf.error().message;
    const auto tensors = FindTensors(*gguf, ReadConfig(*gguf).value());
    ASSERT_FALSE(tensors.has_value());
    EXPECT_EQ(tensors.error().message, fmt::format("the tensor '{}' is missing", name));
  }
}

TEST(ConfigTest, NamesWhatItCannotRun) {
  const auto llama = [] { return TinyModel("llama").Uint("llama.vocab_size", 4); };
  EXPECT_EQ(ConfigError(llama(), ErrorCode::kUnsupported), "");
  EXPECT_TRUE(ConfigError(TinyModel("mamba"), ErrorCode::kUnsupported)
                  .contains("qwen3moe"));  // what there is
  EXPECT_TRUE(
      ConfigError(llama().String("llama.rope.scaling.type", "yarn"), ErrorCode::kUnsupported)
          .contains("yarn"));
  EXPECT_TRUE(ConfigError(llama().Uint("llama.expert_count", 8), ErrorCode::kUnsupported)
                  .contains("experts"));
  EXPECT_TRUE(
      ConfigError(llama().Uint("llama.attention.sliding_window", 8), ErrorCode::kUnsupported)
          .contains("8"));
  EXPECT_TRUE(ConfigError(llama().Uint("llama.attention.value_length", 8), ErrorCode::kUnsupported)
                  .contains("8"));
}

TEST(ConfigTest, ReadsLinearRopeScaling) {
  GgufBuilder file = TinyModel("llama").Uint("llama.vocab_size", 4);
  file.String("llama.rope.scaling.type", "linear").Float("llama.rope.scaling.factor", 4.0f);
  const std::string bytes = file.Build();
  EXPECT_EQ(ReadConfig(ParseText(bytes).value())->rope_scale, 0.25);
}

TEST(ConfigTest, RefusesImpossibleNumbers) {
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, uint32_t>>{{"attention.key_length", 0},
                                                     {"attention.key_length", 5000},
                                                     {"rope.dimension_count", 7},
                                                     {"rope.dimension_count", 18},
                                                     {"vocab_size", 0}}) {
    GgufBuilder file = TinyModel("llama");
    EXPECT_NE(ConfigError(file.Uint(std::string("llama.") + key, value), ErrorCode::kCorrupt), "")
        << key;
  }
  for (const float base : {0.0f, -1.0f, 0.5f, 1e30f}) {
    GgufBuilder file = TinyModel("llama").Uint("llama.vocab_size", 4);
    EXPECT_NE(ConfigError(file.Float("llama.rope.freq_base", base), ErrorCode::kCorrupt), "")
        << base;
  }
}

TEST(TensorsTest, ChecksShapesTypesAndNames) {
  const auto find = [](GgufBuilder& file) {
    const std::string bytes = TinyTensors(file, "llama").Build();
    const auto gguf = ParseText(bytes);
    EXPECT_TRUE(gguf.has_value()) << gguf.error().message;
    const auto tensors = FindTensors(*gguf, ReadConfig(*gguf).value());
    return tensors ? Error{ErrorCode::kInvalid, ""} : tensors.error();
  };
  GgufBuilder sound = TinyModel("llama");
  EXPECT_EQ(find(sound).message, "");
  GgufBuilder extra = TinyModel("llama").Tensor("blk.0.attn_output.scale", {32}, 0, 128);
  EXPECT_EQ(find(extra).code, ErrorCode::kUnsupported);
  GgufBuilder untied = TinyModel("llama").Tensor("output.weight", {32, 5}, 0, 640);
  EXPECT_TRUE(find(untied).message.contains("shape [32, 5]"));
  GgufBuilder type = TinyModel("llama").Tensor("output.weight", {32, 4}, 9, 640);  // Q8_1
  const Error unsupported = find(type);
  EXPECT_EQ(unsupported.code, ErrorCode::kUnsupported);
  for (const char* name : {"Q8_1", "F32", "Q5_1", "Q2_K", "IQ4_XS", "MXFP4"})
    EXPECT_NE(unsupported.message.find(name), std::string::npos) << unsupported.message;
}

}  // namespace
}  // namespace exo::model
