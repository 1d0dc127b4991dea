#include "kernels/x86/simd_avx512.h"
//
#include "kernels/x86/ops.h"

namespace exo::kernels::x86 {
#include "kernels/x86/attention.inc"

void FillAvx512Attention(Ops& ops) {
  FillAttention(ops);
}

}  // namespace exo::kernels::x86
