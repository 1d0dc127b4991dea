// Products with the formats of 32-blocks by the VEX form of vpdpbusd (AVX-VNNI).
#include "kernels/x86/dots_avx2.h"
#include "tensor/code_tables.h"

namespace exo::kernels::panel {
namespace {

constexpr bool kUnsignedCodes = true;

// Finish after each product: clang otherwise puts a block's broadcasts on the stack and finishes
// token after token, which is slower than AVX2.
template <class W>
struct BlockDot {
  __m256i sum = _mm256_setzero_si256();

  template <int kGroup>
  EXO_INLINE void Add(__m256i w, __m256i x) {
    sum = _mm256_dpbusd_avx_epi32(sum, w, x);
    Finish(sum);
  }
};

}  // namespace
}  // namespace exo::kernels::panel

#include "kernels/x86/dots32_ymm.inc"

namespace exo::kernels::panel {

void FillAvxVnniDots32(Ops& ops) {
  FillDots32(ops);
}

}  // namespace exo::kernels::panel
