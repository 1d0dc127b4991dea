// Byte products by sdot: four products per row added to its int32 in one instruction, the
// activations' four codes picked from a register by lane.
#include <utility>

#include "kernels/arm/parts.h"
#include "kernels/arm/simd_neon.h"
#include "tensor/code_tables.h"

namespace exo::kernels::panel {
namespace {

template <int N, int K>
struct Codes {
  const uint8_t* x;
  size_t stride;
  EXO_INLINE Codes(const uint8_t* at, size_t bytes) : x(at), stride(bytes) {}
  EXO_INLINE int8x16_t At(int n, int k) const {
    return vreinterpretq_s8_u8(vld1q_u8(x + n * stride + k));
  }
};

template <int kMax, int N, int K, int G>
EXO_INLINE void Dots(const int8x16_t (&w)[G], const Codes<N, K>& codes, int first,
                     int32x4_t (&sums)[N]) {
  for (int n = 0; n < N; ++n) {
    int32x4_t sum = vdupq_n_s32(0);
    for (int g = 0; g < G; g += 4) {
      const int8x16_t x = codes.At(n, first + 4 * g);
      sum = vdotq_laneq_s32(sum, w[g], x, 0);
      sum = vdotq_laneq_s32(sum, w[g + 1], x, 1);
      sum = vdotq_laneq_s32(sum, w[g + 2], x, 2);
      sum = vdotq_laneq_s32(sum, w[g + 3], x, 3);
    }
    sums[n] = sum;
  }
}

}  // namespace
#include "kernels/arm/dots.inc"

void FillDotprodDots(Ops& ops) {
  FillDots(ops);
}

}  // namespace exo::kernels::panel
