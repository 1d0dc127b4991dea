// Sixteen binary32 lanes as one AVX-512 register: the vocabulary of rows.inc, attention.inc and
// float_tiles.inc. simd_avx2.h offers the same with two registers, arm/simd_neon.h with four. No
// operation here rounds twice.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define EXO_INLINE __attribute__((always_inline)) inline
#define EXO_LAMBDA __attribute__((always_inline))

namespace {

using V = __m512;
using Vi = __m512i;

// Register budget (32): tokens of a float tile; rows x vectors of an attention tile.
constexpr int kFloatTokens = 16;
constexpr int kAttentionRows = 8;
constexpr int kAttentionAccumulators = 16;

EXO_INLINE V Zero() {
  return _mm512_setzero_ps();
}
EXO_INLINE V Set(float x) {
  return _mm512_set1_ps(x);
}
EXO_INLINE V Load(const float* p) {
  return _mm512_loadu_ps(p);
}
EXO_INLINE void Store(float* p, V v) {
  _mm512_storeu_ps(p, v);
}
EXO_INLINE __mmask16 FirstLanes(size_t n) {
  return static_cast<__mmask16>((1u << n) - 1);
}
// The first n <= 16 values, the rest +0.
EXO_INLINE V LoadPart(const float* p, size_t n) {
  return _mm512_maskz_loadu_ps(FirstLanes(n), p);
}
EXO_INLINE void StorePart(float* p, size_t n, V v) {
  _mm512_mask_storeu_ps(p, FirstLanes(n), v);
}
// The first n <= 16 lanes, the rest +0.
EXO_INLINE V FirstOf(V v, size_t n) {
  return _mm512_maskz_mov_ps(FirstLanes(n), v);
}
EXO_INLINE V LoadHalf(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
EXO_INLINE V LoadBf16(const uint16_t* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
EXO_INLINE void StoreHalf(uint16_t* p, V v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

EXO_INLINE V Add(V a, V b) {
  return _mm512_add_ps(a, b);
}
EXO_INLINE V Sub(V a, V b) {
  return _mm512_sub_ps(a, b);
}
EXO_INLINE V Mul(V a, V b) {
  return _mm512_mul_ps(a, b);
}
EXO_INLINE V Div(V a, V b) {
  return _mm512_div_ps(a, b);
}
EXO_INLINE V Max(V a, V b) {
  return _mm512_max_ps(a, b);
}
EXO_INLINE V Negate(V a) {
  return _mm512_xor_ps(a, Set(-0.0f));
}
EXO_INLINE float SquareRoot(float x) {
  return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
}

// condition ? yes : no, lane by lane; comparisons with NaN are false.
EXO_INLINE V IfLess(V a, V b, V yes, V no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
EXO_INLINE V IfNan(V a, V yes, V no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), no, yes);
}
// +0 where |v| < floor.
EXO_INLINE V FlushBelow(V v, V floor) {
  const __mmask16 keep = _mm512_cmp_ps_mask(_mm512_abs_ps(v), floor, _CMP_NLT_UQ);
  return _mm512_maskz_mov_ps(keep, v);
}
// p * 2^n as bits(p) + (bits(z) << 23), z = n + 1.5 * 2^23.
EXO_INLINE V AddExponent(V p, V z) {
  return _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(z), 23)));
}

// Canonical lane sum: lane j += j + 8, then + 4, + 2, + 1.
EXO_INLINE float ReduceLanes(V v) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
EXO_INLINE float ReduceMax(V v) {
  return _mm512_reduce_max_ps(v);
}

// Magnitudes as integers: NaN sorts above infinity.
EXO_INLINE Vi Magnitude(V v) {
  return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff));
}
EXO_INLINE Vi MaxInt(Vi a, Vi b) {
  return _mm512_max_epi32(a, b);
}
EXO_INLINE int32_t ReduceMaxInt(Vi v) {
  return _mm512_reduce_max_epi32(v);
}
EXO_INLINE Vi AddInt(Vi a, Vi b) {
  return _mm512_add_epi32(a, b);
}
EXO_INLINE int32_t ReduceAddInt(Vi v) {
  return _mm512_reduce_add_epi32(v);
}
EXO_INLINE Vi Round(V v) {
  return _mm512_cvtps_epi32(v);
}
EXO_INLINE void StoreCodes(int8_t* p, Vi v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
}
EXO_INLINE V ToFloat(Vi v) {
  return _mm512_cvtepi32_ps(v);
}
EXO_INLINE V LoadCodesAsFloats(const int8_t* p) {
  return ToFloat(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

// Exact dot products of signed codes, four in each lane, none of them -128:
// DotCodes(… DotCodes(StartDot(sum of all x), …)) adds keys[lane][i] * x[i], i < 4, to each lane.
using KeyCodes = __m512i;
EXO_INLINE KeyCodes LoadCodes(const uint8_t* p) {  // unsigned for vpdpbusd: 128 too many each
  return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128));
}
EXO_INLINE Vi StartDot(int32_t x_sum) {
  return _mm512_set1_epi32(-128 * x_sum);
}
EXO_INLINE Vi DotCodes(Vi sum, KeyCodes keys, int32_t x) {
  return _mm512_dpbusd_epi32(sum, keys, _mm512_set1_epi32(x));
}

EXO_INLINE void Prefetch(const void* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
}
EXO_INLINE void PrefetchNear(const void* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}

// (x0, x1) pairs: even and odd lanes of 32 values, and back.
EXO_INLINE void Deinterleave(const float* p, V& even, V& odd) {
  const Vi first = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const Vi second = _mm512_add_epi32(first, _mm512_set1_epi32(1));
  const V a = Load(p);
  const V b = Load(p + 16);
  even = _mm512_permutex2var_ps(a, first, b);
  odd = _mm512_permutex2var_ps(a, second, b);
}
EXO_INLINE void Interleave(float* p, V even, V odd) {
  const Vi low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const Vi high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  Store(p, _mm512_permutex2var_ps(even, low, odd));
  Store(p + 16, _mm512_permutex2var_ps(even, high, odd));
}

}  // namespace
