// The layouts that all panel sets share. Everything has internal linkage: files compiled for
// different instruction sets must not offer the linker a common copy of a function.
//
// Panels of 16 rows, so that lane r of a vector owns row r and walks k in order. A group is 4
// consecutive k of all 16 rows, [row][4] bytes = one 64-byte vector, the operand of a byte dot
// product.
//   F32, F16, BF16  [cols][16] values
//   Q8_0            per 32 k: f16 scale [16], 8 groups of bytes code + 128
//   Q4_0            per 32 k: f16 scale [16], 4 vectors: low nibbles group g, high nibbles group g
//   Q6_K            per 256 k: f16 scale [16], then per 128 k: int8 sub-scale [8 subs][16 rows],
//                   16 vectors of low nibbles (group g low, g + 16 high) and 8 of 2-bit parts (group g + 8 t in
//                   bits 2 t), in the order in which sub-blocks 0, 4, 1, 5, 2, 6, 3, 7 first need
//                   them: memory must be read in ascending order to have the hardware prefetcher's
//                   help (16 against 27 GB/s)
// The nibble orders are those of GGUF, so that packing only moves whole bytes; sizes are the
// file's.
//
// Activations in tiles of up to 16 tokens that stand side by side (the last tile is as wide as its
// tokens are many), so that one tile is one ascending stream of memory:
//   kFloat   [cols][w] binary32
//   kQ8x32   per 32 k: codes [w][32], scale [w], -8 * sum [w], -128 * sum [w]
//   kQ8x128  per 128 k: codes [w][128], scale [w], -32 * sum of 16 [8][w]
#pragma once

#include <cstddef>
#include <cstdint>

namespace exo::kernels::panel {

constexpr size_t kTileTokens = 16;
constexpr size_t kLeaf = 128;

constexpr size_t kQ8BlockBytes = 32 + 512;
constexpr size_t kQ4BlockBytes = 32 + 256;
constexpr size_t kQ6KSubScales = 128;  // bytes in front of each half's 24 vectors
constexpr size_t kQ6KHalfBytes = kQ6KSubScales + 24 * 64;
constexpr size_t kQ6KBlockBytes = 32 + 2 * kQ6KHalfBytes;
// Which of a half's 24 vectors holds low vector i (0 … 15), and 2-bit vector i (0 … 7).
static constexpr size_t Q6KLow(size_t i) {
  return i < 4 ? 4 + i : 8 + i;
}
static constexpr size_t Q6KHigh(size_t i) {
  return i < 4 ? i : 4 + i;
}

constexpr size_t kRecord32 = 32 + 4 + 4 + 4;  // bytes per token and block
constexpr size_t kRecord128 = 128 + 4 + 8 * 4;

}  // namespace exo::kernels::panel
