// Gemma 3: norms before and after each block, GELU, five layers with a window for each that attends
// to all. Its norm weights are stored with the 1 added.
#include <cmath>

#include "model/architectures/architecture.h"

namespace exo::model {
namespace {

constexpr uint32_t k27BLayers = 62;

Result<void> Configure(const Keys& keys, ModelConfig& config) {
  config.rope_style = RopeStyle::kHalves;
  config.qk_norm = true;
  config.post_norms = true;
  config.activation = Activation::kGelu;
  config.embedding_scale = std::sqrt(static_cast<float>(config.width));
  // The 27B model divides by the square root of another number than its head size; no key says so.
  if (config.layers == k27BLayers) {
    config.attention_scale = 1.0f / std::sqrt(static_cast<float>(config.width / config.heads));
  }
  if (keys.Has("attention.sliding_window")) {
    config.window = TRY(keys.Uint("attention.sliding_window", kMaxContext));
    config.window_period = TRY(keys.Uint("attention.sliding_window_pattern", kMaxLayers, 6));
    config.window_rope_base = TRY(ReadRopeBase(keys, "rope.freq_base_swa", 10000.0));
  }
  return ReadDenseWidth(keys, config);
}

Result<void> FindLayer(LayerFinder& finder, const ModelConfig& config, LayerTensors& layer) {
  TRY(finder.Attention(config, layer));
  TRY(finder.Dense(config, layer));
  layer.post_attn_norm = TRY(finder.Vector("post_attention_norm.weight", config.width));
  layer.post_ffn_norm = TRY(finder.Vector("post_ffw_norm.weight", config.width));
  return {};
}

}  // namespace

const Architecture kGemma3 = {.name = "gemma3", .configure = Configure, .find_layer = FindLayer};

}  // namespace exo::model
