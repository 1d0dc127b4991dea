// Sixteen binary32 lanes as two AVX registers: lanes 0-7 in `a`, 8-15 in `b`. The vocabulary of
// simd_avx512.h, where each operation is described.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define EXO_INLINE __attribute__((always_inline)) inline
#define EXO_LAMBDA __attribute__((always_inline))

namespace {

struct V {
  __m256 a, b;
};
struct Vi {
  __m256i a, b;
};

// Register budget (16): a sum of 16 lanes takes two.
constexpr int kFloatTokens = 4;
constexpr int kAttentionRows = 4;
constexpr int kAttentionAccumulators = 4;

EXO_INLINE V Set(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
EXO_INLINE V Zero() {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
EXO_INLINE V Load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
EXO_INLINE void Store(float* p, V v) {
  _mm256_storeu_ps(p, v.a);
  _mm256_storeu_ps(p + 8, v.b);
}
EXO_INLINE Vi FirstLanes(size_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const int count = static_cast<int>(n);
  return {_mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane),
          _mm256_cmpgt_epi32(_mm256_set1_epi32(count - 8), lane)};
}
EXO_INLINE V LoadPart(const float* p, size_t n) {
  const Vi mask = FirstLanes(n);
  return {_mm256_maskload_ps(p, mask.a), _mm256_maskload_ps(p + 8, mask.b)};
}
EXO_INLINE void StorePart(float* p, size_t n, V v) {
  const Vi mask = FirstLanes(n);
  _mm256_maskstore_ps(p, mask.a, v.a);
  _mm256_maskstore_ps(p + 8, mask.b, v.b);
}
EXO_INLINE V FirstOf(V v, size_t n) {
  const Vi mask = FirstLanes(n);
  return {_mm256_and_ps(v.a, _mm256_castsi256_ps(mask.a)),
          _mm256_and_ps(v.b, _mm256_castsi256_ps(mask.b))};
}
EXO_INLINE __m128i LoadEight(const uint16_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
EXO_INLINE V LoadHalf(const uint16_t* p) {
  return {_mm256_cvtph_ps(LoadEight(p)), _mm256_cvtph_ps(LoadEight(p + 8))};
}
EXO_INLINE __m256 WidenBf16(__m128i bits) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
EXO_INLINE V LoadBf16(const uint16_t* p) {
  return {WidenBf16(LoadEight(p)), WidenBf16(LoadEight(p + 8))};
}
EXO_INLINE void StoreHalf(uint16_t* p, V v) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v.a, kNearest));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(v.b, kNearest));
}

EXO_INLINE V Add(V x, V y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
EXO_INLINE V Sub(V x, V y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
EXO_INLINE V Mul(V x, V y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
EXO_INLINE V Div(V x, V y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
EXO_INLINE V Max(V x, V y) {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
EXO_INLINE V Negate(V x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_xor_ps(x.a, sign), _mm256_xor_ps(x.b, sign)};
}
EXO_INLINE float SquareRoot(float x) {
  return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
}

EXO_INLINE V IfLess(V x, V y, V yes, V no) {
  return {_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
          _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}
EXO_INLINE V IfNan(V x, V yes, V no) {
  return {_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q)),
          _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q))};
}
EXO_INLINE __m256 FlushEight(__m256 v, __m256 floor) {
  const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
  return _mm256_and_ps(v, _mm256_cmp_ps(magnitude, floor, _CMP_NLT_UQ));
}
EXO_INLINE V FlushBelow(V v, V floor) {
  return {FlushEight(v.a, floor.a), FlushEight(v.b, floor.b)};
}
EXO_INLINE __m256 AddExponentEight(__m256 p, __m256 z) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(z), 23)));
}
EXO_INLINE V AddExponent(V p, V z) {
  return {AddExponentEight(p.a, z.a), AddExponentEight(p.b, z.b)};
}

EXO_INLINE float ReduceLanes(V v) {
  const __m256 eight = _mm256_add_ps(v.a, v.b);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
EXO_INLINE float ReduceMax(V v) {
  const __m256 eight = _mm256_max_ps(v.a, v.b);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

EXO_INLINE Vi Magnitude(V v) {
  const __m256i mask = _mm256_set1_epi32(0x7fffffff);
  return {_mm256_and_si256(_mm256_castps_si256(v.a), mask),
          _mm256_and_si256(_mm256_castps_si256(v.b), mask)};
}
EXO_INLINE Vi MaxInt(Vi x, Vi y) {
  return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)};
}
EXO_INLINE int32_t ReduceMaxInt(Vi v) {
  const __m256i eight = _mm256_max_epi32(v.a, v.b);
  __m128i x = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0x4e));
  x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0xb1));
  return _mm_cvtsi128_si32(x);
}
EXO_INLINE Vi AddInt(Vi x, Vi y) {
  return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
EXO_INLINE int32_t ReduceAddInt(Vi v) {
  const __m256i eight = _mm256_add_epi32(v.a, v.b);
  __m128i x = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4e));
  x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0xb1));
  return _mm_cvtsi128_si32(x);
}
EXO_INLINE Vi Round(V v) {
  return {_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b)};
}
EXO_INLINE void StoreCodes(int8_t* p, Vi v) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.a, v.b), 0xd8);
  const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(words, words), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(bytes));
}

EXO_INLINE V ToFloat(Vi v) {
  return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)};
}
EXO_INLINE V LoadCodesAsFloats(const int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return ToFloat({_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))});
}

struct KeyCodes {
  __m256i a, b;
};
EXO_INLINE KeyCodes LoadCodes(const uint8_t* p) {
  const auto* words = reinterpret_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(words), _mm256_loadu_si256(words + 1)};
}
EXO_INLINE Vi StartDot(int32_t) {
  return {_mm256_setzero_si256(), _mm256_setzero_si256()};
}
// |keys| times x with the keys' signs: 2 * 127 * 127 fits vpmaddubsw's sixteen bits.
EXO_INLINE __m256i DotEight(__m256i sum, __m256i keys, __m256i x) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(keys), _mm256_sign_epi8(x, keys));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
EXO_INLINE Vi DotCodes(Vi sum, KeyCodes keys, int32_t x) {
  const __m256i all = _mm256_set1_epi32(x);
  return {DotEight(sum.a, keys.a, all), DotEight(sum.b, keys.b, all)};
}

EXO_INLINE void Prefetch(const void* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
}
EXO_INLINE void PrefetchNear(const void* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}

// Even and odd lanes of 16 values.
EXO_INLINE void SplitPairs(const float* p, __m256& even, __m256& odd) {
  const __m256 x = _mm256_loadu_ps(p);
  const __m256 y = _mm256_loadu_ps(p + 8);
  const __m256 e = _mm256_shuffle_ps(x, y, 0x88);
  const __m256 o = _mm256_shuffle_ps(x, y, 0xdd);
  even = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(e), 0xd8));
  odd = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(o), 0xd8));
}
EXO_INLINE void JoinPairs(float* p, __m256 even, __m256 odd) {
  const __m256 low = _mm256_unpacklo_ps(even, odd);
  const __m256 high = _mm256_unpackhi_ps(even, odd);
  _mm256_storeu_ps(p, _mm256_permute2f128_ps(low, high, 0x20));
  _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(low, high, 0x31));
}
EXO_INLINE void Deinterleave(const float* p, V& even, V& odd) {
  SplitPairs(p, even.a, odd.a);
  SplitPairs(p + 16, even.b, odd.b);
}
EXO_INLINE void Interleave(float* p, V even, V odd) {
  JoinPairs(p, even.a, odd.a);
  JoinPairs(p + 16, even.b, odd.b);
}

}  // namespace
