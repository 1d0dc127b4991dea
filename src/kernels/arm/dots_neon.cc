// Byte products of Armv8.0: smull and smlal multiply into int16, which holds as many products as
// the weights' magnitude allows; then pairs are widened and added to int32.
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
  // Four codes, for each of four rows.
  EXO_INLINE int8x16_t At(int n, int k) const {
    int32_t four;
    std::memcpy(&four, x + n * stride + k, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
  }
};

template <int kMax, int N, int K, int G>
EXO_INLINE void Dots(const int8x16_t (&w)[G], const Codes<N, K>& codes, int first,
                     int32x4_t (&sums)[N]) {
  constexpr int kFit = INT16_MAX / (kMax * 127);  // products that an int16 holds: 17, 4 or 2
  constexpr int kRun = kFit < G ? kFit : G;
  static_assert(kFit >= 2 && G % kRun == 0);
  for (int n = 0; n < N; ++n) {
    int32x4_t low, high;  // rows 0 and 1, rows 2 and 3: two partial sums of each
    for (int g = 0; g < G; g += kRun) {
      const int8x16_t x = codes.At(n, first + 4 * g);
      int16x8_t a = vmull_s8(vget_low_s8(w[g]), vget_low_s8(x));
      int16x8_t b = vmull_high_s8(w[g], x);
      for (int i = 1; i < kRun; ++i) {
        const int8x16_t next = codes.At(n, first + 4 * (g + i));
        a = vmlal_s8(a, vget_low_s8(w[g + i]), vget_low_s8(next));
        b = vmlal_high_s8(b, w[g + i], next);
      }
      low = g == 0 ? vpaddlq_s16(a) : vpadalq_s16(low, a);
      high = g == 0 ? vpaddlq_s16(b) : vpadalq_s16(high, b);
    }
    sums[n] = vpaddq_s32(low, high);
  }
}

}  // namespace
#include "kernels/arm/dots.inc"

void FillNeonDots(Ops& ops) {
  FillDots(ops);
}

}  // namespace exo::kernels::panel
