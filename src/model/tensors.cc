// The tensors of a model by their GGUF names, each checked against the configuration.
#include "model/tensors.h"

#include "model/architectures/architecture.h"
#include "model/layer_finder.h"

namespace exo::model {

std::vector<const TensorRef*> LayerTensors::All() const {
  std::vector<const TensorRef*> all = {&attn_norm, &attn_q,      &attn_k,
                                       &attn_v,    &attn_output, &ffn_norm};
  for (const auto* optional :
       {&q_bias, &k_bias, &v_bias, &o_bias, &q_norm, &k_norm, &post_attn_norm, &post_ffn_norm,
        &ffn_gate, &ffn_up, &ffn_down, &router, &gate_exps, &up_exps, &down_exps, &shared_router}) {
    if (*optional) all.push_back(&**optional);
  }
  return all;
}

uint64_t LayerTensors::OpsPerRow(uint64_t used) const {
  uint64_t weights = 0;
  for (const TensorRef* tensor : All()) {
    if (!tensor->vector) weights += tensor->rows * tensor->cols * tensor->count_read(used);
  }
  return 2 * weights;
}

Result<ModelTensors> FindTensors(const Gguf& gguf, const ModelConfig& config) {
  const Architecture& architecture = *TRY(FindArchitecture(config.architecture));
  TensorFinder finder(gguf);
  ModelTensors tensors;
  const Shape vocabulary = {.rows = config.vocab, .cols = config.width};
  tensors.token_embd = TRY(finder.Matrix("token_embd.weight", vocabulary));
  tensors.output_norm = TRY(finder.Vector("output_norm.weight", config.width));
  tensors.output =
      config.tied_output ? tensors.token_embd : TRY(finder.Matrix("output.weight", vocabulary));
  tensors.rope_freqs =
      TRY(finder.VectorIf(config.rope_factors, "rope_freqs.weight", config.rotary_dim / 2));
  for (uint32_t i = 0; i < config.layers; ++i) {
    LayerFinder layer(finder, i);
    TRY(architecture.find_layer(layer, config, tensors.layers.emplace_back()));
  }
  TRY(finder.RefuseOthers());
  return tensors;
}

}  // namespace exo::model
