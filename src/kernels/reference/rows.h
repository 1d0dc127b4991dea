// Normalisation, gating and rotation of single rows.
#pragma once

#include <cstddef>

#include "kernels/kernels.h"

namespace exo::kernels::reference {

void RmsNorm(const float* x, const float* gain, float eps, size_t n, float* out);
void SiluMul(const float* gate, const float* up, size_t n, float* out);
void RopeHead(RopeStyle style, const float* cos, const float* sin, size_t rotary_dim, float* x);

}  // namespace exo::kernels::reference
