#include "kernels/arm/parts.h"
#include "kernels/arm/simd_neon.h"

namespace exo::kernels::panel {
#include "kernels/panel/float_tiles.inc"

void FillNeonFloats(Ops& ops) {
  FillFloats(ops);
}

}  // namespace exo::kernels::panel
