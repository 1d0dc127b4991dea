// The values that GGUF bytes stand for: the one definition of dequantization (rule 12). A value is
// the exact expression below, rounded once to binary32 (only Q6_K and the types with a minimum can
// need that rounding):
//   F32, F16, BF16                   the number itself
//   Q8_0, Q4_0, Q5_0, IQ4_NL, MXFP4  scale * code
//   Q4_1, Q5_1                       scale * code + minimum
//   Q3_K, Q6_K, IQ1 … IQ4_XS, TQ     scale * (sub_scale * code)
//   Q2_K, Q4_K, Q5_K                 scale * (sub_scale * code) - minimum * sub_minimum
// Codes and scales: tensor/blocks.h, tensor/README.md. The values are llama.cpp's bit for bit, but
// that MXFP4 blocks with scales below 2^-24 are zero and zeros of super-blocks may have the other
// sign.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/blocks.h"
#include "tensor/dtype.h"

namespace exo::tensor {

// Writes the `cols` values of one row. Shapes: src RowBytes(type, cols) bytes, of any alignment;
// out [cols].
void DequantizeRow(DType type, const std::byte* src, size_t cols, float* out);

// The 256 values of a super-block of a type with (`minimum`) or without a minimum.
void DequantizeBlock(const Block256& block, bool minimum, float* out);

}  // namespace exo::tensor
