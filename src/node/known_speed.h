// A device's measured speed, kept in the state file under the device's name, instruction set and
// thread count, with the processor quota that it was measured under: the latest one. An older one
// says what the device gave then.
#pragma once

#include <optional>

#include "backend/backend.h"
#include "base/result.h"
#include "store/state.h"
#include "sys/cgroup.h"

namespace exo::node {

// What was measured last under this quota. Nothing: that was never done.
std::optional<backend::Speed> KnownSpeed(const backend::Backend& backend, store::State& state,
                                         const std::optional<sys::CpuQuota>& quota);
// Measures (see Backend::MeasureSpeed) and saves what was measured alone.
Result<backend::Speed> MeasureSpeed(backend::Backend& backend, store::State& state,
                                    const std::optional<sys::CpuQuota>& quota);

// The same of what formats and layers cost beside Q4_0, which does not depend on a quota and is
// measured once. Both tell the backend, too.
std::optional<backend::WorkCosts> KnownCosts(backend::Backend& backend, store::State& state);
Result<backend::WorkCosts> MeasureCosts(backend::Backend& backend, store::State& state);

}  // namespace exo::node
