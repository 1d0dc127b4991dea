// What the integer products of AVX-512 VNNI share: loads, unpacking of bits, the canonical tree.
// Included by dots32_avx512.cc and dots256_avx512.cc only.
//
// Micro-kernel: 16 rows (one register) x up to 16 tokens. A format unpacks its codes to unsigned
// bytes, code + zero point; activations enter as memory-broadcast operands of vpdpbusd, which cost
// nothing.
#pragma once

#include <immintrin.h>

#include <cstring>
#include <utility>

#include "kernels/panel/ops.h"

#define EXO_INLINE __attribute__((always_inline)) inline
#define EXO_LAMBDA __attribute__((always_inline))

namespace exo::kernels::panel {
namespace {

// 128 * 2^20 columns; each level costs one vector per token of stack that is touched only when
// used.
constexpr int kLevels = 20;

EXO_INLINE __m512i Broadcast(const uint8_t* at) {
  int32_t value;
  std::memcpy(&value, at, 4);
  return _mm512_set1_epi32(value);
}
EXO_INLINE __m512 BroadcastFloat(const uint8_t* at) {
  float value;
  std::memcpy(&value, at, 4);
  return _mm512_set1_ps(value);
}
EXO_INLINE __m512i LoadGroup(const uint8_t* at) {
  return _mm512_loadu_si512(at);
}
EXO_INLINE __m512 LoadScales(const uint8_t* at) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}

// Bits moved to the left, or by a negative number to the right.
template <int kBits>
EXO_INLINE __m512i Shift(__m512i v) {
  if constexpr (kBits > 0) return _mm512_slli_epi16(v, kBits);
  if constexpr (kBits < 0) return _mm512_srli_epi16(v, -kBits);
  return v;
}
// Of each byte, after a shift, the bits of `kMask`.
template <int kBits, int kMask>
EXO_INLINE __m512i Part(__m512i v) {
  return _mm512_and_si512(Shift<kBits>(v), _mm512_set1_epi8(kMask));
}
// `code` with the bits `kMask` of the shifted v.
template <int kBits, int kMask>
EXO_INLINE __m512i With(__m512i code, __m512i v) {
  return _mm512_ternarylogic_epi32(Shift<kBits>(v), _mm512_set1_epi8(kMask), code, 0xea);
}
EXO_INLINE __m512i Low(__m512i v) {
  return Part<0, 15>(v);
}
EXO_INLINE __m512i High(__m512i v) {
  return Part<-4, 15>(v);
}
// Bytes of a table of 16 at the low nibbles' places; `kBias` is added to each.
template <int kBias>
EXO_INLINE __m512i Table(const int8_t (&codes)[16]) {
  const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
  return _mm512_broadcast_i32x4(_mm_add_epi8(table, _mm_set1_epi8(static_cast<char>(kBias))));
}

// Calls f with integral constants 0 … kCount - 1.
template <class F, int... kIndex>
EXO_INLINE void UnrollOver(std::integer_sequence<int, kIndex...>, const F& f) {
  (f(std::integral_constant<int, kIndex>{}), ...);
}
template <int kCount, class F>
EXO_INLINE void Unroll(const F& f) {
  UnrollOver(std::make_integer_sequence<int, kCount>{}, f);
}

// Prefetch instructions, measured in GB/s of packed weights:
//   one token, Zen 4   Q4_0 none 36, with 29: they occupy the few buffers for misses
//   one token, Zen 5   Q4_0 none 23, L1 3 KiB ahead 27; Q8_0 23, 30; Q4_K 30, 37; Q6_K 21,
//   33 4 and 8 tokens     Q8_0 none 18, 14; L1 3 KiB ahead 18, 15; L2 6 KiB
//   ahead 22, 21
//                      Q6_K none 19, 6; L1 3 KiB ahead 17, 12; L2 6 KiB ahead
//                      10, 9
// So only one or two tokens of 32-blocks on Zen 4 are left to the hardware prefetcher
// (FillAvx512DecodeZen4).
enum class To { kFirstCache, kSecondCache };
template <bool kOn, To kTo, size_t kAhead>
EXO_INLINE void Prefetch(const uint8_t* at, size_t bytes) {
  if constexpr (kOn) {
    for (size_t i = 0; i < bytes; i += 64) {
      const auto* line = reinterpret_cast<const char*>(at + kAhead + i);
      if constexpr (kTo == To::kFirstCache) {
        _mm_prefetch(line, _MM_HINT_T0);
      } else {
        _mm_prefetch(line, _MM_HINT_T1);
      }
    }
  }
}

// The canonical tree on a stack: leaf i is added to the complete subtrees it closes, as many as i
// has trailing one bits; what is left at the end is combined from the right.
template <int N>
struct Tree {
  __m512 stack[kLevels][N];
  size_t leaves = 0;

  EXO_INLINE void Push(__m512 (&leaf)[N]) {
    int level = 0;
    for (size_t bits = leaves; (bits & 1) != 0; bits >>= 1, ++level) {
      for (int n = 0; n < N; ++n) leaf[n] = _mm512_add_ps(stack[level][n], leaf[n]);
    }
    for (int n = 0; n < N; ++n) stack[level][n] = leaf[n];
    ++leaves;
  }

  EXO_INLINE void Write(const TileOut& to) {
    const int lowest = __builtin_ctzll(leaves);
    const __mmask16 rows = static_cast<__mmask16>((1u << to.rows) - 1);
    for (int n = 0; n < N; ++n) {
      __m512 sum = stack[lowest][n];
      for (int level = lowest + 1; leaves >> level != 0; ++level) {
        if ((leaves >> level & 1) != 0) sum = _mm512_add_ps(stack[level][n], sum);
      }
      float* out = to.out + n * to.stride;
      if (to.add) sum = _mm512_add_ps(_mm512_maskz_loadu_ps(rows, out), sum);
      _mm512_mask_storeu_ps(out, rows, sum);
    }
  }
};

}  // namespace
}  // namespace exo::kernels::panel
