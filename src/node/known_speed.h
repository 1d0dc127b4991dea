// A device's speed, kept in the state file under the device's name, instruction set and thread
// count. What was measured beside other programs is too low and never too high, so every start
// measures again and the best figures stay.
#pragma once

#include <optional>

#include "backend/backend.h"
#include "base/result.h"
#include "store/state.h"

namespace exo::node {

// What earlier starts have measured. Nothing: this is the first one on this device.
std::optional<backend::Speed> KnownSpeed(const backend::Backend& backend, store::State& state);
// Measures (about a second) and saves the better of the known figures and these.
Result<backend::Speed> MeasureSpeed(backend::Backend& backend, store::State& state);

}  // namespace exo::node
