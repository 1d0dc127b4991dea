// What one architecture is: the options that its metadata means and the tensors of its layers. Each
// is one file here and one line in architectures.cc (docs/adding-a-model.md).
#pragma once

#include <string_view>

#include "base/result.h"
#include "model/config.h"
#include "model/keys.h"
#include "model/layer_finder.h"
#include "model/tensors.h"

namespace exo::model {

struct Architecture {
  std::string_view name;  // general.architecture, and the prefix of its keys
  // Sets the options in which it differs; shape, norm, positions and tied output are read already.
  // Errors: kCorrupt, kUnsupported; the key and its value named.
  Result<void> (*configure)(const Keys& keys, ModelConfig& config);
  // Finds the tensors of one layer. Errors: those of FindTensors.
  Result<void> (*find_layer)(LayerFinder& finder, const ModelConfig& config, LayerTensors& layer);
};

extern const Architecture kGemma3;
extern const Architecture kLlama;
extern const Architecture kQwen2;
extern const Architecture kQwen2Moe;
extern const Architecture kQwen3;
extern const Architecture kQwen3Moe;

// Errors: kUnsupported with the names that this build has.
Result<const Architecture*> FindArchitecture(std::string_view name);

// --- parts that several have
// -----------------------------------------------------------------------

// A base of the rotary angles, within what the tables can hold.
Result<double> ReadRopeBase(const Keys& keys, std::string_view suffix, double absent);
// feed_forward_length as the width of the dense block.
Result<void> ReadDenseWidth(const Keys& keys, ModelConfig& config);
// Count, number per token and width of the experts; 1 <= used <= count.
Result<void> ReadExperts(const Keys& keys, ModelConfig& config);

}  // namespace exo::model
