// Quantized blocks as integers and scales: the one reading of their bits (layouts:
// tensor/README.md). Dequantization and the reference products are made of it; panels move the same
// bits.
//
// Reading is by bytes: a block needs no alignment.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/code_tables.h"
#include "tensor/dtype.h"

namespace exo::tensor {

// 32 values: scale * code, and for types with a minimum scale * code + minimum.
struct Block32 {
  float scale;
  float minimum;  // +0 where the type has none
  int8_t codes[32];
};

// 256 values in sub-blocks of 16 (those of 32 appear twice): scale * (sub_scale * code), and for
// types with a minimum scale * (sub_scale * code) - minimum * sub_minimum. The scale of IQ1, IQ2
// and IQ3 includes their power of two (code_tables.h).
struct Block256 {
  float scale;
  float minimum;  // +0 where the type has none, as the sub-minima
  // Q2_K 0..15; Q4_K, Q5_K 0..63; Q3_K, IQ4_XS -32..31; Q6_K any; IQ1, IQ2, IQ3 odd, 1..31; TQ 1
  int8_t sub_scales[16];
  uint8_t sub_minima[16];  // Q2_K 0..15; Q4_K, Q5_K 0..63
  int8_t codes[256];
};

// type: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL or MXFP4.
Block32 ReadBlock32(DType type, const std::byte* block);
// type: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, any of IQ1, IQ2 and IQ3, IQ4_XS, TQ1_0 or TQ2_0.
Block256 ReadBlock256(DType type, const std::byte* block);

// Where a block keeps its f16 scale, and behind it its minimum: 0 but for some super-blocks. Not
// for MXFP4, whose scale is byte 0, nor IQ1_M, whose scale is scattered.
size_t ScaleOffset(DType type);
// Gives a block the f16 scale `half`, wherever its type keeps it. Not for MXFP4.
void SetScale(DType type, uint16_t half, std::byte* block);
// The bits of that scale.
uint16_t ScaleBits(DType type, const std::byte* block);

// The scale of a MXFP4 block is half the power of two that its byte (e8m0) stands for, since the
// codes are doubled: 2^(byte - 128). Below 2^-24 it is +0 (rule 9: products with it could be
// denormal); byte 255 is 2^127, as llama.cpp reads it.
inline constexpr uint8_t kMxfp4Floor = 104;
float Mxfp4Scale(uint8_t exponent);

// The eight 6-bit sub-scales and minima of Q4_K and Q5_K from their 12 bytes.
void UnpackScales6(const uint8_t* packed, uint8_t* sub_scales /* [8] */,
                   uint8_t* sub_minima /* [8] */);
void PackScales6(const uint8_t* sub_scales, const uint8_t* sub_minima, uint8_t* packed /* [12] */);
// The sixteen 6-bit sub-scales of Q3_K (stored + 32) from their 12 bytes.
void UnpackScalesQ3K(const uint8_t* packed, int8_t* sub_scales /* [16] */);
void PackScalesQ3K(const int8_t* sub_scales, uint8_t* packed /* [12] */);
// The eight 6-bit sub-scales of IQ4_XS (stored + 32): 2 bytes of high bits, 4 of low nibbles.
void UnpackScalesIQ4XS(const uint8_t* packed, int8_t* sub_scales /* [8] */);
void PackScalesIQ4XS(const int8_t* sub_scales, uint8_t* packed /* [6] */);

}  // namespace exo::tensor
