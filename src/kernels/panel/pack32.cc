// Packing of the formats with blocks of 32.
#include "base/check.h"
#include "kernels/panel/pack_walk.h"
#include "tensor/blocks.h"

namespace exo::kernels::panel {
namespace {

using tensor::DType;

template <class Way>
void MoveScale(typename Way::File* file, size_t row, typename Way::Panel* panel) {
  Way::template Move<2>(file, panel + 2 * row);
}

struct Q8 {
  static constexpr size_t kBytes = kQ8Layout.bytes;
  template <class Way>
  static void Walk(typename Way::File* file, size_t row, typename Way::Panel* panel) {
    MoveScale<Way>(file, row, panel);
    for (size_t i = 0; i < 8; ++i) {
      Flip<Way>(file + 2 + 4 * i, panel + kQ8Layout.head + kVectorBytes * i + 4 * row);
    }
  }

 private:
  // Codes are signed in the file and + 128 in a panel.
  template <class Way>
  static void Flip(typename Way::File* file, typename Way::Panel* panel) {
    uint32_t four;
    if constexpr (std::is_same_v<Way, ToPanel>) {
      std::memcpy(&four, file, 4);
      four ^= 0x80808080;
      std::memcpy(panel, &four, 4);
    } else {
      std::memcpy(&four, panel, 4);
      four ^= 0x80808080;
      std::memcpy(file, &four, 4);
    }
  }
};

// Q4_0 and IQ4_NL.
struct Q4 {
  static constexpr size_t kBytes = kQ4Layout.bytes;
  template <class Way>
  static void Walk(typename Way::File* file, size_t row, typename Way::Panel* panel) {
    MoveScale<Way>(file, row, panel);
    MoveVectors<Way>(file + 2, 4, row, panel + kQ4Layout.head);
  }
};

struct Q41 {
  static constexpr size_t kBytes = kQ41Layout.bytes;
  template <class Way>
  static void Walk(typename Way::File* file, size_t row, typename Way::Panel* panel) {
    MoveScale<Way>(file, row, panel);
    MoveScale<Way>(file + 2, row, panel + kScaleBytes);
    MoveVectors<Way>(file + 4, 4, row, panel + kQ41Layout.head);
  }
};

// Bit 4 g + i of the file's 32 is bit g of the panel's byte i.
template <class Way>
void MoveFifthBits(typename Way::File* file, typename Way::Panel* panel) {
  for (size_t bit = 0; bit < 32; ++bit) {
    const size_t g = bit / 4, i = bit % 4;
    if constexpr (std::is_same_v<Way, ToPanel>) {
      if (i == bit) panel[i] = 0;
      panel[i] |= static_cast<uint8_t>((file[bit / 8] >> bit % 8 & 1) << g);
    } else {
      file[bit / 8] |= static_cast<uint8_t>((panel[i] >> g & 1) << bit % 8);
    }
  }
}

// Q5_0, and Q5_1 with a minimum.
template <bool kMinimum>
struct Q5 {
  static constexpr Block32Layout kLayout = kMinimum ? kQ51Layout : kQ50Layout;
  static constexpr size_t kBytes = kLayout.bytes;
  template <class Way>
  static void Walk(typename Way::File* file, size_t row, typename Way::Panel* panel) {
    MoveScale<Way>(file, row, panel);
    if (kMinimum) MoveScale<Way>(file + 2, row, panel + kScaleBytes);
    auto* bits = file + (kMinimum ? 4 : 2);
    MoveFifthBits<Way>(bits, panel + kLayout.head + 4 * row);
    MoveVectors<Way>(bits + 4, 4, row, panel + kLayout.head + kVectorBytes);
  }
};

struct Mxfp4 {
  static constexpr size_t kBytes = kMxfp4Layout.bytes;
  template <class Way>
  static void Walk(typename Way::File* file, size_t row, typename Way::Panel* panel) {
    // Below the floor of tensor::Mxfp4Scale both sides are 0.
    if constexpr (std::is_same_v<Way, ToPanel>) {
      const int exponent = file[0];
      panel[row] = static_cast<uint8_t>(exponent < tensor::kMxfp4Floor ? 0 : exponent - 1);
    } else {
      const int exponent = panel[row];
      file[0] = static_cast<uint8_t>(exponent == 0 ? 0 : exponent + 1);
    }
    MoveVectors<Way>(file + 1, 4, row, panel + kMxfp4Layout.head);
  }
};

}  // namespace

const BlockPacking& Packing32(DType type) {
  switch (type) {
    case DType::kQ8_0:
      return kPackingOf<Q8>;
    case DType::kQ4_0:
    case DType::kIQ4_NL:
      return kPackingOf<Q4>;
    case DType::kQ4_1:
      return kPackingOf<Q41>;
    case DType::kQ5_0:
      return kPackingOf<Q5<false>>;
    case DType::kQ5_1:
      return kPackingOf<Q5<true>>;
    case DType::kMXFP4:
      return kPackingOf<Mxfp4>;
    default:
      internal::CheckFailed(__FILE__, __LINE__, "not a type of 32-blocks");
  }
}

}  // namespace exo::kernels::panel
