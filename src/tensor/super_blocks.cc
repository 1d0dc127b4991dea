// Blocks of 256 values: the K-quants, IQ4_XS and the ternary formats.
#include <algorithm>
#include <cstring>

#include "tensor/blocks.h"
#include "tensor/float16.h"
#include "tensor/grid_blocks.h"

namespace exo::tensor {
namespace {

float HalfAt(const uint8_t* at) {
  return HalfToFloat(static_cast<uint16_t>(at[0] | at[1] << 8));
}

// Bits 2 t and 2 t + 1 of byte i (0..31) of a half belong to value 32 t + i of it: `at` has 32
// bytes per half of 128 values.
int TwoBits(const uint8_t* at, size_t i) {
  return at[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3;
}

// Bit b of byte i (0..31) belongs to value 32 b + i.
int OneBit(const uint8_t* at, size_t i) {
  return at[i % 32] >> i / 32 & 1;
}

// Byte i (0..31) of each 32 holds value i low and value i + 32 high, of 64 values.
int NibbleOf64(const uint8_t* at, size_t i) {
  const int byte = at[i / 64 * 32 + i % 32];
  return i % 64 < 32 ? byte & 15 : byte >> 4;
}

// The same with 64 bytes for 128 values.
int NibbleOf128(const uint8_t* at, size_t i) {
  const int byte = at[i / 128 * 64 + i % 64];
  return i % 128 < 64 ? byte & 15 : byte >> 4;
}

// The same with 16 bytes for 32 values.
int NibbleOf32(const uint8_t* at, size_t i) {
  const int byte = at[i / 32 * 16 + i % 16];
  return i % 32 < 16 ? byte & 15 : byte >> 4;
}

template <class CodeAt>
void SetCodes(Block256& out, const CodeAt& code_at) {
  for (size_t i = 0; i < 256; ++i) out.codes[i] = static_cast<int8_t>(code_at(i));
}

Block256 ReadQ2K(const uint8_t* block) {
  Block256 out{};
  out.scale = HalfAt(block + 80);
  out.minimum = HalfAt(block + 82);
  for (size_t s = 0; s < 16; ++s) {
    out.sub_scales[s] = static_cast<int8_t>(block[s] & 15);
    out.sub_minima[s] = block[s] >> 4;
  }
  SetCodes(out, [&](size_t i) { return TwoBits(block + 16, i); });
  return out;
}

Block256 ReadQ3K(const uint8_t* block) {
  Block256 out{};
  out.scale = HalfAt(block + 108);
  UnpackScalesQ3K(block + 96, out.sub_scales);
  SetCodes(out, [&](size_t i) { return (TwoBits(block + 32, i) | OneBit(block, i) << 2) - 4; });
  return out;
}

// Q4_K, and Q5_K with a fifth bit.
Block256 ReadQ45K(const uint8_t* block, bool fifth) {
  Block256 out{};
  out.scale = HalfAt(block);
  out.minimum = HalfAt(block + 2);
  uint8_t scales[8], minima[8];
  UnpackScales6(block + 4, scales, minima);
  for (size_t s = 0; s < 16; ++s) {
    out.sub_scales[s] = static_cast<int8_t>(scales[s / 2]);
    out.sub_minima[s] = minima[s / 2];
  }
  const uint8_t* nibbles = block + (fifth ? 48 : 16);
  SetCodes(out, [&](size_t i) {
    return NibbleOf64(nibbles, i) | (fifth ? OneBit(block + 16, i) << 4 : 0);
  });
  return out;
}

Block256 ReadQ6K(const uint8_t* block) {
  Block256 out{};
  out.scale = HalfAt(block + 208);
  std::memcpy(out.sub_scales, block + 192, 16);
  SetCodes(out,
           [&](size_t i) { return (NibbleOf128(block, i) | TwoBits(block + 128, i) << 4) - 32; });
  return out;
}

Block256 ReadIQ4XS(const uint8_t* block) {
  Block256 out{};
  out.scale = HalfAt(block);
  int8_t scales[8];
  UnpackScalesIQ4XS(block + 2, scales);
  for (size_t s = 0; s < 16; ++s) out.sub_scales[s] = scales[s / 2];
  SetCodes(out, [&](size_t i) { return kIq4Codes[NibbleOf32(block + 8, i)]; });
  return out;
}

// Five ternary digits in a byte, as a fraction of 256: digit n is the integer part of three times
// what is left after n multiplications by 3.
int Ternary(int byte, size_t n) {
  static constexpr int kPowers[] = {1, 3, 9, 27, 81};
  return (byte * kPowers[n] & 255) * 3 >> 8;
}

// 32 bytes with values 32 n + i, 16 with values 160 + 16 n + i, 4 with values 240 + 4 n + i.
Block256 ReadTQ1(const uint8_t* block) {
  Block256 out{};
  std::fill_n(out.sub_scales, 16, int8_t{1});
  SetCodes(out, [&](size_t i) {
    if (i < 160) return Ternary(block[i % 32], i / 32) - 1;
    if (i < 240) return Ternary(block[32 + i % 16], (i - 160) / 16) - 1;
    return Ternary(block[48 + i % 4], (i - 240) / 4) - 1;
  });
  return out;
}

Block256 ReadTQ2(const uint8_t* block) {
  Block256 out{};
  std::fill_n(out.sub_scales, 16, int8_t{1});
  SetCodes(out, [&](size_t i) { return TwoBits(block, i) - 1; });
  return out;
}

Block256 ReadTernary(DType type, const std::byte* at) {
  const auto* block = reinterpret_cast<const uint8_t*>(at);
  Block256 out = type == DType::kTQ1_0 ? ReadTQ1(block) : ReadTQ2(block);
  out.scale = HalfToFloat(ScaleBits(type, at));
  return out;
}

}  // namespace

Block256 ReadBlock256(DType type, const std::byte* at) {
  const auto* block = reinterpret_cast<const uint8_t*>(at);
  switch (type) {
    case DType::kQ2_K:
      return ReadQ2K(block);
    case DType::kQ3_K:
      return ReadQ3K(block);
    case DType::kQ4_K:
      return ReadQ45K(block, false);
    case DType::kQ5_K:
      return ReadQ45K(block, true);
    case DType::kQ6_K:
      return ReadQ6K(block);
    case DType::kIQ4_XS:
      return ReadIQ4XS(block);
    case DType::kTQ1_0:
    case DType::kTQ2_0:
      return ReadTernary(type, at);
    default:
      return ReadGridBlock(type, at);
  }
}

// Scales 0-3 are bits 0-5 of bytes 0-3, minima 0-3 those of bytes 4-7; scale and minimum 4 + i have
// their low nibbles in byte 8 + i and their high two bits on top of bytes i and 4 + i.
void UnpackScales6(const uint8_t* packed, uint8_t* sub_scales, uint8_t* sub_minima) {
  for (size_t i = 0; i < 4; ++i) {
    const int low = packed[i], middle = packed[4 + i], high = packed[8 + i];
    sub_scales[i] = static_cast<uint8_t>(low & 63);
    sub_minima[i] = static_cast<uint8_t>(middle & 63);
    sub_scales[4 + i] = static_cast<uint8_t>((high & 15) | low >> 6 << 4);
    sub_minima[4 + i] = static_cast<uint8_t>(high >> 4 | middle >> 6 << 4);
  }
}

void PackScales6(const uint8_t* sub_scales, const uint8_t* sub_minima, uint8_t* packed) {
  for (size_t i = 0; i < 4; ++i) {
    const int scale = sub_scales[4 + i], minimum = sub_minima[4 + i];
    packed[i] = static_cast<uint8_t>(sub_scales[i] | scale >> 4 << 6);
    packed[4 + i] = static_cast<uint8_t>(sub_minima[i] | minimum >> 4 << 6);
    packed[8 + i] = static_cast<uint8_t>((scale & 15) | (minimum & 15) << 4);
  }
}

// Scale s has its low nibble in byte s % 8 (high nibble for s >= 8) and its high two bits in bits
// 2 (s / 4) of byte 8 + s % 4.
void UnpackScalesQ3K(const uint8_t* packed, int8_t* sub_scales) {
  for (size_t s = 0; s < 16; ++s) {
    const int low = packed[s % 8] >> (s < 8 ? 0 : 4) & 15;
    const int high = packed[8 + s % 4] >> 2 * (s / 4) & 3;
    sub_scales[s] = static_cast<int8_t>((low | high << 4) - 32);
  }
}

void PackScalesQ3K(const int8_t* sub_scales, uint8_t* packed) {
  std::fill_n(packed, 12, uint8_t{0});
  for (size_t s = 0; s < 16; ++s) {
    const int stored = sub_scales[s] + 32;
    packed[s % 8] |= static_cast<uint8_t>((stored & 15) << (s < 8 ? 0 : 4));
    packed[8 + s % 4] |= static_cast<uint8_t>(stored >> 4 << 2 * (s / 4));
  }
}

// Bits 2 s of the first two bytes are the high bits of scale s; nibble s of the other four the low
// ones.
void UnpackScalesIQ4XS(const uint8_t* packed, int8_t* sub_scales) {
  for (size_t s = 0; s < 8; ++s) {
    const int low = packed[2 + s / 2] >> 4 * (s % 2) & 15;
    const int high = packed[s / 4] >> 2 * (s % 4) & 3;
    sub_scales[s] = static_cast<int8_t>((low | high << 4) - 32);
  }
}

void PackScalesIQ4XS(const int8_t* sub_scales, uint8_t* packed) {
  std::fill_n(packed, 6, uint8_t{0});
  for (size_t s = 0; s < 8; ++s) {
    const int stored = sub_scales[s] + 32;
    packed[2 + s / 2] |= static_cast<uint8_t>((stored & 15) << 4 * (s % 2));
    packed[s / 4] |= static_cast<uint8_t>(stored >> 4 << 2 * (s % 4));
  }
}

}  // namespace exo::tensor
