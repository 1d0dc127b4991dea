// Which tensors of a checkpoint become which of GGUF.
#pragma once

#include <vector>

#include "base/result.h"
#include "checkpoint/model_config.h"
#include "checkpoint/planned_tensor.h"
#include "checkpoint/safetensors.h"

namespace exo::checkpoint {

// The tensors of the GGUF file in its order: embedding, layers, output. Matrices keep their type,
// vectors become F32; MLX's 4-bit codes become Q4_1 where the scales allow it, else F32 as 8-bit
// ones do. `stored`: of all files. `reader` is used for scales only.
// Errors: kCorrupt (a tensor is there twice, an expert or scale is missing, shapes that do not
// fit), kUnsupported (a tensor or a type that nothing here knows, named); those of `reader`.
Result<std::vector<PlannedTensor>> PlanTensors(const ModelDescription& model,
                                               const std::vector<StoredTensor>& stored,
                                               const FileReader& reader);

}  // namespace exo::checkpoint
