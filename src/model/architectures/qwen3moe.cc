// Qwen 3 with experts: the weights of the chosen ones sum to one.
#include "model/architectures/architecture.h"

namespace exo::model {
namespace {

Result<void> Configure(const Keys& keys, ModelConfig& config) {
  config.rope_style = RopeStyle::kHalves;
  config.qk_norm = true;
  config.experts.renormalize = true;
  return ReadExperts(keys, config);
}

Result<void> FindLayer(LayerFinder& finder, const ModelConfig& config, LayerTensors& layer) {
  TRY(finder.Attention(config, layer));
  return finder.Experts(config, layer);
}

}  // namespace

const Architecture kQwen3Moe = {
    .name = "qwen3moe", .configure = Configure, .find_layer = FindLayer};

}  // namespace exo::model
