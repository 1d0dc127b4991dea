#include "kernels/panel/pack.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/panel/layout.h"
#include "tensor/dequantize.h"
#include "tensor/float16.h"

namespace exo::kernels::panel {
namespace {

using tensor::DType;

constexpr size_t kRows = 16;
constexpr uint32_t kWeightFloorBits = 0x2c800000;  // 2^-38

size_t FileRowBytes(DType type, size_t cols) {
  return cols / tensor::Info(type).block_values * tensor::Info(type).block_bytes;
}

// Bytes of a block and its panel counterpart, for the types of 32 (or, Q6_K, 256) values.
size_t PanelBlockBytes(DType type) {
  switch (type) {
    case DType::kQ8_0:
      return kQ8BlockBytes;
    case DType::kQ4_0:
      return kQ4BlockBytes;
    case DType::kQ6_K:
      return kQ6KBlockBytes;
    default:
      return kRows * tensor::Info(type).block_bytes;
  }
}

// Copies 4 * groups bytes of row r to its places in `groups` vectors of [row][4].
void Scatter(const uint8_t* src, size_t groups, uint8_t flip, size_t row, uint8_t* vectors) {
  const uint32_t flips = flip * 0x01010101u;
  for (size_t g = 0; g < groups; ++g) {
    uint32_t four;
    std::memcpy(&four, src + 4 * g, 4);
    four ^= flips;
    std::memcpy(vectors + 64 * g + 4 * row, &four, 4);
  }
}

void Gather(const uint8_t* vectors, size_t groups, uint8_t flip, size_t row, uint8_t* dst) {
  for (size_t i = 0; i < 4 * groups; ++i) dst[i] = vectors[64 * (i / 4) + 4 * row + i % 4] ^ flip;
}

// One block of row r between file and panel order: packing and reading back are the same walk.
struct Q8Block {
  static void Pack(const uint8_t* src, size_t row, uint8_t* to) {
    std::memcpy(to + 2 * row, src, 2);
    Scatter(src + 2, 8, 0x80, row, to + 32);
  }
  static void Unpack(const uint8_t* from, size_t row, uint8_t* dst) {
    std::memcpy(dst, from + 2 * row, 2);
    Gather(from + 32, 8, 0x80, row, dst + 2);
  }
};

struct Q4Block {
  static void Pack(const uint8_t* src, size_t row, uint8_t* to) {
    std::memcpy(to + 2 * row, src, 2);
    Scatter(src + 2, 4, 0, row, to + 32);
  }
  static void Unpack(const uint8_t* from, size_t row, uint8_t* dst) {
    std::memcpy(dst, from + 2 * row, 2);
    Gather(from + 32, 4, 0, row, dst + 2);
  }
};

struct Q6KBlock {
  static void Pack(const uint8_t* src, size_t row, uint8_t* to) {
    std::memcpy(to + 2 * row, src + tensor::kQ6KScaleOffset, 2);
    for (size_t h = 0; h < 2; ++h) {
      uint8_t* half = to + 32 + h * kQ6KHalfBytes;
      for (size_t s = 0; s < 8; ++s) half[16 * s + row] = src[tensor::kQ6KScalesOffset + 8 * h + s];
      uint8_t* vectors = half + kQ6KSubScales;
      for (size_t i = 0; i < 16; ++i) {
        std::memcpy(vectors + 64 * Q6KLow(i) + 4 * row, src + 64 * h + 4 * i, 4);
      }
      for (size_t i = 0; i < 8; ++i) {
        std::memcpy(vectors + 64 * Q6KHigh(i) + 4 * row, src + 128 + 32 * h + 4 * i, 4);
      }
    }
  }
  static void Unpack(const uint8_t* from, size_t row, uint8_t* dst) {
    std::memcpy(dst + tensor::kQ6KScaleOffset, from + 2 * row, 2);
    for (size_t h = 0; h < 2; ++h) {
      const uint8_t* half = from + 32 + h * kQ6KHalfBytes;
      for (size_t s = 0; s < 8; ++s) dst[tensor::kQ6KScalesOffset + 8 * h + s] = half[16 * s + row];
      const uint8_t* vectors = half + kQ6KSubScales;
      for (size_t i = 0; i < 16; ++i) {
        std::memcpy(dst + 64 * h + 4 * i, vectors + 64 * Q6KLow(i) + 4 * row, 4);
      }
      for (size_t i = 0; i < 8; ++i) {
        std::memcpy(dst + 128 + 32 * h + 4 * i, vectors + 64 * Q6KHigh(i) + 4 * row, 4);
      }
    }
  }
};

template <class Block>
void PackBlocks(DType type, size_t valid, size_t cols, const uint8_t* src, uint8_t* panel) {
  const tensor::DTypeInfo& info = tensor::Info(type);
  const size_t blocks = cols / info.block_values;
  for (size_t b = 0; b < blocks; ++b) {  // block by block: the destination stays in the first cache
    for (size_t r = 0; r < valid; ++r) {
      Block::Pack(src + (r * blocks + b) * info.block_bytes, r, panel + b * PanelBlockBytes(type));
    }
  }
}

template <class Block>
void UnpackBlocks(DType type, size_t cols, const uint8_t* panel, size_t row, float* out) {
  const tensor::DTypeInfo& info = tensor::Info(type);
  for (size_t b = 0; b < cols / info.block_values; ++b) {
    uint8_t block[256];
    Block::Unpack(panel + b * PanelBlockBytes(type), row, block);
    tensor::DequantizeRow(type, reinterpret_cast<const std::byte*>(block), info.block_values,
                          out + b * info.block_values);
  }
}

// Values of rule 5: |w| < 2^-38 is +0. T: the storage as an integer, `shift` to binary32.
template <class T>
void PackFloats(size_t valid, size_t cols, int shift, bool floor, const uint8_t* src,
                uint8_t* panel) {
  constexpr size_t kStep = 16;  // k per visit of a row: one cache line of f32
  for (size_t k0 = 0; k0 < cols; k0 += kStep) {
    for (size_t r = 0; r < valid; ++r) {
      for (size_t k = k0; k < std::min(k0 + kStep, cols); ++k) {
        T value;
        std::memcpy(&value, src + (r * cols + k) * sizeof(T), sizeof(T));
        const uint32_t magnitude = (static_cast<uint32_t>(value) << shift) & 0x7fffffff;
        if (floor && magnitude < kWeightFloorBits) value = 0;
        std::memcpy(panel + (k * kRows + r) * sizeof(T), &value, sizeof(T));
      }
    }
  }
}

void UnpackFloats(DType type, size_t cols, const uint8_t* panel, size_t row, float* out) {
  const size_t bytes = tensor::Info(type).block_bytes;
  for (size_t k = 0; k < cols; ++k) {
    const uint8_t* at = panel + (k * kRows + row) * bytes;
    tensor::DequantizeRow(type, reinterpret_cast<const std::byte*>(at), 1, out + k);
  }
}

}  // namespace

size_t PanelBytes(DType type, size_t cols) {
  return (cols / tensor::Info(type).block_values * PanelBlockBytes(type) + 63) / 64 * 64;
}

void PackPanel(DType type, size_t valid, size_t cols, const uint8_t* src, uint8_t* panel) {
  if (valid < kRows || PanelBytes(type, cols) != kRows * FileRowBytes(type, cols)) {
    std::memset(panel, 0, PanelBytes(type, cols));
  }
  switch (type) {
    case DType::kQ8_0:
      return PackBlocks<Q8Block>(type, valid, cols, src, panel);
    case DType::kQ4_0:
      return PackBlocks<Q4Block>(type, valid, cols, src, panel);
    case DType::kQ6_K:
      return PackBlocks<Q6KBlock>(type, valid, cols, src, panel);
    case DType::kF32:
      return PackFloats<uint32_t>(valid, cols, 0, true, src, panel);
    case DType::kBF16:
      return PackFloats<uint16_t>(valid, cols, 16, true, src, panel);
    case DType::kF16:
      return PackFloats<uint16_t>(valid, cols, 0, false, src, panel);
  }
}

void UnpackPanelRow(DType type, size_t cols, const uint8_t* panel, size_t row, float* out) {
  switch (type) {
    case DType::kQ8_0:
      return UnpackBlocks<Q8Block>(type, cols, panel, row, out);
    case DType::kQ4_0:
      return UnpackBlocks<Q4Block>(type, cols, panel, row, out);
    case DType::kQ6_K:
      return UnpackBlocks<Q6KBlock>(type, cols, panel, row, out);
    default:
      return UnpackFloats(type, cols, panel, row, out);
  }
}

}  // namespace exo::kernels::panel
