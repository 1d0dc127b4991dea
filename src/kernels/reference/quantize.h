// Activations as 8-bit codes with one scale per block (rule 2).
#pragma once

#include <cstddef>
#include <cstdint>

namespace exo::kernels::reference {

// Codes of the n values of one block; returns their scale: +0 for a zero block (all |x| < 2^-64),
// NaN for a poisoned one (an infinity or NaN among the values), codes 0 in both cases. |code| <=
// 127.
float QuantizeBlock(const float* x, size_t n, int8_t* codes);

}  // namespace exo::kernels::reference
