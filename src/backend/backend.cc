#include "backend/backend.h"

namespace exo::backend {

bool HasOutput(const StageSpec& spec) {
  return spec.lead || (spec.shard && spec.shard->vocab_begin < spec.shard->vocab_end);
}

std::vector<const model::TensorRef*> StageTensors(const StageSpec& spec) {
  std::vector<const model::TensorRef*> tensors;
  const model::ModelTensors& all = *spec.tensors;
  const bool tied = spec.config->tied_output;
  if (spec.lead || (tied && HasOutput(spec))) tensors.push_back(&all.token_embd);
  if (HasOutput(spec)) {
    tensors.push_back(&all.output_norm);
    if (!tied) tensors.push_back(&all.output);
  }
  if (all.rope_freqs) tensors.push_back(&*all.rope_freqs);
  for (uint32_t i = spec.layer_begin; i < spec.layer_end; ++i) {
    for (const model::TensorRef* tensor : all.layers[i].All()) tensors.push_back(tensor);
  }
  return tensors;
}

}  // namespace exo::backend
