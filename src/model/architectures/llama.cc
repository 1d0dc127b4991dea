// Llama 2 and 3, Mistral, SmolLM: the plain transformer.
#include "model/architectures/architecture.h"

namespace exo::model {
namespace {

Result<void> Configure(const Keys& keys, ModelConfig& config) {
  config.rope_style = RopeStyle::kInterleaved;
  return ReadDenseWidth(keys, config);
}

Result<void> FindLayer(LayerFinder& finder, const ModelConfig& config, LayerTensors& layer) {
  TRY(finder.Attention(config, layer));
  return finder.Dense(config, layer);
}

}  // namespace

const Architecture kLlama = {.name = "llama", .configure = Configure, .find_layer = FindLayer};

}  // namespace exo::model
