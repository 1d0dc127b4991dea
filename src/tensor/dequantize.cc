#include "tensor/dequantize.h"

#include <cstring>

#include "tensor/blocks.h"
#include "tensor/float16.h"

namespace exo::tensor {
namespace {

// Products of scales and integers are exact here but for Q6_K (11 + 14 bits): the sum rounds.
void Dequantize32(const DTypeInfo& info, const std::byte* at, float* out) {
  const Block32 block = ReadBlock32(info.type, at);
  for (size_t i = 0; i < 32; ++i) {
    const float value = block.scale * static_cast<float>(block.codes[i]);
    out[i] = info.minimum ? value + block.minimum : value;
  }
}

void Dequantize256(const DTypeInfo& info, const std::byte* at, float* out) {
  DequantizeBlock(ReadBlock256(info.type, at), info.minimum, out);
}

template <class Widen>
void Widen16(const std::byte* src, size_t cols, float* out, const Widen& widen) {
  for (size_t i = 0; i < cols; ++i) {
    uint16_t bits;
    std::memcpy(&bits, src + 2 * i, 2);
    out[i] = widen(bits);
  }
}

}  // namespace

void DequantizeBlock(const Block256& block, bool minimum, float* out) {
  for (size_t i = 0; i < 256; ++i) {
    const int code = block.sub_scales[i / 16] * block.codes[i];
    const float value = block.scale * static_cast<float>(code);
    const float less = block.minimum * static_cast<float>(block.sub_minima[i / 16]);
    out[i] = minimum ? value - less : value;
  }
}

void DequantizeRow(DType type, const std::byte* src, size_t cols, float* out) {
  const DTypeInfo& info = Info(type);
  if (info.quantized) {
    const auto dequantize = info.block_values == 32 ? Dequantize32 : Dequantize256;
    for (size_t k = 0; k < cols; k += info.block_values, src += info.block_bytes) {
      dequantize(info, src, out + k);
    }
  } else if (type == DType::kF32) {
    std::memcpy(out, src, cols * sizeof(float));
  } else if (type == DType::kF16) {
    Widen16(src, cols, out, HalfToFloat);
  } else {
    Widen16(src, cols, out, Bf16ToFloat);
  }
}

}  // namespace exo::tensor
