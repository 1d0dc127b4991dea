// config.json of a checkpoint: what it says of shape and arithmetic, as GGUF's keys.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/metadata.h"

namespace exo::checkpoint {

// How an architecture's tensors stand in checkpoints.
struct Family {
  std::string_view model_type;    // of config.json
  std::string_view architecture;  // of GGUF
  bool interleaved = false;       // GGUF has the rotated pairs of q and k side by side
  bool gemma = false;             // four norms a layer, each stored without its 1
};

// MLX's quantization of one module or of all.
struct QuantizedAs {
  uint32_t bits = 0;
  uint32_t group = 0;
};

struct ModelDescription {
  const Family* family = nullptr;
  uint32_t layers = 0;
  uint32_t heads = 0;
  uint32_t kv_heads = 0;
  bool tied_output = false;
  std::vector<float> rope_factors;                        // of Llama 3; empty: none
  QuantizedAs quantized;                                  // bits == 0: none
  std::map<std::string, QuantizedAs, std::less<>> other;  // modules with another quantization
};

// Writes what the configuration says into `metadata`. What would change the answer and has no key
// is refused. Errors: kCorrupt (a missing or impossible value), kUnsupported (the kind of model, of
// rope scaling, of quantization, an activation; each named).
Result<ModelDescription> ReadModelConfig(const Fields& config, Metadata& metadata);

}  // namespace exo::checkpoint
