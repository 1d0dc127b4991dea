// From floats to GGUF blocks or to narrower floats (to nearest even): the inverse of
// tensor/dequantize.h, with the loss that a format implies.
//
// Deterministic: only +, -, *, / and square roots of binary32 and binary64 in a fixed order, no
// denormals, so that every machine writes the same file. Q4_0 and Q8_0 are ggml's blocks bit for
// bit (but for the codes of blocks whose scale is zero as f16); the K-quants search better scales
// (tensor/quantize_super.h).
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "tensor/dtype.h"

namespace exo::tensor {

// The types that can be written: Q4_0, Q8_0, Q4_K, Q5_K, Q6_K, F32, F16, BF16.
std::span<const DType> WritableTypes();

// Values beyond the largest f16 cannot be weights of a sound model.
inline constexpr float kLargestWeight = 65504;

// Writes the blocks of `row`. Shapes: out [RowBytes(type, row.size())]; type: a writable one.
// Errors: kInvalid with position and value when one is not finite or beyond kLargestWeight.
// Thread: pure, any thread. Cost: Q4_0, Q8_0 a few, K-quants about a hundred cycles a value.
Result<void> QuantizeRow(DType type, std::span<const float> row, std::byte* out);

}  // namespace exo::tensor
