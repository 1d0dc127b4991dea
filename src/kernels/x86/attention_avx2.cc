#include "kernels/x86/simd_avx2.h"
//
#include "kernels/x86/ops.h"

namespace exo::kernels::x86 {
#include "kernels/x86/attention.inc"

void FillAvx2Attention(Ops& ops) {
  FillAttention(ops);
}

}  // namespace exo::kernels::x86
