// What the processor and the system support of each x86-64 kernel set.
#pragma once

namespace exo::kernels::panel {

bool HasAvx2();     // and F16C
bool HasAvxVnni();  // and AVX2: vpdpbusd in its VEX form
bool HasAvx512();   // and AVX2: F, BW, VL, DQ, VNNI

}  // namespace exo::kernels::panel
