#include "kernels/x86/simd_avx2.h"
//
#include "kernels/panel/ops.h"

namespace exo::kernels::panel {
#include "kernels/panel/float_tiles.inc"

void FillAvx2Floats(Ops& ops) {
  FillFloats(ops);
}

}  // namespace exo::kernels::panel
