// The values that GGUF bytes stand for: the one definition of dequantisation. A value is the exact
// product below, rounded once to binary32 (only Q6_K can need that rounding):
//   F32, F16, BF16   the number itself
//   Q8_0             scale * code                       code -128..127
//   Q4_0             scale * (code - 8)                 code 0..15
//   Q6_K             scale * (sub_scale * (code - 32))  code 0..63, sub_scale -128..127 per 16
//   values
// Block formats: tensor/README.md. Reading is by bytes: `src` needs no alignment.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace exo::tensor {

// Writes the `cols` values of one row. Shapes: src RowBytes(type, cols) bytes, out [cols].
void DequantizeRow(DType type, const std::byte* src, size_t cols, float* out);

// The integer codes of one Q6_K block of 210 bytes, zero point removed (-32..31).
void UnpackQ6K(const std::byte* block, int8_t* codes /* [256] */);

inline constexpr size_t kQ6KScalesOffset = 192;  // int8 [16] sub-block scales
inline constexpr size_t kQ6KScaleOffset = 208;   // f16 scale of the block

}  // namespace exo::tensor
