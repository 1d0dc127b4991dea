// Byte products by smmla, twice the products of sdot per instruction: [2 rows][8 k] times
// [2 tokens][8 k] gives four int32. Two groups of [4 rows][4 k] interleaved by rows are two such
// operands; a last odd token goes through sdot.
#include <utility>

#include "kernels/arm/parts.h"
#include "kernels/arm/simd_neon.h"
#include "tensor/code_tables.h"

namespace exo::kernels::panel {
namespace {

template <int N, int K>
struct Codes {
  const uint8_t* last;                             // of an odd token
  int8x16_t pairs[N / 2 == 0 ? 1 : N / 2][K / 8];  // [2 tokens][8 k]

  EXO_INLINE Codes(const uint8_t* x, size_t stride) : last(x + (N - 1) * stride) {
    for (int p = 0; p < N / 2; ++p) {
      const uint8_t* a = x + 2 * p * stride;
      for (int i = 0; i < K / 8; ++i) {
        pairs[p][i] =
            vreinterpretq_s8_u8(vcombine_u8(vld1_u8(a + 8 * i), vld1_u8(a + stride + 8 * i)));
      }
    }
  }
};

EXO_INLINE int8x16_t FirstRows(int8x16_t a, int8x16_t b) {
  return vreinterpretq_s8_s32(vzip1q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}
EXO_INLINE int8x16_t LastRows(int8x16_t a, int8x16_t b) {
  return vreinterpretq_s8_s32(vzip2q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}

template <int G>
EXO_INLINE int32x4_t DotsOfOne(const int8x16_t (&w)[G], const uint8_t* codes) {
  int32x4_t sum = vdupq_n_s32(0);
  for (int g = 0; g < G; g += 4) {
    const int8x16_t x = vreinterpretq_s8_u8(vld1q_u8(codes + 4 * g));
    sum = vdotq_laneq_s32(sum, w[g], x, 0);
    sum = vdotq_laneq_s32(sum, w[g + 1], x, 1);
    sum = vdotq_laneq_s32(sum, w[g + 2], x, 2);
    sum = vdotq_laneq_s32(sum, w[g + 3], x, 3);
  }
  return sum;
}

template <int kMax, int N, int K, int G>
EXO_INLINE void Dots(const int8x16_t (&w)[G], const Codes<N, K>& codes, int first,
                     int32x4_t (&sums)[N]) {
  if constexpr (N > 1) {
    int8x16_t rows[2][G / 2];  // rows 0 and 1, rows 2 and 3
    for (int i = 0; i < G / 2; ++i) {
      rows[0][i] = FirstRows(w[2 * i], w[2 * i + 1]);
      rows[1][i] = LastRows(w[2 * i], w[2 * i + 1]);
    }
    for (int p = 0; p < N / 2; ++p) {
      int32x4_t a = vdupq_n_s32(0), b = a;  // [2 rows][2 tokens]
      for (int i = 0; i < G / 2; ++i) {
        const int8x16_t x = codes.pairs[p][first / 8 + i];
        a = vmmlaq_s32(a, rows[0][i], x);
        b = vmmlaq_s32(b, rows[1][i], x);
      }
      sums[2 * p] = vuzp1q_s32(a, b);
      sums[2 * p + 1] = vuzp2q_s32(a, b);
    }
  }
  if constexpr (N % 2 == 1) sums[N - 1] = DotsOfOne(w, codes.last + first);
}

}  // namespace
#include "kernels/arm/dots.inc"

void FillI8mmDots(Ops& ops) {
  FillDots(ops);
}

}  // namespace exo::kernels::panel
