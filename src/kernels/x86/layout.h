// The layouts that both x86 sets share. Everything has internal linkage: files compiled for different
// instruction sets must not offer the linker a common copy of a function.
//
// Panels of 16 rows, so that lane r of a vector owns row r and walks k in order. A group is 4
// consecutive k of all 16 rows, [row][4] bytes = one 64-byte vector, the operand of a byte dot product.
//   F32, F16, BF16  [cols][16] values
//   Q8_0            per 32 k: f16 scale [16], 8 groups of bytes code + 128
//   Q4_0            per 32 k: f16 scale [16], 4 vectors: low nibbles group g, high nibbles group g + 4
//   Q6_K            per 256 k: f16 scale [16], int8 sub-scale [16 subs][16 rows], then per 128 k: 16 vectors of
//                   low nibbles (group g low, g + 16 high), 8 vectors of 2-bit parts (group g + 8 t in bits 2 t)
// The nibble orders are those of GGUF, so that packing only moves whole bytes; sizes are the file's.
//
// Activations in tiles of up to 16 tokens that stand side by side (the last tile is as wide as its tokens
// are many), so that one tile is one ascending stream of memory:
//   kFloat   [cols][w] binary32
//   kQ8x32   per 32 k: codes [w][32], scale [w], -8 * sum [w], -128 * sum [w]
//   kQ8x128  per 128 k: codes [w][128], scale [w], -32 * sum of 16 [8][w]
#pragma once

#include <cstddef>
#include <cstdint>

namespace exo::kernels::x86 {

constexpr size_t kTileTokens = 16;
constexpr size_t kLeaf = 128;

constexpr size_t kQ8BlockBytes = 32 + 512;
constexpr size_t kQ4BlockBytes = 32 + 256;
constexpr size_t kQ6KHalfBytes = 1536;
constexpr size_t kQ6KCodes = 32 + 256;
constexpr size_t kQ6KBlockBytes = kQ6KCodes + 2 * kQ6KHalfBytes;

constexpr size_t kRecord32 = 32 + 4 + 4 + 4;       // bytes per token and block
constexpr size_t kRecord128 = 128 + 4 + 8 * 4;

}  // namespace exo::kernels::x86
