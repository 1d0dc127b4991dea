// A device's speed, measured once and kept in the state file under the device's name, instruction
// set and thread count; measured anew when they change.
#pragma once

#include "backend/backend.h"
#include "base/result.h"
#include "store/state.h"

namespace exo::node {

// From the state file when it fits, else measured (about a second) and saved.
Result<backend::Speed> KnownSpeed(backend::Backend& backend, store::State& state);

}  // namespace exo::node
