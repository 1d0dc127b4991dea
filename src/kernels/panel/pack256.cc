// Packing of the formats with super-blocks of 256.
#include "kernels/panel/pack_walk.h"
#include "tensor/blocks.h"

namespace exo::kernels::panel {
namespace {

using tensor::DType;

// `count` sub-scales of one half.
template <class Way>
void MoveSubs(typename Way::File* file, size_t count, size_t row, typename Way::Panel* panel) {
  for (size_t s = 0; s < count; ++s) Way::template Move<1>(file + s, panel + 16 * s + row);
}
// Four sub-minima of one half, as pairs.
template <class Way>
void MoveMinima(typename Way::File* file, size_t row, typename Way::Panel* panel) {
  for (size_t p = 0; p < 2; ++p) Way::template Move<2>(file + 2 * p, panel + 32 * p + 2 * row);
}

// Third or fifth bits: 32 bytes of 8 bits; a half has 4 of them, in the nibbles of 16 bytes.
template <class Way>
void MoveBits(typename Way::File* file, size_t half, size_t row, typename Way::Panel* panel) {
  const size_t shift = 4 * half;
  for (size_t i = 0; i < 16; ++i) {
    auto& at = panel[i / 4 * kVectorBytes + 4 * row + i % 4];
    if constexpr (std::is_same_v<Way, ToPanel>) {
      at = static_cast<uint8_t>((file[i] >> shift & 15) | (file[i + 16] >> shift & 15) << 4);
    } else {
      file[i] |= static_cast<uint8_t>((at & 15) << shift);
      file[i + 16] |= static_cast<uint8_t>(at >> 4 << shift);
    }
  }
}

// The f16 at `file` and those of 16 rows.
template <class Way>
void MoveScale(typename Way::File* file, size_t row, typename Way::Panel* panel) {
  Way::template Move<2>(file, panel + 2 * row);
}

struct Q2K {
  static constexpr size_t kBytes = kQ2KLayout.bytes();
  template <class Way>
  static void Walk(typename Way::File* file, size_t row, typename Way::Panel* panel) {
    MoveScale<Way>(file + 80, row, panel);
    MoveScale<Way>(file + 82, row, panel + kScaleBytes);
    for (size_t h = 0; h < 2; ++h) {
      auto* half = panel + kQ2KLayout.head + h * kQ2KLayout.half();
      MoveSubs<Way>(file + 8 * h, 8, row, half);
      MoveVectors<Way>(file + 16 + 32 * h, 8, row, half + kQ2KLayout.subs);
    }
  }
};

struct Q3K {
  static constexpr size_t kBytes = kQ3KLayout.bytes();
  template <class Way>
  static void Walk(typename Way::File* file, size_t row, typename Way::Panel* panel) {
    MoveScale<Way>(file + 108, row, panel);
    uint8_t subs[16];
    auto* scales = reinterpret_cast<int8_t*>(subs);
    if constexpr (std::is_same_v<Way, ToPanel>) tensor::UnpackScalesQ3K(file + 96, scales);
    for (size_t h = 0; h < 2; ++h) {
      auto* half = panel + kQ3KLayout.head + h * kQ3KLayout.half();
      MoveSubs<Way>(subs + 8 * h, 8, row, half);
      auto* vectors = half + kQ3KLayout.subs;
      MoveBits<Way>(file, h, row, vectors);
      MoveVectors<Way>(file + 32 + 32 * h, 8, row, vectors + 4 * kVectorBytes);
    }
    if constexpr (std::is_same_v<Way, ToFile>) tensor::PackScalesQ3K(scales, file + 96);
  }
};

// Q4_K, and Q5_K with fifth bits.
template <bool kFifth>
struct Q45K {
  static constexpr Block256Layout kLayout = kFifth ? kQ5KLayout : kQ4KLayout;
  static constexpr size_t kBytes = kLayout.bytes();
  template <class Way>
  static void Walk(typename Way::File* file, size_t row, typename Way::Panel* panel) {
    MoveScale<Way>(file, row, panel);
    MoveScale<Way>(file + 2, row, panel + kScaleBytes);
    uint8_t scales[8], minima[8];
    if constexpr (std::is_same_v<Way, ToPanel>) tensor::UnpackScales6(file + 4, scales, minima);
    auto* nibbles = file + (kFifth ? 48 : 16);
    for (size_t h = 0; h < 2; ++h) {
      auto* half = panel + kLayout.head + h * kLayout.half();
      MoveSubs<Way>(scales + 4 * h, 4, row, half);
      MoveMinima<Way>(minima + 4 * h, row, half + kSubMinima);
      auto* vectors = half + kLayout.subs;
      if (kFifth) MoveBits<Way>(file + 16, h, row, vectors);
      MoveVectors<Way>(nibbles + 64 * h, 16, row, vectors + (kFifth ? 4 * kVectorBytes : 0));
    }
    if constexpr (std::is_same_v<Way, ToFile>) tensor::PackScales6(scales, minima, file + 4);
  }
};

struct Q6K {
  static constexpr size_t kBytes = kQ6KLayout.bytes();
  template <class Way>
  static void Walk(typename Way::File* file, size_t row, typename Way::Panel* panel) {
    MoveScale<Way>(file + 208, row, panel);
    for (size_t h = 0; h < 2; ++h) {
      auto* half = panel + kQ6KLayout.head + h * kQ6KLayout.half();
      MoveSubs<Way>(file + 192 + 8 * h, 8, row, half);
      auto* vectors = half + kQ6KLayout.subs + 4 * row;
      for (size_t i = 0; i < 16; ++i) {
        Way::template Move<4>(file + 64 * h + 4 * i, vectors + kVectorBytes * Q6KLow(i));
      }
      for (size_t i = 0; i < 8; ++i) {
        Way::template Move<4>(file + 128 + 32 * h + 4 * i, vectors + kVectorBytes * Q6KHigh(i));
      }
    }
  }
};

struct Iq4Xs {
  static constexpr size_t kBytes = kIq4XsLayout.bytes();
  template <class Way>
  static void Walk(typename Way::File* file, size_t row, typename Way::Panel* panel) {
    MoveScale<Way>(file, row, panel);
    uint8_t subs[8];
    auto* scales = reinterpret_cast<int8_t*>(subs);
    if constexpr (std::is_same_v<Way, ToPanel>) tensor::UnpackScalesIQ4XS(file + 2, scales);
    for (size_t h = 0; h < 2; ++h) {
      auto* half = panel + kIq4XsLayout.head + h * kIq4XsLayout.half();
      MoveSubs<Way>(subs + 4 * h, 4, row, half);
      MoveVectors<Way>(file + 8 + 64 * h, 16, row, half + kIq4XsLayout.subs);
    }
    if constexpr (std::is_same_v<Way, ToFile>) tensor::PackScalesIQ4XS(scales, file + 2);
  }
};

}  // namespace

const BlockPacking& Packing256(DType type) {
  switch (type) {
    case DType::kQ2_K:
      return kPackingOf<Q2K>;
    case DType::kQ3_K:
      return kPackingOf<Q3K>;
    case DType::kQ4_K:
      return kPackingOf<Q45K<false>>;
    case DType::kQ5_K:
      return kPackingOf<Q45K<true>>;
    case DType::kQ6_K:
      return kPackingOf<Q6K>;
    case DType::kIQ4_XS:
      return kPackingOf<Iq4Xs>;
    default:
      return PackingCodes(type);
  }
}

}  // namespace exo::kernels::panel
