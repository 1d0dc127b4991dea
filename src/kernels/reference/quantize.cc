#include "kernels/reference/quantize.h"

#include <algorithm>
#include <limits>

#include "kernels/reference/flush.h"

namespace exo::kernels::reference {

float QuantizeBlock(const float* x, size_t n, int8_t* codes) {
  // As integers the order is that of the magnitudes, with NaN above infinity: no NaN can be lost.
  uint32_t largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, Magnitude(x[i]));
  std::fill_n(codes, n, int8_t{0});
  if (largest < Magnitude(kActivationFloor)) return 0.0f;
  if (largest >= 0x7f800000) return std::numeric_limits<float>::quiet_NaN();

  const float amax = std::bit_cast<float>(largest);
  const float inverse = 127.0f / amax;
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest even integer
  for (size_t i = 0; i < n; ++i) {
    const float scaled = x[i] * inverse;
    const float shifted = scaled + kShift;
    codes[i] = static_cast<int8_t>(shifted - kShift);
  }
  return amax / 127.0f;
}

}  // namespace exo::kernels::reference
