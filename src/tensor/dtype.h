// Element and block types of weights, with GGUF's numbers. A row of a matrix is `cols /
// block_values` consecutive blocks; formats as in llama.cpp's ggml-quants (documented in
// tensor/README.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/result.h"

namespace exo::tensor {

// Values are GGUF's tensor type ids.
enum class DType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
};

struct DTypeInfo {
  DType type;
  std::string_view name;  // "Q4_0"
  uint32_t block_values;  // weights in a block: 1, 32 or 256
  uint32_t block_bytes;   // bytes of a block in the file
  bool quantized;         // integer codes: products use quantized activations
  bool minimum = false;   // values have a minimum beside their scale (tensor/blocks.h)
};

// Every type this build computes with, in the order of GGUF's numbers.
std::span<const DTypeInfo> AllTypes();

// The type with GGUF's number, or nothing when this build cannot compute with it.
std::optional<DTypeInfo> FindDType(uint32_t gguf_type);
const DTypeInfo& Info(DType type);
// The name of any GGUF type number, also of unsupported ones ("Q8_1", "type 99").
std::string GgufTypeName(uint32_t gguf_type);

// Bytes of one row of `cols` values. Errors: kInvalid when cols is no multiple of the block.
Result<uint64_t> RowBytes(DType type, uint64_t cols);

}  // namespace exo::tensor
