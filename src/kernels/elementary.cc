#include "kernels/elementary.h"

#include <bit>
#include <cstdint>
#include <initializer_list>
#include <limits>

namespace exo::kernels {

// exp(r) = 1 + r + r^2 q(r) on |r| <= 1.0005 ln(2)/2, q of degree 4 by Remez for the relative error
// (2^-28.04 after rounding the coefficients). ln 2 is split so that n * kLn2High is exact.
float Exp(float x) {
  if (x != x) return std::numeric_limits<float>::quiet_NaN();
  if (x < -87.0f) return 0.0f;
  if (x > 0x1.62e42ep6f) return std::numeric_limits<float>::infinity();
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: the sum's low bits are the rounded integer
  const float scaled = x * 0x1.715476p0f;
  const float z = scaled + kShift;
  const float n = z - kShift;
  const float high = n * 0x1.62e4p-1f;
  const float low = n * 0x1.7f7d1cp-20f;
  float r = x - high;
  r = r - low;
  float q = 0x1.6a23dp-10f;
  for (const float c : {0x1.123a2p-7f, 0x1.5558f2p-5f, 0x1.555492p-3f, 0x1.fffffcp-2f}) {
    const float product = q * r;
    q = product + c;
  }
  const float square = r * r;
  const float tail = square * q;
  const float sum = r + tail;
  const float p = 1.0f + sum;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(z) << 23));
}

// x = 2^e (1 + f) with 1 + f from sqrt(1/2) to sqrt(2); log(1 + f) = 2 atanh(s), s = f / (2 + f),
// as f - f^2/2 + s (f^2/2 + R(s^2)): R by Remez for the relative error (2^-31 after rounding the
// coefficients). ln 2 is split as in Exp.
float Log(float x) {
  if (!(x >= 0x1p-126f)) {
    return x >= 0 || x > -0x1p-126f ? -std::numeric_limits<float>::infinity()
                                    : std::numeric_limits<float>::quiet_NaN();
  }
  if (x == std::numeric_limits<float>::infinity()) return x;
  constexpr uint32_t kSqrtHalf = 0x3f3504f3;
  const uint32_t shifted = std::bit_cast<uint32_t>(x) + (0x3f800000 - kSqrtHalf);
  const auto e = static_cast<float>(static_cast<int32_t>(shifted >> 23) - 127);
  const float f = std::bit_cast<float>((shifted & 0x7fffff) + kSqrtHalf) - 1.0f;
  const float denominator = 2.0f + f;
  const float s = f / denominator;
  const float z = s * s;
  float r = 0x1.e2fa1ap-3f;
  for (const float c : {0x1.2438cp-2f, 0x1.999a7ap-2f, 0x1.555554p-1f}) {
    const float product = r * z;
    r = product + c;
  }
  r = r * z;
  const float square = f * f;
  const float half = square * 0.5f;
  const float inner = half + r;
  float sum = s * inner;
  const float low = e * 0x1.7f7d1cp-20f;
  sum = sum + low;
  sum = sum - half;
  sum = sum + f;
  const float high = e * 0x1.62e4p-1f;
  return sum + high;
}

float Silu(float x) {
  const float e = Exp(-x);
  const float denominator = 1.0f + e;
  return x / denominator;
}

float Gelu(float x) {
  const float square = x * x;
  const float cubic = square * 0x1.2444f2p-4f;  // 2 sqrt(2 / pi) * 0.044715
  const float factor = cubic + 0x1.988454p0f;   // 2 sqrt(2 / pi)
  const float twice_u = x * factor;
  const float e = Exp(-twice_u);
  const float denominator = 1.0f + e;
  return x / denominator;
}

float Sigmoid(float x) {
  const float e = Exp(-x);
  const float denominator = 1.0f + e;
  const float result = 1.0f / denominator;
  return result < 0x1p-64f ? 0.0f : result;
}

float RowSum(const float* x, size_t n) {
  float lanes[16] = {};
  for (size_t i = 0; i < n; ++i) lanes[i % 16] = lanes[i % 16] + x[i];
  for (size_t width = 8; width > 0; width /= 2) {
    for (size_t j = 0; j < width; ++j) lanes[j] = lanes[j] + lanes[j + width];
  }
  return lanes[0];
}

float LogSumExp(const float* x, size_t n, float max) {
  float lanes[16] = {};
  for (size_t i = 0; i < n; ++i) {
    const float difference = x[i] - max;
    lanes[i % 16] = lanes[i % 16] + (difference < -40.0f ? 0.0f : Exp(difference));
  }
  return Log(RowSum(lanes, 16));
}

}  // namespace exo::kernels
