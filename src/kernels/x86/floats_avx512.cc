#include "kernels/x86/simd_avx512.h"
//
#include "kernels/panel/ops.h"

namespace exo::kernels::panel {
#include "kernels/panel/float_tiles.inc"
//
#include "kernels/panel/float_pairs.inc"

void FillAvx512Floats(Ops& ops) {
  FillFloats(ops);
  FillFloatPairs(ops);
}

}  // namespace exo::kernels::panel
