// The kernel sets for x86-64: AVX2 (with F16C) and AVX-512 (F, BW, VL, DQ, VNNI).
#pragma once

#include "kernels/kernels.h"

namespace exo::kernels::x86 {

// The set, or null when this machine or build lacks it.
const Kernels* FindKernels(Isa isa);

}  // namespace exo::kernels::x86
