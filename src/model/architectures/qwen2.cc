// Qwen 2 and 2.5: biases on q, k and v.
#include "model/architectures/architecture.h"

namespace exo::model {
namespace {

Result<void> Configure(const Keys& keys, ModelConfig& config) {
  config.rope_style = RopeStyle::kHalves;
  config.qkv_bias = true;
  return ReadDenseWidth(keys, config);
}

Result<void> FindLayer(LayerFinder& finder, const ModelConfig& config, LayerTensors& layer) {
  TRY(finder.Attention(config, layer));
  return finder.Dense(config, layer);
}

}  // namespace

const Architecture kQwen2 = {.name = "qwen2", .configure = Configure, .find_layer = FindLayer};

}  // namespace exo::model
