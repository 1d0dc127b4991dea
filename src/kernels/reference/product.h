// One row of weights times one token (rule 3): leaves of 128 k, combined by the canonical tree.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace exo::kernels::reference {

// row: GGUF bytes of `cols` weights of a type with blocks of 32; codes [cols], scales [cols / 32].
float DotQ8x32(tensor::DType type, const std::byte* row, const int8_t* codes, const float* scales,
               size_t cols);
// row: a type with super-blocks of 256; codes [cols], scales [cols / 128].
float DotQ8x128(tensor::DType type, const std::byte* row, const int8_t* codes, const float* scales,
                size_t cols);
// row: F32, F16 or BF16; x [cols], flushed.
float DotFloat(tensor::DType type, const std::byte* row, const float* x, size_t cols);

}  // namespace exo::kernels::reference
