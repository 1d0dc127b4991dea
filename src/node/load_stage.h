// Loads one stage: from the file of this node, or by pulling manifest and tensors from a member
// that has it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "backend/backend.h"
#include "base/result.h"
#include "net/identity.h"
#include "node/instance_runner.h"

namespace exo::node {

struct LoadedStage {
  std::shared_ptr<const model::ModelConfig> config;
  std::unique_ptr<backend::StageCompute> compute;
};

// Blocks: runner threads only. Errors: those of the backend and of pulling; kNotFound when no
// member has the model; kCancelled.
Result<LoadedStage> LoadStage(const net::Identity& identity, backend::Backend& backend,
                              const RunnerOptions& options,
                              const std::function<void(uint64_t, uint64_t)>& progress,
                              const std::atomic<bool>* cancel);

// The manifest of a model from one member, checked against its id. Blocks. Errors: kDisconnected,
// kNotFound, kCorrupt.
Result<std::shared_ptr<const store::Manifest>> PullManifest(const net::Identity& identity,
                                                            const net::DialOptions& holder,
                                                            const ModelId& model);

}  // namespace exo::node
