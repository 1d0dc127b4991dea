#include "checkpoint/model_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "kernels/binary64.h"
#include "model/keys.h"

namespace exo::checkpoint {
namespace {

using nlohmann::json;

constexpr std::array kFamilies = std::to_array<Family>({
    {.model_type = "llama", .architecture = "llama", .interleaved = true},
    {.model_type = "mistral", .architecture = "llama", .interleaved = true},
    {.model_type = "qwen2", .architecture = "qwen2"},
    {.model_type = "qwen3", .architecture = "qwen3"},
    {.model_type = "qwen2_moe", .architecture = "qwen2moe"},
    {.model_type = "qwen3_moe", .architecture = "qwen3moe"},
    {.model_type = "gemma3_text", .architecture = "gemma3", .gemma = true},
});

Result<const Family*> FindFamily(const Fields& config) {
  const std::string type = TRY(config.Text("model_type"));
  const auto found = std::ranges::find(kFamilies, type, &Family::model_type);
  if (found != kFamilies.end()) return &*found;
  std::vector<std::string_view> known;
  for (const Family& family : kFamilies) known.push_back(family.model_type);
  return Fail(ErrorCode::kUnsupported, "the model_type '{}' (this build reads {})", type,
              fmt::join(known, ", "));
}

// One architecture's keys, "llama." + suffix.
class Writer {
 public:
  Writer(Metadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(std::string(architecture) + ".") {}
  void Uint(std::string_view suffix, uint64_t value) {
    metadata_.Uint(prefix_ + std::string(suffix), value);
  }
  void Float(std::string_view suffix, double value) {
    metadata_.Float(prefix_ + std::string(suffix), value);
  }
  void Text(std::string_view suffix, std::string_view value) {
    metadata_.Text(prefix_ + std::string(suffix), value);
  }

 private:
  Metadata& metadata_;
  const std::string prefix_;
};

// A number from 1 to `most`.
Result<uint64_t> Count(const Fields& config, std::string_view key, uint64_t most,
                       std::optional<uint64_t> absent = {}) {
  const uint64_t value = TRY(config.Uint(key, absent));
  if (value >= 1 && value <= most) return value;
  return Fail(ErrorCode::kCorrupt, "{}: '{}' is {} (1 to {} is possible)", config.document(), key,
              value, most);
}

Result<void> CheckActivation(const Fields& config, const Family& family) {
  const std::string_view wanted = family.gemma ? "gelu_pytorch_tanh" : "silu";
  const std::string_view key = family.gemma ? "hidden_activation" : "hidden_act";
  const std::string found = TRY(config.Text(key, std::string(wanted)));
  if (found == wanted) return {};
  return Fail(ErrorCode::kUnsupported, "{}: '{}' is '{}' (of a {} model this build has {})",
              config.document(), key, found, family.architecture, wanted);
}

// Factors of Llama 3.1's long contexts: low frequencies are divided, those between blended.
Result<std::vector<float>> Llama3Factors(const Fields& scaling, double base, uint64_t dims) {
  const double factor = TRY(scaling.Float("factor"));
  const double low = TRY(scaling.Float("low_freq_factor", 1.0));
  const double high = TRY(scaling.Float("high_freq_factor", 4.0));
  const double old = TRY(scaling.Float("original_max_position_embeddings", 8192.0));
  if (factor < 1 || factor > 1e6 || low <= 0 || high <= low || old < 1) {
    return Fail(ErrorCode::kCorrupt, "{}: a factor of {} from frequency {} to {} over {} positions",
                scaling.document(), factor, low, high, old);
  }
  std::vector<float> factors;
  for (uint64_t i = 0; i < dims; i += 2) {
    const double frequency = static_cast<float>(
        kernels::InversePower(base, static_cast<double>(i), static_cast<double>(dims)));
    const double wavelength = 2 * std::numbers::pi / frequency;
    double divisor = 1;
    if (wavelength > old / low) {
      divisor = factor;
    } else if (wavelength >= old / high) {
      const double smooth = (old / wavelength - low) / (high - low);
      divisor = 1 / ((1 - smooth) / factor + smooth);
    }
    factors.push_back(static_cast<float>(divisor));
  }
  return factors;
}

Result<void> ReadRotation(const Fields& config, uint64_t head_dim, Writer& writer,
                          ModelDescription& model) {
  // Newer files put everything into rope_parameters, older ones a scaling into rope_scaling.
  const auto parameters = TRY(config.Object("rope_parameters"));
  const auto scaling = parameters ? parameters : TRY(config.Object("rope_scaling"));
  const Fields& holder = parameters && parameters->Has("rope_theta") ? *parameters : config;
  const double base = TRY(holder.Float("rope_theta", 10000.0));
  if (base < 1 || base > 1e12) return Fail(ErrorCode::kCorrupt, "a rope_theta of {}", base);
  writer.Float("rope.freq_base", base);
  writer.Uint("rope.dimension_count", head_dim);
  if (!scaling) return {};
  const std::string type =
      TRY(scaling->Text("rope_type", TRY(scaling->Text("type", std::string("default")))));
  if (type == "linear") {
    writer.Text("rope.scaling.type", "linear");
    writer.Float("rope.scaling.factor", TRY(scaling->Float("factor")));
  } else if (type == "llama3") {
    model.rope_factors = TRY(Llama3Factors(*scaling, base, head_dim));
  } else if (type != "default") {
    return Fail(ErrorCode::kUnsupported,
                "{}: rope scaling of the kind '{}' (this build has default, linear and llama3)",
                config.document(), type);
  }
  return {};
}

// Layers that attend to their last positions only.
Result<void> ReadWindow(const Fields& config, const Family& family, Writer& writer) {
  if (!family.gemma) {
    if (family.model_type != "mistral" && !TRY(config.Bool("use_sliding_window", false))) return {};
    if (config.Has("sliding_window"))
      writer.Uint("attention.sliding_window", TRY(config.Uint("sliding_window")));
    return {};
  }
  writer.Uint("attention.sliding_window", TRY(Count(config, "sliding_window", model::kMaxContext)));
  const uint64_t period = TRY(Count(config, "sliding_window_pattern", model::kMaxLayers,
                                    TRY(config.Uint("_sliding_window_pattern", 6))));
  writer.Uint("attention.sliding_window_pattern", period);
  writer.Float("rope.freq_base_swa", TRY(config.Float("rope_local_base_freq", 10000.0)));
  if (config.Has("query_pre_attn_scalar")) {
    const double scalar = TRY(config.Float("query_pre_attn_scalar"));
    if (scalar <= 0) return Fail(ErrorCode::kCorrupt, "a query_pre_attn_scalar of {}", scalar);
    // In binary32, as the scale is where no key says it.
    writer.Float("attention.scale", 1.0f / std::sqrt(static_cast<float>(scalar)));
  }
  return {};
}

Result<void> ReadExpertKeys(const Fields& config, const Family& family, Writer& writer) {
  const bool shared = family.architecture == "qwen2moe";
  if (!shared && family.architecture != "qwen3moe") return {};
  writer.Uint("expert_count", TRY(Count(config, "num_experts", model::kMaxExperts)));
  writer.Uint("expert_used_count",
              TRY(Count(config, "num_experts_per_tok", model::kMaxExpertsUsed)));
  writer.Uint("expert_feed_forward_length",
              TRY(Count(config, "moe_intermediate_size", model::kMaxFfnWidth)));
  if (shared) {
    writer.Uint("expert_shared_feed_forward_length",
                TRY(Count(config, "shared_expert_intermediate_size", model::kMaxFfnWidth)));
  }
  const bool normalized = TRY(config.Bool("norm_topk_prob", !shared));
  if (normalized == shared) {
    return Fail(ErrorCode::kUnsupported, "{}: 'norm_topk_prob' is {} (a {} model has {})",
                config.document(), normalized, family.architecture, !shared);
  }
  const json* dense = config.Find("mlp_only_layers");
  if (TRY(config.Uint("decoder_sparse_step", 1)) != 1 || (dense != nullptr && !dense->empty())) {
    return Fail(ErrorCode::kUnsupported, "{}: some layers have no experts (mlp_only_layers)",
                config.document());
  }
  return {};
}

Result<QuantizedAs> ReadQuantizedAs(const Fields& fields, const QuantizedAs& absent) {
  const std::string mode = TRY(fields.Text("mode", std::string("affine")));
  const uint64_t bits = TRY(fields.Uint("bits", absent.bits));
  const uint64_t group = TRY(fields.Uint("group_size", absent.group));
  if (mode != "affine" || (bits != 4 && bits != 8)) {
    return Fail(ErrorCode::kUnsupported,
                "{}: quantization of the mode '{}' with {} bits (this build reads affine with 4 "
                "and 8)",
                fields.document(), mode, bits);
  }
  if (group != 32 && group != 64 && group != 128) {
    return Fail(ErrorCode::kCorrupt, "{}: a group_size of {} (32, 64 and 128 are possible)",
                fields.document(), group);
  }
  return QuantizedAs{static_cast<uint32_t>(bits), static_cast<uint32_t>(group)};
}

Result<void> ReadQuantization(const Fields& config, ModelDescription& model) {
  for (const std::string_view key : {"quantization", "quantization_config"}) {
    const auto found = TRY(config.Object(key));
    if (!found) continue;
    if (found->Has("quant_method")) {
      return Fail(ErrorCode::kUnsupported,
                  "{}: weights quantized by '{}' (this build reads floats and MLX's affine codes): "
                  "take the unquantized model",
                  config.document(), TRY(found->Text("quant_method")));
    }
    model.quantized = TRY(ReadQuantizedAs(*found, {.bits = 4, .group = 64}));
    for (const auto& [module, value] : config.Find(key)->items()) {
      if (!value.is_object()) continue;
      model.other[module] = TRY(ReadQuantizedAs(
          Fields(value, fmt::format("{}: {}", found->document(), module)), model.quantized));
    }
    return {};
  }
  return {};
}

}  // namespace

Result<ModelDescription> ReadModelConfig(const Fields& config, Metadata& metadata) {
  ModelDescription model{.family = TRY(FindFamily(config))};
  const Family& family = *model.family;
  metadata.Text("general.architecture", family.architecture);
  Writer writer(metadata, family.architecture);
  model.layers = static_cast<uint32_t>(TRY(Count(config, "num_hidden_layers", model::kMaxLayers)));
  model.heads = static_cast<uint32_t>(TRY(Count(config, "num_attention_heads", model::kMaxHeads)));
  model.kv_heads = static_cast<uint32_t>(
      TRY(Count(config, "num_key_value_heads", model::kMaxHeads, model.heads)));
  const uint64_t width = TRY(Count(config, "hidden_size", model::kMaxWidth));
  const uint64_t head_dim =
      TRY(Count(config, "head_dim", model::kMaxHeadDim, family.gemma ? 256 : width / model.heads));
  if (head_dim % 2 != 0) {
    return Fail(ErrorCode::kCorrupt, "{}: heads of {} values, which cannot be rotated in pairs",
                config.document(), head_dim);
  }
  writer.Uint("block_count", model.layers);
  writer.Uint("context_length", TRY(Count(config, "max_position_embeddings", model::kMaxContext)));
  writer.Uint("embedding_length", width);
  writer.Uint("feed_forward_length", TRY(Count(config, "intermediate_size", model::kMaxFfnWidth)));
  writer.Uint("attention.head_count", model.heads);
  writer.Uint("attention.head_count_kv", model.kv_heads);
  writer.Uint("attention.key_length", head_dim);
  writer.Uint("attention.value_length", head_dim);
  writer.Float("attention.layer_norm_rms_epsilon", TRY(config.Float("rms_norm_eps", 1e-6)));
  TRY(CheckActivation(config, family));
  TRY(ReadRotation(config, head_dim, writer, model));
  TRY(ReadWindow(config, family, writer));
  TRY(ReadExpertKeys(config, family, writer));
  TRY(ReadQuantization(config, model));
  model.tied_output = TRY(config.Bool("tie_word_embeddings", family.gemma));
  return model;
}

}  // namespace exo::checkpoint
