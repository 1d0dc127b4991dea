#include "kernels/x86/simd_avx512.h"
//
#include "kernels/panel/ops.h"

namespace exo::kernels::panel {
#include "kernels/panel/rows.inc"

void FillAvx512Rows(Ops& ops) {
  FillRows(ops);
}

}  // namespace exo::kernels::panel
