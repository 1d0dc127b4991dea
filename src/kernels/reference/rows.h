// Normalization, gating and rotation of single rows.
#pragma once

#include <cstddef>

#include "kernels/kernels.h"

namespace exo::kernels::reference {

// r = 1 / sqrt(ss / n + eps).
float NormFactor(const float* x, size_t n, float eps);
// out = (x * r) * gain, flushed.
void Normalize(const float* x, const float* gain, float r, size_t n, float* out);
void RmsNorm(const float* x, const float* gain, float eps, size_t n, float* out);
void SiluMul(const float* gate, const float* up, size_t n, float* out);
void GeluMul(const float* gate, const float* up, size_t n, float* out);
void Softmax(const float* x, size_t n, float* out);
void Mix(const float* const* rows, const float* weights, size_t count, size_t n, float* out);
void RopeHead(RopeStyle style, const float* cos, const float* sin, size_t rotary_dim, float* x);

}  // namespace exo::kernels::reference
