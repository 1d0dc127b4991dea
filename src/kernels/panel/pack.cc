#include "kernels/panel/pack.h"

#include <algorithm>
#include <cstring>

#include "kernels/panel/pack_walk.h"
#include "tensor/dequantize.h"

namespace exo::kernels::panel {
namespace {

using tensor::DType;

constexpr size_t kRows = 16;
constexpr uint32_t kWeightFloorBits = 0x2c800000;  // 2^-38

const BlockPacking& PackingOf(const tensor::DTypeInfo& info) {
  return info.block_values == 32 ? Packing32(info.type) : Packing256(info.type);
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
  const tensor::DTypeInfo& info = tensor::Info(type);
  const size_t block = info.quantized ? PackingOf(info).block_bytes : kRows * info.block_bytes;
  return (cols / info.block_values * block + 63) / 64 * 64;
}

void PackPanel(DType type, size_t valid, size_t cols, const uint8_t* src, uint8_t* panel) {
  const tensor::DTypeInfo& info = tensor::Info(type);
  // Rows that are missing, and what rounding added behind the last block.
  if (valid < kRows || cols / info.block_values % 4 != 0) {
    std::memset(panel, 0, PanelBytes(type, cols));
  }
  if (info.quantized) return PackingOf(info).pack(info, valid, cols, src, panel);
  if (type == DType::kF32) return PackFloats<uint32_t>(valid, cols, 0, true, src, panel);
  if (type == DType::kBF16) return PackFloats<uint16_t>(valid, cols, 16, true, src, panel);
  PackFloats<uint16_t>(valid, cols, 0, false, src, panel);
}

void UnpackPanelRow(DType type, size_t cols, const uint8_t* panel, size_t row, float* out) {
  const tensor::DTypeInfo& info = tensor::Info(type);
  if (info.quantized) return PackingOf(info).unpack_row(info, cols, panel, row, out);
  UnpackFloats(type, cols, panel, row, out);
}

}  // namespace exo::kernels::panel
