#include "kernels/x86/simd_avx2.h"
//
#include "kernels/panel/ops.h"

namespace exo::kernels::panel {
#include "kernels/panel/rows.inc"

void FillAvx2Rows(Ops& ops) {
  FillRows(ops);
}

}  // namespace exo::kernels::panel
