// Products with the formats of super-blocks by vpmaddubsw (AVX2).
#include "kernels/x86/dots_avx2.h"
#include "tensor/code_tables.h"

namespace exo::kernels::panel {
namespace {

constexpr bool kUnsignedCodes = false;

// A sub-scale in both int16 of its lane.
EXO_INLINE __m256i Factors(__m256i scale) {
  return _mm256_blend_epi16(scale, _mm256_slli_epi32(scale, 16), 0xaa);
}

// Pairs of products are added in int16 as far as the codes allow; vpmaddwd by the sub-scale then
// widens and scales them in one instruction.
template <class W, int kGroups>
struct SubDot {
  static constexpr int kUses = kGroups / W::kRun;  // of the factors
  __m256i run;

  template <class GetFactors>
  EXO_INLINE void Add(int g, __m256i w, __m256i x, const GetFactors& factors, __m256i& sum) {
    const __m256i pairs = Multiply<W::kSigned>(w, x);
    run = g % W::kRun == 0 ? pairs : _mm256_add_epi16(run, pairs);
    Finish(run);
    if ((g + 1) % W::kRun == 0) {
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(run, factors()));
      Finish(sum);
    }
  }
};

}  // namespace
}  // namespace exo::kernels::panel

#include "kernels/x86/dots256_ymm.inc"

namespace exo::kernels::panel {

void FillAvx2Dots256(Ops& ops) {
  FillDots256(ops);
}

}  // namespace exo::kernels::panel
