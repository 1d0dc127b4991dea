// The layouts that all panel sets share. Everything has internal linkage: files compiled for
// different instruction sets must not offer the linker a common copy of a function.
//
// Panels of 16 rows, so that lane r of a vector owns row r and walks k in order. A group is 4
// consecutive k of all 16 rows, [row][4] bytes = one 64-byte vector, the operand of a byte dot
// product. Memory must be read in ascending order to have the hardware prefetcher's help (Q6_K
// otherwise: 16 against 27 GB/s), so vectors stand in the order in which they are first needed.
//   F32, F16, BF16  [cols][16] values
// per 32 k, scales (and minima) f16 [16]:
//   Q8_0            scales; 8 groups of bytes code + 128
//   Q4_0, IQ4_NL    scales; 4 vectors of nibbles: low those of group g, high of group g + 4
//   Q4_1            scales; minima; nibbles
//   Q5_0            scales; vector of fifth bits: bit g of byte [row][i] belongs to k = 4 g + i;
//   nibbles Q5_1            scales; minima; fifth bits; nibbles MXFP4           exponents [16] (b
//   stands for 2^(b - 127), 0 for +0); nibbles
// per 256 k, scales (and minima) f16 [16], then per half of 128 k the sub-scales as bytes
// [sub][row], the sub-minima as bytes [pair][row][2], where pair p holds sub-blocks 2 p and 2 p +
// 1, and vectors:
//   Q2_K            sub-scales, minimum in the high nibble; 8 of 2-bit parts: group g of each
//                   32 k t in bits 2 t; sub-blocks 0, 2, 4, 6, then 1, 3, 5, 7
//   Q3_K            sub-scales; 4 of third bits, 8 of 2-bit parts as in Q2_K
//   Q4_K            sub-scales; sub-minima; 16 of nibbles: vector 8 c + g low group g of sub-block
//   2 c,
//                   high of 2 c + 1
//   Q5_K            sub-scales; sub-minima; 4 of fifth bits; nibbles as in Q4_K
//   Q6_K            sub-scales; 16 of low nibbles (group g low, g + 16 high) and 8 of 2-bit parts
//   (group g + 8 t in
//                   bits 2 t), in the order in which sub-blocks 0, 4, 1, 5, 2, 6, 3, 7 first need
//                   them
//   IQ4_XS, IQ3     sub-scales; 16 of nibbles: vector 4 s + g low group g of sub-block s, high
//   group g + 4
//   IQ1, IQ2        nibbles s of two sub-scales 2 s + 1 [pair][row]; per 64 k: 2 of third bits, 4
//   of
//                   2-bit parts: group g of each 16 k t in bits 2 t
//   TQ1_0, TQ2_0    per 32 k: 2 of 2-bit parts: group 4 v + t in bits 2 t of vector v
// Third and fifth bits: bit t of the low nibble of byte i is that of k = 32 t + i, of the high
// nibble that of k = 32 t + 16 + i (i < 16), those bytes standing in vector i / 4; of IQ1 and IQ2:
// bit t of the low nibble of vector v belongs to group 2 v of each 16 k t, of the high nibble to
// group 2 v + 1. Nibbles of IQ3, and 3 bits of IQ1 and IQ2, name a code of a table
// (tensor/code_tables.h): the grids of these formats are left behind in the file. The nibble
// orders are those of GGUF, so that packing nearly only moves whole bytes. Sizes are the file's,
// but for sub-scales widened from 6 bits to 8: Q3_K 3.6 %, Q4_K 2.8 %, Q5_K 2.3 %, IQ4_XS 1.5 %.
//
// Activations in tiles of up to 16 tokens that stand side by side (the last tile is as wide as its
// tokens are many), so that one tile is one ascending stream of memory:
//   kFloat   [cols][w] binary32
//   kQ8x32   per 32 k: codes [w][32], scale [w], -8 * sum [w], -128 * sum [w]
//   kQ8x128  per 128 k: codes [w][128], scale [w], int16 sums of 16 [4][w][2], of 32 [2][w][2],
//            -32 * sum of 16 [8][w]
#pragma once

#include <cstddef>
#include <cstdint>

namespace exo::kernels::panel {

constexpr size_t kTileTokens = 16;
constexpr size_t kLeaf = 128;

constexpr size_t kScaleBytes = 32;   // f16 of 16 rows
constexpr size_t kVectorBytes = 64;  // a group of 16 rows

// A block of 32 k: bytes before its codes, and all.
struct Block32Layout {
  size_t head;
  size_t bytes;
};
constexpr Block32Layout kQ8Layout = {32, 32 + 8 * 64};
constexpr Block32Layout kQ4Layout = {32, 32 + 4 * 64};  // and IQ4_NL
constexpr Block32Layout kQ41Layout = {64, 64 + 4 * 64};
constexpr Block32Layout kQ50Layout = {32, 32 + 5 * 64};
constexpr Block32Layout kQ51Layout = {64, 64 + 5 * 64};
constexpr Block32Layout kMxfp4Layout = {16, 16 + 4 * 64};

// A block of 256 k: bytes of the scales in front of its halves, of the sub-scales in front of each
// half's vectors, and the vectors of a half.
struct Block256Layout {
  size_t head;
  size_t subs;
  size_t vectors;

  constexpr size_t half() const { return subs + kVectorBytes * vectors; }
  constexpr size_t bytes() const { return head + 2 * half(); }
};
constexpr size_t kSubMinima = 64;  // where a half of Q4_K and Q5_K has them
constexpr Block256Layout kQ2KLayout = {64, 128, 8};
constexpr Block256Layout kQ3KLayout = {32, 128, 12};
constexpr Block256Layout kQ4KLayout = {64, 128, 16};
constexpr Block256Layout kQ5KLayout = {64, 128, 20};
constexpr Block256Layout kQ6KLayout = {32, 128, 24};
constexpr Block256Layout kIq4XsLayout = {32, 64, 16};  // and IQ3
constexpr Block256Layout kIq12Layout = {32, 64, 12};
constexpr Block256Layout kTqLayout = {32, 0, 8};

// Which of a half's 24 vectors holds low vector i (0 … 15), and 2-bit vector i (0 … 7), of Q6_K.
static constexpr size_t Q6KLow(size_t i) {
  return i < 4 ? 4 + i : 8 + i;
}
static constexpr size_t Q6KHigh(size_t i) {
  return i < 4 ? i : 4 + i;
}

constexpr size_t kRecord32 = 32 + 4 + 4 + 4;  // bytes per token and block
constexpr size_t kRecord128 = 128 + 4 + 4 * 4 + 2 * 4 + 8 * 4;
// Where a record of `width` tokens has its scales and sums.
static constexpr size_t Scales128(size_t width) {
  return 128 * width;
}
static constexpr size_t Sums16(size_t width) {
  return 132 * width;
}
static constexpr size_t Sums32(size_t width) {
  return 148 * width;
}
static constexpr size_t Starts128(size_t width) {
  return 156 * width;
}

}  // namespace exo::kernels::panel
