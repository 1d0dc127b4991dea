#include "tensor/dequantize.h"

#include <cstring>

#include "tensor/float16.h"

namespace exo::tensor {
namespace {

template <class T>
T Read(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

void DequantizeQ8(const std::byte* block, float* out) {
  const float scale = HalfToFloat(Read<uint16_t>(block));
  for (size_t i = 0; i < 32; ++i) {
    out[i] = scale * static_cast<float>(Read<int8_t>(block + 2 + i));
  }
}

// Byte i holds value i in its low and value i + 16 in its high nibble.
void DequantizeQ4(const std::byte* block, float* out) {
  const float scale = HalfToFloat(Read<uint16_t>(block));
  for (size_t i = 0; i < 16; ++i) {
    const int byte = Read<uint8_t>(block + 2 + i);
    out[i] = scale * static_cast<float>((byte & 15) - 8);
    out[i + 16] = scale * static_cast<float>((byte >> 4) - 8);
  }
}

void DequantizeQ6K(const std::byte* block, float* out) {
  const float scale = HalfToFloat(Read<uint16_t>(block + kQ6KScaleOffset));
  int8_t codes[256];
  UnpackQ6K(block, codes);
  for (size_t i = 0; i < 256; ++i) {
    const int sub_scale = Read<int8_t>(block + kQ6KScalesOffset + i / 16);
    out[i] = scale * static_cast<float>(sub_scale * codes[i]);
  }
}

template <class Convert>
void ForEach(const std::byte* src, size_t block_bytes, size_t count, const Convert& convert) {
  for (size_t i = 0; i < count; ++i) convert(src + i * block_bytes, i);
}

}  // namespace

// 128 low-nibble bytes, then 64 bytes of four 2-bit high parts; each half of the block owns half of
// both.
void UnpackQ6K(const std::byte* block, int8_t* codes) {
  for (size_t half = 0; half < 2; ++half) {
    const std::byte* low = block + 64 * half;
    const std::byte* high = block + 128 + 32 * half;
    int8_t* out = codes + 128 * half;
    for (size_t i = 0; i < 32; ++i) {
      const int low0 = Read<uint8_t>(low + i);
      const int low1 = Read<uint8_t>(low + 32 + i);
      const int top = Read<uint8_t>(high + i);
      out[i] = static_cast<int8_t>(((low0 & 15) | (top & 3) << 4) - 32);
      out[i + 32] = static_cast<int8_t>(((low1 & 15) | (top >> 2 & 3) << 4) - 32);
      out[i + 64] = static_cast<int8_t>((low0 >> 4 | (top >> 4 & 3) << 4) - 32);
      out[i + 96] = static_cast<int8_t>((low1 >> 4 | (top >> 6 & 3) << 4) - 32);
    }
  }
}

void DequantizeRow(DType type, const std::byte* src, size_t cols, float* out) {
  switch (type) {
    case DType::kF32:
      std::memcpy(out, src, cols * sizeof(float));
      return;
    case DType::kF16:
      return ForEach(src, 2, cols, [&](const std::byte* at, size_t i) {
        out[i] = HalfToFloat(Read<uint16_t>(at));
      });
    case DType::kBF16:
      return ForEach(src, 2, cols, [&](const std::byte* at, size_t i) {
        out[i] = Bf16ToFloat(Read<uint16_t>(at));
      });
    case DType::kQ8_0:
      return ForEach(src, 34, cols / 32,
                     [&](const std::byte* at, size_t i) { DequantizeQ8(at, out + 32 * i); });
    case DType::kQ4_0:
      return ForEach(src, 18, cols / 32,
                     [&](const std::byte* at, size_t i) { DequantizeQ4(at, out + 32 * i); });
    case DType::kQ6_K:
      return ForEach(src, 210, cols / 256,
                     [&](const std::byte* at, size_t i) { DequantizeQ6K(at, out + 256 * i); });
  }
}

}  // namespace exo::tensor
