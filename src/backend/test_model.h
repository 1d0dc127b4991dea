// A small random model in memory, of every kind that a stage computes. For tests only.
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/random.h"
#include "tensor/blocks.h"
#include "tensor/float16.h"

namespace exo::backend {

using tensor::DType;

// Tensors that live in memory, filled with valid random blocks.
class MemorySource final : public TensorSource {
 public:
  model::TensorRef Add(std::string name, DType type, uint64_t rows, uint64_t cols,
                       uint64_t count = 1) {
    model::TensorRef ref{.name = name, .type = type, .rows = rows, .cols = cols, .count = count};
    const uint64_t row = tensor::RowBytes(type, cols).value();
    ref.bytes = count * rows * row;
    std::vector<std::byte> bytes(ref.bytes);
    if (type == DType::kF32) {
      auto* values = reinterpret_cast<float*>(bytes.data());
      for (uint64_t i = 0; i < count * rows * cols; ++i) values[i] = 0.1f * Value();
    } else {
      for (std::byte& b : bytes) b = static_cast<std::byte>(rng_.Next());
      const auto& info = tensor::Info(type);
      for (uint64_t at = 0; at < bytes.size(); at += info.block_bytes) SetScale(type, &bytes[at]);
    }
    data_[name] = std::move(bytes);
    return ref;
  }
  // A norm's gain or a bias around `middle`.
  model::TensorRef AddVector(std::string name, uint64_t size, float middle) {
    model::TensorRef ref = Add(name, DType::kF32, 1, size);
    ref.vector = true;
    auto* values = reinterpret_cast<float*>(data_.at(name).data());
    for (uint64_t i = 0; i < size; ++i) values[i] = middle + values[i];
    return ref;
  }
  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                          uint64_t bytes) override {
    return std::span<const std::byte>(data_.at(tensor.name)).subspan(offset, bytes);
  }
  void Done(const model::TensorRef&, uint64_t, uint64_t) override {}
  // Of F32 tensors.
  std::span<float> Values(const model::TensorRef& tensor) {
    std::vector<std::byte>& bytes = data_.at(tensor.name);
    return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
  }

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
      tensor::SetScale(type, tensor::FloatToHalf(scale), block);
      if (tensor::Info(type).minimum) Half(block + tensor::ScaleOffset(type) + 2, scale * middle);
    }
  }
  static void Half(std::byte* at, float value) {
    const uint16_t half = tensor::FloatToHalf(value);
    std::memcpy(at, &half, 2);
  }

  // The largest product of sub-scale and code, and the minimum in scales that centers the values.
  static inline const std::map<DType, std::pair<float, float>> kCodes = {
      {DType::kQ8_0, {128, 0}},     {DType::kQ4_0, {8, 0}},    {DType::kQ4_1, {8, -8}},
      {DType::kQ5_0, {16, 0}},      {DType::kQ5_1, {16, -16}}, {DType::kIQ4_NL, {127, 0}},
      {DType::kQ2_K, {22, 1.5f}},   {DType::kQ3_K, {128, 0}},  {DType::kQ4_K, {480, 7.5f}},
      {DType::kQ5_K, {960, 15.5f}}, {DType::kQ6_K, {2048, 0}}, {DType::kIQ4_XS, {4064, 0}},
      {DType::kIQ1_S, {15, 0}},     {DType::kIQ1_M, {15, 0}},  {DType::kIQ2_XXS, {150, 0}},
      {DType::kIQ2_XS, {150, 0}},   {DType::kIQ2_S, {150, 0}}, {DType::kIQ3_XXS, {450, 0}},
      {DType::kIQ3_S, {450, 0}},    {DType::kTQ1_0, {1, 0}},   {DType::kTQ2_0, {2, 0}}};
  Rng rng_{7};
  std::map<std::string, std::vector<std::byte>> data_;
};

enum class Kind {
  kLlama,
  kQwen,          // all biases, norms of q and k, halves, tied
  kExperts,       // as qwen3moe: 6 experts, 2 of them renormalized
  kSharedExpert,  // as qwen2moe: 9 experts, 3 of them, and a shared one
  kGemma,         // as gemma3: a window of 12 in two layers of three, norms behind, GELU
};

struct TestHeads {
  uint32_t heads = 4;
  uint32_t kv_heads = 2;
  uint32_t head_dim = 64;
};

// 5 layers, width 256, 300 tokens; types mixed as real files mix them.
struct TestModel {
  static constexpr uint32_t kVocab = 300;
  std::shared_ptr<model::ModelConfig> config = std::make_shared<model::ModelConfig>();
  std::shared_ptr<model::ModelTensors> tensors = std::make_shared<model::ModelTensors>();
  MemorySource source;

  TestModel(DType matrices, DType output, Kind kind, const TestHeads& heads = {})
      : matrices_(matrices), output_(output), kind_(kind) {
    SetConfig(heads);
    tensors->token_embd = source.Add("token_embd.weight", output, kVocab, 256);
    tensors->output_norm = source.AddVector("output_norm.weight", 256, 1);
    tensors->output = config->tied_output ? tensors->token_embd
                                          : source.Add("output.weight", output, kVocab, 256);
    for (uint32_t i = 0; i < config->layers; ++i) AddLayer(i);
  }

  // An adapter of all matrices that can be adapted, with large tensors of `type`.
  StageAdapter MakeAdapter(const std::string& name, DType type, uint32_t rank, float alpha) {
    auto adapter = std::make_shared<model::AdapterTensors>();
    adapter->alpha = alpha;
    adapter->max_rank = rank;
    for (const model::LayerTensors& layer : tensors->layers) {
      model::AdapterLayer& own = adapter->layers.emplace_back();
      const auto add = [&](model::AdapterTarget target, const model::TensorRef& base) {
        own.pairs[static_cast<size_t>(target)] = model::AdapterPair{
            .a = source.Add(name + base.name + ".lora_a", type, rank, base.cols),
            .b = source.Add(name + base.name + ".lora_b", type, base.rows, rank)};
      };
      add(model::AdapterTarget::kQ, layer.attn_q);
      add(model::AdapterTarget::kK, layer.attn_k);
      add(model::AdapterTarget::kV, layer.attn_v);
      add(model::AdapterTarget::kOutput, layer.attn_output);
      if (layer.ffn_gate) add(model::AdapterTarget::kGate, *layer.ffn_gate);
      if (layer.ffn_up) add(model::AdapterTarget::kUp, *layer.ffn_up);
      if (layer.ffn_down) add(model::AdapterTarget::kDown, *layer.ffn_down);
    }
    // The fixture outlives what is loaded from it.
    return {.tensors = adapter, .source = {std::shared_ptr<void>(), &source}};
  }

 private:
  void SetConfig(const TestHeads& heads) {
    const bool llama = kind_ == Kind::kLlama;
    const bool tied = kind_ == Kind::kQwen || kind_ == Kind::kGemma;
    *config = {.architecture = "test",
               .layers = 5,
               .width = 256,
               .ffn_width = 512,
               .heads = heads.heads,
               .kv_heads = heads.kv_heads,
               .head_dim = heads.head_dim,
               .vocab = kVocab,
               .context = 1024,
               .rope_style = llama ? model::RopeStyle::kInterleaved : model::RopeStyle::kHalves,
               .rotary_dim = heads.head_dim,
               .tied_output = tied,
               .qkv_bias = kind_ == Kind::kQwen || kind_ == Kind::kSharedExpert,
               .output_bias = kind_ == Kind::kQwen,
               .qk_norm = !llama && kind_ != Kind::kSharedExpert};
    if (kind_ == Kind::kExperts) {
      config->ffn_width = 0;
      config->experts = {.count = 6, .used = 2, .width = 128, .renormalize = true};
    }
    if (kind_ == Kind::kSharedExpert)
      config->experts = {.count = 9, .used = 3, .width = 128, .shared = true};
    if (kind_ == Kind::kGemma) {
      config->activation = model::Activation::kGelu;
      config->post_norms = true;
      config->embedding_scale = 16;
      config->rope_scale = 0.125;
      config->rope_base = 1e6;
      config->window = 12;
      config->window_period = 3;
    }
  }

  void AddLayer(uint32_t index) {
    const auto name = [&](const char* part) { return fmt::format("blk.{}.{}", index, part); };
    const auto add = [&](const char* part, DType type, uint64_t rows, uint64_t cols,
                         uint64_t count = 1) {
      return source.Add(name(part), type, rows, cols, count);
    };
    const auto gain = [&](const char* part, uint64_t size) {
      return source.AddVector(name(part), size, 1);
    };
    const auto bias = [&](const char* part, uint64_t size) {
      return source.AddVector(name(part), size, 0);
    };
    model::LayerTensors layer;
    layer.attn_norm = gain("attn_norm", 256);
    const uint64_t q = config->q_width(), kv = config->kv_width();
    layer.attn_q = add("attn_q", matrices_, q, 256);
    layer.attn_k = add("attn_k", matrices_, kv, 256);
    layer.attn_v = add("attn_v", output_, kv, 256);
    layer.attn_output = add("attn_output", matrices_, 256, q);
    layer.ffn_norm = gain("ffn_norm", 256);
    if (const uint64_t ffn = config->ffn_width; ffn != 0) {
      layer.ffn_gate = add("ffn_gate", matrices_, ffn, 256);
      layer.ffn_up = add("ffn_up", matrices_, ffn, 256);
      layer.ffn_down = add("ffn_down", matrices_, 256, ffn);
    }
    if (config->qkv_bias) {
      layer.q_bias = bias("q_bias", q);
      layer.k_bias = bias("k_bias", kv);
      layer.v_bias = bias("v_bias", kv);
    }
    if (config->output_bias) layer.o_bias = bias("o_bias", 256);
    if (config->qk_norm) {
      layer.q_norm = gain("q_norm", config->head_dim);
      layer.k_norm = gain("k_norm", config->head_dim);
    }
    if (config->post_norms) {
      layer.post_attn_norm = gain("post_attn_norm", 256);
      layer.post_ffn_norm = gain("post_ffn_norm", 256);
    }
    if (const auto& experts = config->experts; experts.count != 0) {
      layer.router = add("router", DType::kF32, experts.count, 256);
      layer.gate_exps = add("gate_exps", matrices_, experts.width, 256, experts.count);
      layer.up_exps = add("up_exps", output_, experts.width, 256, experts.count);
      layer.down_exps = add("down_exps", matrices_, 256, experts.width, experts.count);
      if (experts.shared) layer.shared_router = add("shared_router", DType::kF32, 1, 256);
    }
    tensors->layers.push_back(layer);
  }

  const DType matrices_, output_;
  const Kind kind_;
};

}  // namespace exo::backend
