// Where a stage's model comes from: a file of this node, or a member that holds it. The engine only
// sees this; src/node implements it over the store and bulk links, tests over memory.
//
// Thread: the runner's; calls may block until `cancel` is set.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "model/config.h"
#include "model/tensors.h"
#include "model/tokenizer.h"

namespace exo::engine {

using Progress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

struct ModelParts {
  std::shared_ptr<const model::ModelConfig> config;
  std::shared_ptr<const model::ModelTensors> tensors;
};

// The layers [begin, end) of a stage.
struct LayerRange {
  uint32_t begin = 0;
  uint32_t end = 0;
};

class StageSource {
 public:
  virtual ~StageSource() = default;
  // Errors: kNotFound when nobody has the model (any more), kDisconnected, kCorrupt, kCancelled.
  virtual Result<ModelParts> Describe(const std::atomic<bool>* cancel) = 0;
  // The stage's tensors, at hand when this returns: `progress` counts bytes that had to be fetched
  // and is not called when none had to. Errors: those of Describe, kIo.
  virtual Result<std::unique_ptr<backend::TensorSource>> Fetch(const backend::StageSpec& spec,
                                                               const Progress& progress,
                                                               const std::atomic<bool>* cancel) = 0;
  // Of the model: what grammars of its answers need. Errors: those of Describe and of the
  // tokenizer.
  virtual Result<std::shared_ptr<const model::Tokenizer>> Tokenizer(
      const std::atomic<bool>* /*cancel*/) {
    return Fail(ErrorCode::kUnsupported, "this model has no tokenizer");
  }
  // The plan's adapters, in its order, with the tensors of these layers at hand. Errors: those of
  // Fetch; those of model::FindAdapter, for one that does not fit the model; each names the
  // adapter.
  virtual Result<std::vector<backend::StageAdapter>> FetchAdapters(
      const ModelParts& /*model*/, const LayerRange& /*layers*/,
      const std::atomic<bool>* /*cancel*/) {
    return std::vector<backend::StageAdapter>{};
  }
};

}  // namespace exo::engine
