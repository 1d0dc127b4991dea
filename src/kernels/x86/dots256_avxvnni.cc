// Products with the formats of super-blocks by the VEX form of vpdpbusd (AVX-VNNI).
#include "kernels/x86/dots_avx2.h"
#include "tensor/code_tables.h"

namespace exo::kernels::panel {
namespace {

constexpr bool kUnsignedCodes = true;

EXO_INLINE __m256i Factors(__m256i scale) {
  return scale;
}

// Finish after each product as in dots32_avxvnni.cc.
template <class W, int kGroups>
struct SubDot {
  static constexpr int kUses = 1;  // of the factors
  __m256i dot = _mm256_setzero_si256();

  template <class GetFactors>
  EXO_INLINE void Add(int g, __m256i w, __m256i x, const GetFactors& factors, __m256i& sum) {
    dot = _mm256_dpbusd_avx_epi32(dot, w, x);
    Finish(dot);
    if (g + 1 == kGroups) {
      sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(dot, factors()));
      Finish(sum);
    }
  }
};

}  // namespace
}  // namespace exo::kernels::panel

#include "kernels/x86/dots256_ymm.inc"

namespace exo::kernels::panel {

void FillAvxVnniDots256(Ops& ops) {
  FillDots256(ops);
}

}  // namespace exo::kernels::panel
