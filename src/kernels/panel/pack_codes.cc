// Packing of the super-blocks whose panels have other codes than the file (IQ1, IQ2, IQ3: indices
// into a table instead of points of a grid and signs; TQ: two bits instead of ternary digits). A
// block is read as tensor/blocks.h gives it, and a panel is read back to that.
#include <array>
#include <cstring>

#include "base/check.h"
#include "kernels/panel/pack_walk.h"
#include "tensor/blocks.h"
#include "tensor/float16.h"

namespace exo::kernels::panel {
namespace {

using tensor::Block256;
using tensor::CodeTable;
using tensor::DType;

// Where each code (as a byte) stands in a table.
constexpr std::array<uint8_t, 256> IndicesOf(const CodeTable& table, size_t count) {
  std::array<uint8_t, 256> indices = {};
  for (size_t i = 0; i < count; ++i)
    indices[static_cast<uint8_t>(table.codes[i])] = static_cast<uint8_t>(i);
  return indices;
}

// Codes as a panel has them: `kValues` indices, or for TQ the code + 1.
template <const CodeTable& kTable, size_t kValues>
struct Named {
  static constexpr float kFactor = kTable.factor;
  static constexpr std::array<uint8_t, 256> kIndices = IndicesOf(kTable, kValues);
  static int Index(int8_t code) { return kIndices[static_cast<uint8_t>(code)]; }
  static int8_t Code(int index) { return kTable.codes[index]; }
};
struct Ternary {
  static constexpr float kFactor = 1;
  static int Index(int8_t code) { return code + 1; }
  static int8_t Code(int index) { return static_cast<int8_t>(index - 1); }
};

// Byte i of group g of `half`, at row `row` of vector `vector`.
uint8_t* At(uint8_t* vectors, size_t vector, size_t row) {
  return vectors + kVectorBytes * vector + 4 * row;
}
const uint8_t* At(const uint8_t* vectors, size_t vector, size_t row) {
  return vectors + kVectorBytes * vector + 4 * row;
}

// IQ3: nibbles, and sub-scales as bytes.
template <class Codes>
struct FourBits : Codes {
  static constexpr Block256Layout kLayout = kIq4XsLayout;
  static void PackHalf(const int8_t* subs, const int8_t* codes, size_t row, uint8_t* half) {
    for (size_t s = 0; s < 4; ++s) {
      half[16 * s + row] = static_cast<uint8_t>(subs[2 * s]);
      for (size_t i = 0; i < 16; ++i) {
        const int low = Codes::Index(codes[32 * s + i]),
                  high = Codes::Index(codes[32 * s + 16 + i]);
        At(half + kLayout.subs, 4 * s + i / 4, row)[i % 4] = static_cast<uint8_t>(low | high << 4);
      }
    }
  }
  static void UnpackHalf(const uint8_t* half, size_t row, int8_t* subs, int8_t* codes) {
    for (size_t s = 0; s < 4; ++s) {
      subs[2 * s] = subs[2 * s + 1] = static_cast<int8_t>(half[16 * s + row]);
      for (size_t i = 0; i < 16; ++i) {
        const int byte = At(half + kLayout.subs, 4 * s + i / 4, row)[i % 4];
        codes[32 * s + i] = Codes::Code(byte & 15);
        codes[32 * s + 16 + i] = Codes::Code(byte >> 4);
      }
    }
  }
};

// IQ1 and IQ2: 2-bit parts and third bits, and nibbles of sub-scales.
template <class Codes>
struct ThreeBits : Codes {
  static constexpr Block256Layout kLayout = kIq12Layout;
  // Value 4 g + i of the 16 values t of a part of 64.
  static void PackHalf(const int8_t* subs, const int8_t* codes, size_t row, uint8_t* half) {
    for (size_t p = 0; p < 4; ++p) {
      half[16 * p + row] = static_cast<uint8_t>(subs[2 * p] >> 1 | subs[2 * p + 1] >> 1 << 4);
    }
    for (size_t part = 0; part < 2; ++part) {
      uint8_t* vectors = half + kLayout.subs + 6 * kVectorBytes * part;
      uint8_t bits[8] = {}, twos[16] = {};
      for (size_t k = 0; k < 64; ++k) {
        const size_t t = k / 16, j = k % 16;
        const int index = Codes::Index(codes[64 * part + k]);
        twos[j] |= static_cast<uint8_t>((index & 3) << 2 * t);
        bits[j / 8 * 4 + j % 4] |= static_cast<uint8_t>(index >> 2 << (j / 4 % 2 * 4 + t));
      }
      MoveVectors<ToPanel>(bits, 2, row, vectors);
      MoveVectors<ToPanel>(twos, 4, row, vectors + 2 * kVectorBytes);
    }
  }
  static void UnpackHalf(const uint8_t* half, size_t row, int8_t* subs, int8_t* codes) {
    for (size_t p = 0; p < 4; ++p) {
      const int byte = half[16 * p + row];
      subs[2 * p] = static_cast<int8_t>(2 * (byte & 15) + 1);
      subs[2 * p + 1] = static_cast<int8_t>(2 * (byte >> 4) + 1);
    }
    for (size_t k = 0; k < 128; ++k) {
      const size_t t = k % 64 / 16, j = k % 16;
      const uint8_t* vectors = half + kLayout.subs + 6 * kVectorBytes * (k / 64);
      const int two = At(vectors, 2 + j / 4, row)[j % 4] >> 2 * t & 3;
      const int third = At(vectors, j / 8, row)[j % 4] >> (j / 4 % 2 * 4 + t) & 1;
      codes[k] = Codes::Code(two | third << 2);
    }
  }
};

// TQ: 2-bit parts, and no sub-scales.
struct TwoBits : Ternary {
  static constexpr Block256Layout kLayout = kTqLayout;
  static void PackHalf(const int8_t*, const int8_t* codes, size_t row, uint8_t* half) {
    for (size_t vector = 0; vector < 8; ++vector) {
      for (size_t i = 0; i < 4; ++i) {
        int byte = 0;
        for (size_t t = 0; t < 4; ++t) byte |= Index(codes[16 * vector + 4 * t + i]) << 2 * t;
        At(half, vector, row)[i] = static_cast<uint8_t>(byte);
      }
    }
  }
  static void UnpackHalf(const uint8_t* half, size_t row, int8_t* subs, int8_t* codes) {
    std::memset(subs, 1, 8);
    for (size_t k = 0; k < 128; ++k) {
      codes[k] = Code(At(half, k / 16, row)[k % 4] >> 2 * (k % 16 / 4) & 3);
    }
  }
};

template <class Format>
void Pack(const tensor::DTypeInfo& info, size_t valid, size_t cols, const uint8_t* src,
          uint8_t* panel) {
  const size_t blocks = cols / 256;
  for (size_t b = 0; b < blocks; ++b, panel += Format::kLayout.bytes()) {
    for (size_t r = 0; r < valid; ++r) {
      const auto* at =
          reinterpret_cast<const std::byte*>(src + (r * blocks + b) * info.block_bytes);
      const Block256 block = tensor::ReadBlock256(info.type, at);
      const uint16_t scale = tensor::ScaleBits(info.type, at);
      std::memcpy(panel + 2 * r, &scale, 2);
      for (size_t h = 0; h < 2; ++h) {
        Format::PackHalf(block.sub_scales + 8 * h, block.codes + 128 * h, r,
                         panel + Format::kLayout.head + h * Format::kLayout.half());
      }
    }
  }
}

template <class Format>
void UnpackRow(const tensor::DTypeInfo& info, size_t cols, const uint8_t* panel, size_t row,
               float* out) {
  for (size_t k = 0; k < cols; k += 256, panel += Format::kLayout.bytes()) {
    Block256 block{};
    uint16_t scale;
    std::memcpy(&scale, panel + 2 * row, 2);
    block.scale = tensor::HalfToFloat(scale) * Format::kFactor;
    for (size_t h = 0; h < 2; ++h) {
      Format::UnpackHalf(panel + Format::kLayout.head + h * Format::kLayout.half(), row,
                         block.sub_scales + 8 * h, block.codes + 128 * h);
    }
    tensor::DequantizeBlock(block, info.minimum, out + k);
  }
}

template <class Format>
constexpr BlockPacking kPacking = {Format::kLayout.bytes(), Pack<Format>, UnpackRow<Format>};

}  // namespace

const BlockPacking& PackingCodes(DType type) {
  switch (type) {
    case DType::kIQ1_S:
    case DType::kIQ1_M:
      return kPacking<ThreeBits<Named<tensor::kIq1Table, 6>>>;
    case DType::kIQ2_XXS:
    case DType::kIQ2_XS:
    case DType::kIQ2_S:
      return kPacking<ThreeBits<Named<tensor::kIq2Table, 6>>>;
    case DType::kIQ3_XXS:
      return kPacking<FourBits<Named<tensor::kIq3XxsTable, 16>>>;
    case DType::kIQ3_S:
      return kPacking<FourBits<Named<tensor::kIq3STable, 16>>>;
    case DType::kTQ1_0:
    case DType::kTQ2_0:
      return kPacking<TwoBits>;
    default:
      internal::CheckFailed(__FILE__, __LINE__, "not a type of super-blocks");
  }
}

}  // namespace exo::kernels::panel
