// What the integer products of AVX2 share: loads, unpacking of bits, byte products, the canonical
// tree. Included by dots*_avx2.cc and dots*_avxvnni.cc only.
//
// With 16 registers a step is both halves of a panel's rows x 4 tokens: a broadcast of activations
// serves two weight registers, the leaf sums are on the stack. A whole tile of 16 tokens unpacks
// its weights once, to the L1 cache. vpmaddubsw multiplies unsigned by signed bytes and adds
// pairs in int16 with saturation; a format says how many of its groups can be added in int16 before
// they must be widened (kRun), or multiplies by the sign form.
#pragma once

#include <immintrin.h>

#include <cstring>
#include <utility>

#include "kernels/panel/ops.h"

#define EXO_INLINE __attribute__((always_inline)) inline
#define EXO_LAMBDA __attribute__((always_inline))
// The loop behind it is unrolled completely. Cheaper to compile than Unroll, where the body needs
// no constant expression.
#ifdef __clang__
#define EXO_UNROLL _Pragma("clang loop unroll(full)")
#else
#define EXO_UNROLL _Pragma("GCC unroll 32")
#endif

namespace exo::kernels::panel {
namespace {

constexpr int kLevels = 20;

EXO_INLINE __m256i Broadcast(const uint8_t* at) {
  int32_t value;
  std::memcpy(&value, at, 4);
  return _mm256_set1_epi32(value);
}
EXO_INLINE __m256 BroadcastFloat(const uint8_t* at) {
  float value;
  std::memcpy(&value, at, 4);
  return _mm256_set1_ps(value);
}
EXO_INLINE __m256i LoadGroup(const uint8_t* at) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
}
EXO_INLINE __m128i LoadBytes(const uint8_t* at) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
}
EXO_INLINE __m256 LoadScales(const uint8_t* at) {
  return _mm256_cvtph_ps(LoadBytes(at));
}
template <size_t kAhead>
EXO_INLINE void PrefetchLine(const uint8_t* at) {
  _mm_prefetch(reinterpret_cast<const char*>(at + kAhead), _MM_HINT_T0);
}

// Keeps the compiler from moving work across: clang would otherwise hold the broadcast activations
// of a whole block on the stack, for its second half or to finish token after token, which costs 20
// %. Loads behind the first stay there; what leads to `v` is done before the second.
EXO_INLINE void KeepLoadOrder() {
  asm volatile("" ::: "memory");
}
// What is at `p` is in memory, not in registers that would have to be spilled.
EXO_INLINE void KeepInMemory(const void* p) {
  asm volatile("" : : "r"(p) : "memory");
}
EXO_INLINE void Finish(__m256i& v) {
  asm volatile("" : "+x"(v));
}

// Bits moved to the left, or by a negative number to the right.
template <int kBits>
EXO_INLINE __m256i Shift(__m256i v) {
  if constexpr (kBits > 0) return _mm256_slli_epi16(v, kBits);
  if constexpr (kBits < 0) return _mm256_srli_epi16(v, -kBits);
  return v;
}
// Of each byte, after a shift, the bits of `kMask`.
template <int kBits, int kMask>
EXO_INLINE __m256i Part(__m256i v) {
  return _mm256_and_si256(Shift<kBits>(v), _mm256_set1_epi8(kMask));
}
// The same with a number that is known once loops are unrolled.
EXO_INLINE __m256i PartOf(__m256i v, int bits, int mask) {
  if (bits > 0) v = _mm256_slli_epi16(v, bits);
  if (bits < 0) v = _mm256_srli_epi16(v, -bits);
  return _mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>(mask)));
}
// Bytes of a table of 16, with `kBias` added.
template <int kBias>
EXO_INLINE __m256i LookUp(const int8_t (&codes)[16], __m256i nibbles) {
  const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
  const __m128i biased = _mm_add_epi8(table, _mm_set1_epi8(static_cast<char>(kBias)));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(biased), nibbles);
}

// Pairs of byte products in int16: unsigned weights, and signed ones by their magnitude with the
// sign on the other side (no activation code is -128).
template <bool kSigned>
EXO_INLINE __m256i Multiply(__m256i w, __m256i x) {
  if constexpr (kSigned) return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
  return _mm256_maddubs_epi16(w, x);
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

// The canonical tree (dots_avx512.h) for 16 rows as two halves.
template <int N>
struct Tree {
  __m256 stack[kLevels][2][N];
  __m256 leaf[2][N];
  size_t leaves = 0;

  EXO_INLINE void Push() {
    int level = 0;
    for (size_t bits = leaves; (bits & 1) != 0; bits >>= 1, ++level) {
      for (int i = 0; i < 2 * N; ++i) {
        leaf[i / N][i % N] = _mm256_add_ps(stack[level][i / N][i % N], leaf[i / N][i % N]);
      }
    }
    std::memcpy(stack[level], leaf, sizeof(leaf));
    ++leaves;
  }

  static EXO_INLINE void WriteHalf(float* out, int rows, __m256 sum, bool add) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(rows), lane);
    if (add) sum = _mm256_add_ps(_mm256_maskload_ps(out, mask), sum);
    _mm256_maskstore_ps(out, mask, sum);
  }

  EXO_INLINE void Write(const TileOut& to) {
    const int lowest = __builtin_ctzll(leaves);
    for (int half = 0; half < 2; ++half) {
      for (int n = 0; n < N; ++n) {
        __m256 sum = stack[lowest][half][n];
        for (int level = lowest + 1; leaves >> level != 0; ++level) {
          if ((leaves >> level & 1) != 0) sum = _mm256_add_ps(stack[level][half][n], sum);
        }
        const int rows = static_cast<int>(to.rows) - 8 * half;
        if (rows > 0) WriteHalf(to.out + n * to.stride + 8 * half, rows, sum, to.add);
      }
    }
  }
};

// Tokens [lane, lane + N) of a tile of `width`.
using StepFunction = void (*)(const uint8_t* w, const uint8_t* x, size_t lane, size_t width,
                              size_t cols, const TileOut&);

// A tile in steps of kStep tokens and a shorter last one.
template <int kWidth, int kStep, StepFunction kWhole, StepFunction kRest>
void Tile(const uint8_t* w, const uint8_t* x, size_t cols, const TileOut& out) {
  for (size_t t = 0; t + kStep <= kWidth; t += kStep) kWhole(w, x, t, kWidth, cols, out.From(t));
  constexpr size_t kLast = kWidth / kStep * kStep;
  if constexpr (kLast < kWidth) kRest(w, x, kLast, kWidth, cols, out.From(kLast));
}

// All widths but the whole tile's.
using PartWidths = Widths<1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;
constexpr int RestOf(int width, int step) {
  return width % step == 0 ? step : width % step;
}

}  // namespace
}  // namespace exo::kernels::panel
