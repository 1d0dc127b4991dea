// What all architectures share of ModelConfig; the rest is in architectures/.
#include "model/config.h"

#include <algorithm>

#include "model/architectures/architecture.h"
#include "model/tensors.h"

namespace exo::model {
namespace {

Result<void> ReadHeads(const Keys& keys, ModelConfig& config) {
  config.heads = TRY(keys.Uint("attention.head_count", kMaxHeads));
  config.kv_heads = TRY(keys.Uint("attention.head_count_kv", kMaxHeads, config.heads));
  if (config.heads % config.kv_heads != 0) {
    return Fail(ErrorCode::kCorrupt, "{} query heads cannot share {} key heads evenly",
                config.heads, config.kv_heads);
  }
  if (!keys.Has("attention.key_length") && config.width % config.heads != 0) {
    return Fail(ErrorCode::kCorrupt, "a width of {} is no multiple of {} heads", config.width,
                config.heads);
  }
  config.head_dim =
      TRY(keys.Uint("attention.key_length", kMaxHeadDim, config.width / config.heads));
  const uint32_t value_length =
      TRY(keys.Uint("attention.value_length", kMaxHeadDim, config.head_dim));
  if (value_length != config.head_dim) {
    return Fail(ErrorCode::kUnsupported,
                "keys of {} and values of {} numbers per head (they must be equal)",
                config.head_dim, value_length);
  }
  return {};
}

// Factors of the positions: none or linear. Llama 3 files bring rope_freqs.weight and name no
// scaling.
Result<void> ReadRopeScaling(const Keys& keys, ModelConfig& config) {
  const std::string type = keys.Text("rope.scaling.type");
  if (type.empty() || type == "linear") {
    const std::string_view suffix =
        keys.Has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
    const double factor = TRY(keys.Float(suffix, 1.0));
    if (factor > 1e6 || factor < 1e-6) {
      return Fail(ErrorCode::kCorrupt, "a rope scaling factor of {}", factor);
    }
    config.rope_scale = 1.0 / factor;
  } else if (type != "none") {
    return Fail(ErrorCode::kUnsupported,
                "rope scaling of the kind '{}' (this build has none and linear)", type);
  }
  return {};
}

Result<void> ReadRope(const Keys& keys, ModelConfig& config) {
  config.rotary_dim = TRY(keys.Uint("rope.dimension_count", kMaxHeadDim, config.head_dim));
  if (config.rotary_dim > config.head_dim || config.rotary_dim % 2 != 0) {
    return Fail(ErrorCode::kCorrupt, "{} rotated dimensions of {} in a head", config.rotary_dim,
                config.head_dim);
  }
  config.rope_base = TRY(ReadRopeBase(keys, "rope.freq_base", 10000.0));
  TRY(ReadRopeScaling(keys, config));
  config.rope_factors = keys.gguf().FindTensor("rope_freqs.weight") != nullptr;
  return {};
}

// Rows of the embedding where the file has it; else what the metadata says (vocabulary-only files).
Result<uint32_t> ReadVocab(const Gguf& gguf, const Keys& keys) {
  uint64_t tokens = 0;
  if (const GgufValue* value = gguf.Find("tokenizer.ggml.tokens")) {
    if (const auto* array = std::get_if<GgufArray>(value)) tokens = array->count;
  }
  const GgufTensor* embedding = gguf.FindTensor("token_embd.weight");
  if (embedding == nullptr) {
    if (tokens == 0 || keys.Has("vocab_size")) return keys.Uint("vocab_size", kMaxVocab);
    return static_cast<uint32_t>(std::min(tokens, kMaxVocab));
  }
  const uint64_t rows = embedding->dims.size() == 2 ? embedding->dims[1] : 0;
  if (rows == 0 || rows > kMaxVocab) {
    return Fail(ErrorCode::kCorrupt, "token_embd.weight has {} rows (1 to {} are possible)", rows,
                kMaxVocab);
  }
  if (tokens > rows) {
    return Fail(ErrorCode::kCorrupt, "the tokenizer has {} tokens, the embedding only {} rows",
                tokens, rows);
  }
  return static_cast<uint32_t>(rows);
}

// Options of the format that would change the arithmetic and that the architecture did not take.
Result<void> RefuseOptions(const Keys& keys, const ModelConfig& config) {
  for (const std::string_view suffix : {"expert_count", "expert_used_count"}) {
    if (config.experts.count == 0 && keys.Has(suffix) && keys.Uint(suffix, kMaxExperts)) {
      return Fail(ErrorCode::kUnsupported, "a mixture of experts ({}.{})", config.architecture,
                  suffix);
    }
  }
  if (config.window != 0) return {};
  if (const auto window = keys.Uint("attention.sliding_window", ~uint64_t{0} >> 32);
      window && *window < config.context) {
    return Fail(ErrorCode::kUnsupported, "sliding-window attention over {} positions", *window);
  }
  return {};
}

}  // namespace

Result<ModelConfig> ReadConfig(const Gguf& gguf) {
  const auto name = gguf.GetString("general.architecture");
  if (!name)
    return Fail(ErrorCode::kCorrupt, "the configuration is incomplete: {}", name.error().message);
  const Architecture& architecture = *TRY(FindArchitecture(*name));
  const Keys keys(gguf, *name);
  ModelConfig config;
  config.architecture = *name;
  config.name = gguf.GetString("general.name").value_or("");
  config.layers = TRY(keys.Uint("block_count", kMaxLayers));
  config.width = TRY(keys.Uint("embedding_length", kMaxWidth));
  config.context = TRY(keys.Uint("context_length", kMaxContext));
  TRY(ReadHeads(keys, config));
  config.vocab = TRY(ReadVocab(gguf, keys));
  config.norm_eps = static_cast<float>(TRY(keys.Float("attention.layer_norm_rms_epsilon")));
  if (!(config.norm_eps > 0 && config.norm_eps < 1)) {
    return Fail(ErrorCode::kCorrupt, "a norm epsilon of {}", config.norm_eps);
  }
  TRY(ReadRope(keys, config));
  config.tied_output = gguf.FindTensor("output.weight") == nullptr;
  config.qkv_bias = gguf.FindTensor("blk.0.attn_q.bias") != nullptr;
  config.output_bias = gguf.FindTensor("blk.0.attn_output.bias") != nullptr;
  TRY(architecture.configure(keys, config));
  if (keys.Has("attention.scale")) {
    config.attention_scale = static_cast<float>(TRY(keys.Float("attention.scale")));
  }
  TRY(RefuseOptions(keys, config));
  return config;
}

}  // namespace exo::model
