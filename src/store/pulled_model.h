// What is kept of a model whose tensors were all pulled from members: its name and its manifest, in
// a file beside the tensors, so that the model is known after a restart, whoever has left.
//
// Bytes: "exo-pulled-1\n", 32 bytes SHA-256 of the rest, u32 length of the name, the name, the
// manifest. The file is named by the model's id.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "store/manifest.h"

namespace exo::store {

struct PulledModel {
  std::string name;  // as people know it
  std::shared_ptr<const Manifest> manifest;
};

std::string PulledModelPath(const std::string& folder, const ModelId& id);
// The id that a file of this name stands for, if it is such a name.
std::optional<ModelId> PulledModelId(const std::string& file_name);

// Errors: kIo.
Result<void> WritePulledModel(const std::string& folder, const PulledModel& model);
// Nothing in the file is trusted. Errors: kIo, kNotFound, kCorrupt.
Result<PulledModel> ReadPulledModel(const std::string& folder, const ModelId& id);
// What cannot be removed is a line of the log.
void RemovePulledModel(const std::string& folder, const ModelId& id);

}  // namespace exo::store
