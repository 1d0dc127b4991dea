// Rule 5: values too small for every device to agree on become +0. NaN and infinity stay.
#pragma once

#include <bit>
#include <cstdint>

namespace exo::kernels::reference {

inline constexpr float kActivationFloor = 0x1p-64f;  // inputs of float products; norm, SiLU, gating
inline constexpr float kWeightFloor = 0x1p-38f;      // bf16 and f32 weights, f32 keys and values

inline uint32_t Magnitude(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7fffffff;
}
inline float FlushBelow(float floor, float x) {
  return Magnitude(x) < Magnitude(floor) ? 0.0f : x;
}
inline float FlushActivation(float x) {
  return FlushBelow(kActivationFloor, x);
}
inline float FlushWeight(float x) {
  return FlushBelow(kWeightFloor, x);
}

}  // namespace exo::kernels::reference
