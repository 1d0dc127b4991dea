#include "kernels/arm/parts.h"
#include "kernels/arm/simd_neon.h"

namespace exo::kernels::panel {
#include "kernels/panel/rows.inc"

void FillNeonRows(Ops& ops) {
  FillRows(ops);
}

}  // namespace exo::kernels::panel
