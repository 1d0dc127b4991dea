// Qwen 3: norms on the heads of q and k.
#include "model/architectures/architecture.h"

namespace exo::model {
namespace {

Result<void> Configure(const Keys& keys, ModelConfig& config) {
  config.rope_style = RopeStyle::kHalves;
  config.qk_norm = true;
  return ReadDenseWidth(keys, config);
}

Result<void> FindLayer(LayerFinder& finder, const ModelConfig& config, LayerTensors& layer) {
  TRY(finder.Attention(config, layer));
  return finder.Dense(config, layer);
}

}  // namespace

const Architecture kQwen3 = {.name = "qwen3", .configure = Configure, .find_layer = FindLayer};

}  // namespace exo::model
