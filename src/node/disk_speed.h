// How fast this device reads a model's weights from where they lie, past the system's cache: what
// the planner counts on where layers are read for each token. Measured once for a folder, with the
// reads that a stage makes, and kept in the state file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "store/state.h"

namespace exo::node {

// Files that are smaller are read in too short a time.
inline constexpr uint64_t kLeastMeasuredBytes = 16u << 20;

// What was measured where this file lies. GB/s.
std::optional<double> KnownDiskSpeed(const std::string& path, store::State& state);
// Reads the file for half a second or to its end, and saves the result. Errors: those of reading;
// kInvalid for a file below kLeastMeasuredBytes.
Result<double> MeasureDiskSpeed(const std::string& path, store::State& state);

}  // namespace exo::node
