// The numerics id: the version of the arithmetic's rules plus the hash of a known-answer run of
// every operation (docs/arithmetic.md, rule 11). Nodes with different ids never share an instance.
#pragma once

#include "base/ids.h"
#include "kernels/kernels.h"

namespace exo::kernels {

inline constexpr uint32_t kArithmeticVersion = 2;  // 2: rule 17

// Runs every operation of `kernels` on fixed inputs (about 10 ms) and hashes version and results,
// each NaN counted as one value. Equal for all kernel sets of a right build.
NumericsId ComputeNumericsId(const Kernels& kernels);

}  // namespace exo::kernels
