// Elementary functions whose coefficients and operation order belong to the arithmetic
// (docs/arithmetic.md, rule 6). Scalar forms; the SIMD sets hold vector forms with the same bits.
#pragma once

#include <cstddef>
#include <vector>

namespace exo::kernels {

// exp(x): degree 6, error below 1 ulp (0.976); +0 below -87, +inf above 0x1.62e42ep6, NaN for NaN.
float Exp(float x);
// Natural logarithm: error below 0.8 ulp; -inf below 2^-126 (zero and denormals), NaN for negative
// numbers and NaN, +inf for +inf.
float Log(float x);
// x / (1 + exp(-x)).
float Silu(float x);
// x / (1 + exp(-2u)), u = sqrt(2 / pi) * (x + 0.044715 x^3): GELU in its tanh form. Below 4 ulps
// for x >= -1; further down the error of u counts exp(-2u) times: relative below 2^-17, absolute
// below 2^-24.
float Gelu(float x);
// 1 / (1 + exp(-x)); below 2^-64 +0.
float Sigmoid(float x);
// Canonical-lane sum of n values (16 virtual lanes; rule 3, "row sums").
float RowSum(const float* x, size_t n);

// log of the sum of exp(x_i - max) over n values, `max` the largest (finite): row sum of exp, +0
// below -40. The log-softmax of x_i is (x_i - max) - LogSumExp (docs/arithmetic.md, rule 15). Cost:
// an exp for each value within 40 of the largest.
float LogSumExp(const float* x, size_t n, float max);

// Inverse frequencies [rotary_dim / 2], binary64: base^(-2i/dim), divided by `factors[i]` when
// given (rope_freqs.weight) and multiplied by `scale` (linear scaling: 1 / factor; 1 for none).
std::vector<double> RopeFrequencies(size_t rotary_dim, double base, double scale,
                                    const float* factors);
// cos and sin [rotary_dim / 2] of position * frequency, each rounded once to binary32. Own binary64
// sin, cos and pow with basic operations only (no libm): same bits on every platform.
void RopeAngles(const std::vector<double>& frequencies, size_t position, float* cos, float* sin);

}  // namespace exo::kernels
