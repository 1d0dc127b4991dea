// Sixteen binary32 lanes as four NEON registers, lanes 4 i … 4 i + 3 in q[i]. The vocabulary of
// x86/simd_avx512.h, where each operation is described. Armv8.0 has all of it, the conversions of
// f16 storage included.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define EXO_INLINE __attribute__((always_inline)) inline
#define EXO_LAMBDA __attribute__((always_inline))

namespace {

struct V {
  float32x4_t q[4];
};
struct Vi {
  int32x4_t q[4];
};

// Register budget (32): a sum of 16 lanes takes four.
constexpr int kFloatTokens = 4;
constexpr int kAttentionRows = 4;
constexpr int kAttentionAccumulators = 4;

// f(i) for the four registers.
template <class F>
EXO_INLINE V Each(const F& f) {
  return {{f(0), f(1), f(2), f(3)}};
}
template <class F>
EXO_INLINE Vi EachInt(const F& f) {
  return {{f(0), f(1), f(2), f(3)}};
}

EXO_INLINE V Set(float x) {
  return Each([&](int) EXO_LAMBDA { return vdupq_n_f32(x); });
}
EXO_INLINE V Zero() {
  return Set(0);
}
EXO_INLINE V Load(const float* p) {
  return Each([&](int i) EXO_LAMBDA { return vld1q_f32(p + 4 * i); });
}
EXO_INLINE void Store(float* p, V v) {
  for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, v.q[i]);
}
EXO_INLINE V LoadPart(const float* p, size_t n) {
  float values[16] = {};
  std::memcpy(values, p, 4 * n);
  return Load(values);
}
EXO_INLINE void StorePart(float* p, size_t n, V v) {
  float values[16];
  Store(values, v);
  std::memcpy(p, values, 4 * n);
}
EXO_INLINE V FirstOf(V v, size_t n) {
  float values[16];
  Store(values, v);
  return LoadPart(values, n);
}
EXO_INLINE float32x4_t LoadFourHalves(const uint16_t* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
EXO_INLINE V LoadHalf(const uint16_t* p) {
  return Each([&](int i) EXO_LAMBDA { return LoadFourHalves(p + 4 * i); });
}
EXO_INLINE V LoadBf16(const uint16_t* p) {
  return Each([&](int i) EXO_LAMBDA {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16));
  });
}
EXO_INLINE void StoreHalf(uint16_t* p, V v) {
  for (int i = 0; i < 4; ++i) {
    vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(v.q[i])));
  }
}

EXO_INLINE V Add(V x, V y) {
  return Each([&](int i) EXO_LAMBDA { return vaddq_f32(x.q[i], y.q[i]); });
}
EXO_INLINE V Sub(V x, V y) {
  return Each([&](int i) EXO_LAMBDA { return vsubq_f32(x.q[i], y.q[i]); });
}
EXO_INLINE V Mul(V x, V y) {
  return Each([&](int i) EXO_LAMBDA { return vmulq_f32(x.q[i], y.q[i]); });
}
EXO_INLINE V Div(V x, V y) {
  return Each([&](int i) EXO_LAMBDA { return vdivq_f32(x.q[i], y.q[i]); });
}
EXO_INLINE V Max(V x, V y) {
  return Each([&](int i) EXO_LAMBDA { return vmaxq_f32(x.q[i], y.q[i]); });
}
EXO_INLINE V Negate(V x) {
  return Each([&](int i) EXO_LAMBDA { return vnegq_f32(x.q[i]); });
}
EXO_INLINE float SquareRoot(float x) {
  return vgetq_lane_f32(vsqrtq_f32(vdupq_n_f32(x)), 0);
}

EXO_INLINE V IfLess(V x, V y, V yes, V no) {
  return Each([&](int i)
                  EXO_LAMBDA { return vbslq_f32(vcltq_f32(x.q[i], y.q[i]), yes.q[i], no.q[i]); });
}
EXO_INLINE V IfNan(V x, V yes, V no) {
  return Each([&](int i)
                  EXO_LAMBDA { return vbslq_f32(vceqq_f32(x.q[i], x.q[i]), no.q[i], yes.q[i]); });
}
EXO_INLINE V FlushBelow(V v, V floor) {
  return Each([&](int i) EXO_LAMBDA {
    const uint32x4_t below = vcaltq_f32(v.q[i], floor.q[i]);
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v.q[i]), below));
  });
}
EXO_INLINE V AddExponent(V p, V z) {
  return Each([&](int i) EXO_LAMBDA {
    const int32x4_t exponent = vshlq_n_s32(vreinterpretq_s32_f32(z.q[i]), 23);
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p.q[i]), exponent));
  });
}

EXO_INLINE float ReduceLanes(V v) {
  const float32x4_t four = vaddq_f32(vaddq_f32(v.q[0], v.q[2]), vaddq_f32(v.q[1], v.q[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
EXO_INLINE float ReduceMax(V v) {
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(v.q[0], v.q[1]), vmaxq_f32(v.q[2], v.q[3])));
}

EXO_INLINE Vi Magnitude(V v) {
  return EachInt([&](int i) EXO_LAMBDA { return vreinterpretq_s32_f32(vabsq_f32(v.q[i])); });
}
EXO_INLINE Vi MaxInt(Vi x, Vi y) {
  return EachInt([&](int i) EXO_LAMBDA { return vmaxq_s32(x.q[i], y.q[i]); });
}
EXO_INLINE int32_t ReduceMaxInt(Vi v) {
  return vmaxvq_s32(vmaxq_s32(vmaxq_s32(v.q[0], v.q[1]), vmaxq_s32(v.q[2], v.q[3])));
}
EXO_INLINE Vi AddInt(Vi x, Vi y) {
  return EachInt([&](int i) EXO_LAMBDA { return vaddq_s32(x.q[i], y.q[i]); });
}
EXO_INLINE int32_t ReduceAddInt(Vi v) {
  return vaddvq_s32(vaddq_s32(vaddq_s32(v.q[0], v.q[1]), vaddq_s32(v.q[2], v.q[3])));
}
EXO_INLINE Vi Round(V v) {
  return EachInt([&](int i) EXO_LAMBDA { return vcvtnq_s32_f32(v.q[i]); });
}
EXO_INLINE void StoreCodes(int8_t* p, Vi v) {
  const int16x8_t low = vcombine_s16(vmovn_s32(v.q[0]), vmovn_s32(v.q[1]));
  const int16x8_t high = vcombine_s16(vmovn_s32(v.q[2]), vmovn_s32(v.q[3]));
  vst1q_s8(p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

EXO_INLINE V ToFloat(Vi v) {
  return Each([&](int i) EXO_LAMBDA { return vcvtq_f32_s32(v.q[i]); });
}
EXO_INLINE V LoadCodesAsFloats(const int8_t* p) {
  const int8x16_t codes = vld1q_s8(p);
  const int16x8_t low = vmovl_s8(vget_low_s8(codes));
  const int16x8_t high = vmovl_high_s8(codes);
  return ToFloat({{vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)),
                   vmovl_high_s16(high)}});
}

// Four codes of each lane. -128 does not occur, so that two products fit into int16.
struct KeyCodes {
  int8x16_t q[4];
};
EXO_INLINE KeyCodes LoadCodes(const uint8_t* p) {
  KeyCodes codes;
  for (int i = 0; i < 4; ++i) codes.q[i] = vreinterpretq_s8_u8(vld1q_u8(p + 16 * i));
  return codes;
}
EXO_INLINE Vi StartDot(int32_t) {
  return EachInt([&](int) EXO_LAMBDA { return vdupq_n_s32(0); });
}
EXO_INLINE Vi DotCodes(Vi sum, const KeyCodes& keys, int32_t x) {
  const int8x16_t four = vreinterpretq_s8_s32(vdupq_n_s32(x));
  return EachInt([&](int i) EXO_LAMBDA {
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(keys.q[i]), vget_low_s8(four)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(keys.q[i], four));
    return vaddq_s32(sum.q[i], vpaddq_s32(low, high));
  });
}

EXO_INLINE void Deinterleave(const float* p, V& even, V& odd) {
  for (int i = 0; i < 4; ++i) {
    const float32x4x2_t pairs = vld2q_f32(p + 8 * i);
    even.q[i] = pairs.val[0];
    odd.q[i] = pairs.val[1];
  }
}
EXO_INLINE void Interleave(float* p, V even, V odd) {
  for (int i = 0; i < 4; ++i) {
    const float32x4x2_t pairs = {{even.q[i], odd.q[i]}};
    vst2q_f32(p + 8 * i, pairs);
  }
}

// Into the L2 cache; an address beyond the memory is allowed.
EXO_INLINE void Prefetch(const void* at) {
  __builtin_prefetch(at, 0, 2);
}
EXO_INLINE void PrefetchNear(const void* at) {
  __builtin_prefetch(at, 0, 3);
}

}  // namespace
