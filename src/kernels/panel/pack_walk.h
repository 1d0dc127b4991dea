// What the block formats share in packing: one walk over a block moves its bytes from the file's
// order into a panel or back, as the direction says.
#pragma once

#include <cstring>

#include "kernels/panel/layout.h"
#include "kernels/panel/pack.h"
#include "tensor/dequantize.h"
#include "tensor/dtype.h"

namespace exo::kernels::panel {

// Directions. File and Panel are bytes, const on the side that is read.
struct ToPanel {
  using File = const uint8_t;
  using Panel = uint8_t;
  template <size_t kBytes>
  static void Move(File* file, Panel* panel) {
    std::memcpy(panel, file, kBytes);
  }
};
struct ToFile {
  using File = uint8_t;
  using Panel = const uint8_t;
  template <size_t kBytes>
  static void Move(File* file, Panel* panel) {
    std::memcpy(file, panel, kBytes);
  }
};

// Bytes [0, 4 * vectors) of the file and row `row` of `vectors` vectors.
template <class Way>
void MoveVectors(typename Way::File* file, size_t vectors, size_t row, typename Way::Panel* panel) {
  for (size_t i = 0; i < vectors; ++i) {
    Way::template Move<4>(file + 4 * i, panel + kVectorBytes * i + 4 * row);
  }
}

// Block: static kBytes of a panel's block, and Walk<Way>(file, row, panel) for row `row` of one
// block.
template <class Block>
void PackBlocks(const tensor::DTypeInfo& info, size_t valid, size_t cols, const uint8_t* src,
                uint8_t* panel) {
  const size_t blocks = cols / info.block_values;
  for (size_t b = 0; b < blocks; ++b) {  // block by block: the destination stays in the L1 cache
    for (size_t r = 0; r < valid; ++r) {
      Block::template Walk<ToPanel>(src + (r * blocks + b) * info.block_bytes, r,
                                    panel + b * Block::kBytes);
    }
  }
}

template <class Block>
void UnpackBlocks(const tensor::DTypeInfo& info, size_t cols, const uint8_t* panel, size_t row,
                  float* out) {
  for (size_t b = 0; b < cols / info.block_values; ++b) {
    uint8_t block[256] = {};
    Block::template Walk<ToFile>(block, row, panel + b * Block::kBytes);
    tensor::DequantizeRow(info.type, reinterpret_cast<const std::byte*>(block), info.block_values,
                          out + b * info.block_values);
  }
}

// How a type of blocks is packed; the functions above, by pack32.cc and pack256.cc.
struct BlockPacking {
  size_t block_bytes;  // of a panel
  void (*pack)(const tensor::DTypeInfo& info, size_t valid, size_t cols, const uint8_t* src,
               uint8_t* panel);
  void (*unpack_row)(const tensor::DTypeInfo& info, size_t cols, const uint8_t* panel, size_t row,
                     float* out);
};
template <class Block>
constexpr BlockPacking kPackingOf = {Block::kBytes, PackBlocks<Block>, UnpackBlocks<Block>};

// type: one with blocks of 32, of 256; of the latter, one whose panels have other codes than files.
const BlockPacking& Packing32(tensor::DType type);
const BlockPacking& Packing256(tensor::DType type);
const BlockPacking& PackingCodes(tensor::DType type);

}  // namespace exo::kernels::panel
