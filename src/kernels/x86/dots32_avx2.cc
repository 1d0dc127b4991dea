// Products with the formats of 32-blocks by vpmaddubsw (AVX2).
#include "kernels/x86/dots_avx2.h"
#include "tensor/code_tables.h"

namespace exo::kernels::panel {
namespace {

constexpr bool kUnsignedCodes = false;

// Pairs of products are added in int16 as far as the codes allow, then widened.
template <class W>
struct BlockDot {
  __m256i run;
  __m256i sum;

  template <int kGroup>
  EXO_INLINE void Add(__m256i w, __m256i x) {
    const __m256i pairs = Multiply<W::kSigned>(w, x);
    run = kGroup % W::kRun == 0 ? pairs : _mm256_add_epi16(run, pairs);
    Finish(run);
    if constexpr ((kGroup + 1) % W::kRun == 0) {
      const __m256i dots = _mm256_madd_epi16(run, _mm256_set1_epi16(1));
      sum = kGroup + 1 == W::kRun ? dots : _mm256_add_epi32(sum, dots);
      Finish(sum);
    }
  }
};

}  // namespace
}  // namespace exo::kernels::panel

#include "kernels/x86/dots32_ymm.inc"

namespace exo::kernels::panel {

void FillAvx2Dots32(Ops& ops) {
  FillDots32(ops);
}

}  // namespace exo::kernels::panel
