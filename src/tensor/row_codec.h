// How hidden states travel between stages: as binary32, or in fewer bits for slow links. Every
// codec but kF32 loses bits, so it is asked for by name and part of a plan (docs/adr/0022).
//
// A row is coded by itself, whatever is sent with it: its bytes do not depend on the chunk it comes
// in. Coding and decoding are integer arithmetic and single rounded operations of binary32 in one
// order (docs/arithmetic.md, rule 18): the same bytes and bits on every device.
//
// Layout of a coded row, little-endian, W values:
//   f32       unit, a power of two that brings the largest value to [2^14, 2^15); NaN: the row has
//             an infinity or NaN, and so is all of it
//   kF16      W f16: value / unit
//   else      kOutliersOf(W) of { u16 channel, f16 value / unit }: the largest values, ascending
//             channels; then per group of 32 values an f16 scale (times unit) and its codes:
//   kInt8     32 signed bytes, -127 to 127
//   kInt4     16 bytes: value j plus 8 in the low half of byte j, value j + 16 in the high half
// The last group may be short; its codes are padded with zeros.
//
// Thread: pure, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"

namespace exo::tensor {

// The numbers are the wire's.
enum class RowCodec : uint8_t { kF32 = 0, kF16 = 1, kInt8 = 2, kInt4 = 3 };

inline constexpr size_t kWireGroup = 32;
// Channels are 16-bit numbers.
inline constexpr size_t kMaxWireWidth = size_t{1} << 16;

// Values of a row that keep an f16 of their own: a few channels of hidden states are a hundred
// times larger than the others, and would cost their groups all bits. About 3 % of an int8 row.
constexpr size_t OutliersOf(size_t width) {
  return (width + 127) / 128;
}

// Bytes of one row. Units: bytes. `width`: 1 to kMaxWireWidth.
size_t CodedRowBytes(RowCodec codec, size_t width);

// Codes rows [rows][width] into `out`, CodedRowBytes for each. Cost: 2 reads of the rows.
void CodeRows(RowCodec codec, size_t width, std::span<const float> rows, std::span<std::byte> out);

// The rows of `bytes`, which may be anybody's, into `out` [rows][width]. Errors: kCorrupt (another
// number of bytes than the rows take, a unit or scale that no row has, channels out of order).
Result<void> DecodeRows(RowCodec codec, size_t width, std::span<const std::byte> bytes,
                        std::span<float> out);

}  // namespace exo::tensor
