#include "kernels/x86/simd_avx512.h"
//
#include "kernels/x86/ops.h"

namespace exo::kernels::x86 {
#include "kernels/x86/float_tiles.inc"

void FillAvx512Floats(Ops& ops) {
  FillFloats(ops);
}

}  // namespace exo::kernels::x86
