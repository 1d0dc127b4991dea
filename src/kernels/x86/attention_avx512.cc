#include "kernels/x86/simd_avx512.h"
//
#include "kernels/panel/ops.h"

namespace exo::kernels::panel {
#include "kernels/panel/attention.inc"

void FillAvx512Attention(Ops& ops) {
  FillAttention(ops);
}

}  // namespace exo::kernels::panel
