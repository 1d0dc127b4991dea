#include "kernels/reference/rows.h"

#include <cmath>

#include "kernels/elementary.h"
#include "kernels/reference/flush.h"
#include "kernels/reference/tree.h"

namespace exo::kernels::reference {
namespace {

// As in attention: no quotient of two weights is denormal.
constexpr float kSoftmaxCut = -40.0f;

// RowSum of the squares, without a second array.
float SumOfSquares(const float* x, size_t n) {
  float lanes[16] = {};
  for (size_t i = 0; i < n; ++i) {
    const float square = x[i] * x[i];
    lanes[i % 16] = lanes[i % 16] + square;
  }
  return RowSum(lanes, 16);
}

}  // namespace

float NormFactor(const float* x, size_t n, float eps) {
  const float mean = SumOfSquares(x, n) / static_cast<float>(n);
  const float shifted = mean + eps;
  const float root = std::sqrt(shifted);  // the instruction: correctly rounded (-fno-math-errno)
  return 1.0f / root;
}

void Normalize(const float* x, const float* gain, float r, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    const float scaled = x[i] * r;
    out[i] = FlushActivation(scaled * gain[i]);
  }
}

void RmsNorm(const float* x, const float* gain, float eps, size_t n, float* out) {
  Normalize(x, gain, NormFactor(x, n, eps), n, out);
}

void SiluMul(const float* gate, const float* up, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    const float activated = FlushActivation(Silu(gate[i]));
    out[i] = FlushActivation(activated * up[i]);
  }
}

void GeluMul(const float* gate, const float* up, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    const float activated = FlushActivation(Gelu(gate[i]));
    out[i] = FlushActivation(activated * up[i]);
  }
}

void Softmax(const float* x, size_t n, float* out) {
  float max = x[0];  // any, when there is a NaN: it reaches the sum and with it every result
  for (size_t i = 1; i < n; ++i) max = x[i] > max ? x[i] : max;
  for (size_t i = 0; i < n; ++i) {
    const float distance = x[i] - max;
    out[i] = distance < kSoftmaxCut ? 0.0f : Exp(distance);
  }
  const float sum = RowSum(out, n);
  for (size_t i = 0; i < n; ++i) out[i] = out[i] / sum;
}

void Mix(const float* const* rows, const float* weights, size_t count, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    const auto leaf = [&](size_t j) {
      const float product = weights[j] * rows[j][i];
      return FlushActivation(product);
    };
    out[i] = TreeSum(leaf, 0, count);
  }
}

void RopeHead(RopeStyle style, const float* cos, const float* sin, size_t rotary_dim, float* x) {
  const size_t half = rotary_dim / 2;
  for (size_t i = 0; i < half; ++i) {
    float& first = style == RopeStyle::kInterleaved ? x[2 * i] : x[i];
    float& second = style == RopeStyle::kInterleaved ? x[2 * i + 1] : x[i + half];
    const float x0 = first;
    const float x1 = second;
    const float x0c = x0 * cos[i];
    const float x1s = x1 * sin[i];
    const float x0s = x0 * sin[i];
    const float x1c = x1 * cos[i];
    first = x0c - x1s;
    second = x0s + x1c;
  }
}

}  // namespace exo::kernels::reference
