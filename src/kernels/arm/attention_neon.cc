#include "kernels/arm/parts.h"
#include "kernels/arm/simd_neon.h"

namespace exo::kernels::panel {
#include "kernels/panel/attention.inc"

void FillNeonAttention(Ops& ops) {
  FillAttention(ops);
}

}  // namespace exo::kernels::panel
