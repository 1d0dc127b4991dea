#include "kernels/x86/simd_avx512.h"
//
#include "kernels/x86/ops.h"

namespace exo::kernels::x86 {
#include "kernels/x86/rows.inc"

void FillAvx512Rows(Ops& ops) {
  FillRows(ops);
}

}  // namespace exo::kernels::x86
