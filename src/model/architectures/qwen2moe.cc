// Qwen 1.5 and 2 with experts: each token's experts, weighted by the softmax over all of them, and
// one shared expert behind a sigmoid.
#include "model/architectures/architecture.h"

namespace exo::model {
namespace {

Result<void> Configure(const Keys& keys, ModelConfig& config) {
  config.rope_style = RopeStyle::kHalves;
  config.qkv_bias = true;
  config.experts.shared = true;
  config.ffn_width = TRY(keys.Uint("expert_shared_feed_forward_length", kMaxFfnWidth));
  return ReadExperts(keys, config);
}

Result<void> FindLayer(LayerFinder& finder, const ModelConfig& config, LayerTensors& layer) {
  TRY(finder.Attention(config, layer));
  TRY(finder.Experts(config, layer));
  return finder.SharedExpert(config, layer);
}

}  // namespace

const Architecture kQwen2Moe = {
    .name = "qwen2moe", .configure = Configure, .find_layer = FindLayer};

}  // namespace exo::model
