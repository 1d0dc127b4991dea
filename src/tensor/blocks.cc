// Blocks of 32 values. Nibble byte i holds value i low and value i + 16 high.
#include "tensor/blocks.h"

#include <bit>
#include <cstring>

#include "base/check.h"
#include "tensor/float16.h"

namespace exo::tensor {
namespace {

uint8_t ByteAt(const std::byte* block, size_t i) {
  return static_cast<uint8_t>(block[i]);
}
float HalfAt(const std::byte* at) {
  return HalfToFloat(static_cast<uint16_t>(ByteAt(at, 0) | ByteAt(at, 1) << 8));
}

int Nibble(const std::byte* nibbles, size_t i) {
  const int byte = ByteAt(nibbles, i % 16);
  return i < 16 ? byte & 15 : byte >> 4;
}
// The fifth bit of value i is bit i of four bytes.
int FifthBit(const std::byte* bits, size_t i) {
  return (ByteAt(bits, i / 8) >> i % 8 & 1) << 4;
}

template <class CodeAt>
Block32 Make(float scale, float minimum, const CodeAt& code_at) {
  Block32 out{.scale = scale, .minimum = minimum, .codes = {}};
  for (size_t i = 0; i < 32; ++i) out.codes[i] = static_cast<int8_t>(code_at(i));
  return out;
}

}  // namespace

Block32 ReadBlock32(DType type, const std::byte* block) {
  const auto nibble = [&](size_t at) { return [=](size_t i) { return Nibble(block + at, i); }; };
  switch (type) {
    case DType::kQ8_0:
      return Make(HalfAt(block), 0, [&](size_t i) { return static_cast<int8_t>(block[2 + i]); });
    case DType::kQ4_0:
      return Make(HalfAt(block), 0, [&](size_t i) { return nibble(2)(i) - 8; });
    case DType::kQ4_1:
      return Make(HalfAt(block), HalfAt(block + 2), nibble(4));
    case DType::kQ5_0:
      return Make(HalfAt(block), 0,
                  [&](size_t i) { return (nibble(6)(i) | FifthBit(block + 2, i)) - 16; });
    case DType::kQ5_1:
      return Make(HalfAt(block), HalfAt(block + 2),
                  [&](size_t i) { return nibble(8)(i) | FifthBit(block + 4, i); });
    case DType::kIQ4_NL:
      return Make(HalfAt(block), 0, [&](size_t i) { return kIq4Codes[nibble(2)(i)]; });
    case DType::kMXFP4:
      return Make(Mxfp4Scale(ByteAt(block, 0)), 0,
                  [&](size_t i) { return kMxfp4Codes[nibble(1)(i)]; });
    default:
      internal::CheckFailed(__FILE__, __LINE__, "not a type of 32-blocks");
  }
}

float Mxfp4Scale(uint8_t exponent) {
  if (exponent < kMxfp4Floor) return 0;
  return std::bit_cast<float>(static_cast<uint32_t>(exponent - 1) << 23);
}

size_t ScaleOffset(DType type) {
  switch (type) {
    case DType::kQ2_K:
      return 80;
    case DType::kQ3_K:
      return 108;
    case DType::kQ6_K:
      return 208;
    case DType::kTQ1_0:
      return 52;
    case DType::kTQ2_0:
      return 64;
    default:
      return 0;
  }
}

// Nibble i of an IQ1_M scale is the high one of byte 2 i + 1 of its eight bytes of sub-scales.
constexpr size_t kIq1MScales = 48;

void SetScale(DType type, uint16_t half, std::byte* block) {
  if (type != DType::kIQ1_M) {
    std::memcpy(block + ScaleOffset(type), &half, sizeof(half));
    return;
  }
  for (size_t i = 0; i < 4; ++i) {
    std::byte& at = block[kIq1MScales + 2 * i + 1];
    at = (at & std::byte{15}) | static_cast<std::byte>((half >> 4 * i & 15) << 4);
  }
}

uint16_t ScaleBits(DType type, const std::byte* block) {
  int bits = 0;
  if (type != DType::kIQ1_M) {
    bits = ByteAt(block, ScaleOffset(type)) | ByteAt(block, ScaleOffset(type) + 1) << 8;
  } else {
    for (size_t i = 0; i < 4; ++i) bits |= ByteAt(block, kIq1MScales + 2 * i + 1) >> 4 << 4 * i;
  }
  return static_cast<uint16_t>(bits);
}

}  // namespace exo::tensor
