// Products of every kernel set of this machine against the reference, bit for bit, over all weight
// types, odd shapes and hard values; and a planted one-bit error that the comparison must find.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/kernels_testing.h"
#include "tensor/blocks.h"
#include "tensor/dtype.h"
#include "tensor/float16.h"

namespace exo::kernels {
namespace {

using tensor::DType;

uint16_t HalfScale(Hard hard, Rng& rng) {
  static constexpr uint16_t kScales[] = {0x0001, 0x83ff, 0x0000, 0x8000,
                                         0x7bff, 0xfbff, 0xa000, 0x3c00};
  if (hard == Hard::kExtremes && rng.Below(3) == 0) return kScales[rng.Below(std::size(kScales))];
  if (hard == Hard::kNonFinite && rng.Below(64) == 0) return rng.Below(2) != 0 ? 0x7c00 : 0x7e01;
  return static_cast<uint16_t>(0x1c00 + rng.Below(0x800) + rng.Below(2) * 0x8000);
}

uint8_t Mxfp4Exponent(Hard hard, Rng& rng) {
  static constexpr uint8_t kExponents[] = {0, 1, 2, 103, 104, 105, 128, 150};
  if (hard == Hard::kExtremes && rng.Below(3) == 0)
    return kExponents[rng.Below(std::size(kExponents))];
  if (hard == Hard::kNonFinite && rng.Below(64) == 0)
    return static_cast<uint8_t>(254 + rng.Below(2));
  return static_cast<uint8_t>(118 + rng.Below(4));
}

// Random blocks; extremes also take code bytes 0x80 and 0xff and every kind of f16 scale.
std::vector<std::byte> WeightRows(DType type, size_t rows, size_t cols, Hard hard, uint64_t seed) {
  Rng rng(seed);
  const tensor::DTypeInfo& info = tensor::Info(type);
  std::vector<std::byte> bytes(rows * (cols / info.block_values) * info.block_bytes);
  if (!info.quantized) {
    const auto values = Values(rows * cols, hard, seed);
    for (size_t i = 0; i < values.size(); ++i) {
      const bool clamp = type == DType::kF16 && hard == Hard::kExtremes;
      const float v = clamp ? std::clamp(values[i], -65504.0f, 65504.0f) : values[i];
      const uint16_t half = type == DType::kF16 ? tensor::FloatToHalf(v) : tensor::FloatToBf16(v);
      std::memcpy(bytes.data() + i * info.block_bytes,
                  info.block_bytes == 4 ? static_cast<const void*>(&v) : &half, info.block_bytes);
    }
    return bytes;
  }
  for (size_t block = 0; block < bytes.size(); block += info.block_bytes) {
    const uint64_t fill = hard == Hard::kExtremes ? rng.Below(4) : 0;
    for (size_t i = 0; i < info.block_bytes; ++i) {
      const uint64_t byte = fill == 1 ? 0x80 : fill == 2 ? 0xff : rng.Below(256);
      bytes[block + i] = static_cast<std::byte>(byte);
    }
    if (type == DType::kMXFP4) {
      bytes[block] = static_cast<std::byte>(Mxfp4Exponent(hard, rng));
      continue;
    }
    tensor::SetScale(type, HalfScale(hard, rng), bytes.data() + block);
    if (info.minimum) {  // stands behind the scale
      const uint16_t minimum = HalfScale(hard, rng);
      std::memcpy(bytes.data() + block + tensor::ScaleOffset(type) + 2, &minimum, 2);
    }
  }
  return bytes;
}

struct ProductCase {
  DType type;
  size_t rows, cols, tokens;
  Hard hard;
};

// Packs, prepares and multiplies everything at once.
std::vector<float> Product(const Kernels& k, const ProductCase& c, bool normed, bool add) {
  const auto rows = WeightRows(c.type, c.rows, c.cols, c.hard, c.rows * 31 + c.cols);
  Weights w{c.type, c.rows, c.cols, nullptr};
  Buffer packed(k.PackedBytes(c.type, c.rows, c.cols));
  k.Pack(c.type, c.rows, c.cols, 0, w.panels(), rows.data(), packed.data());
  w.data = packed.data();
  const size_t stride = c.cols + 3;
  const auto x = Values(c.tokens * stride, c.hard, c.tokens * 7 + c.cols);
  const auto gain = Values(c.cols, Hard::kPlain, 5);
  const ActivationKind kind = KindFor(c.type);
  Buffer prepared(k.ActivationBytes(kind, c.tokens, c.cols));
  if (normed) {
    k.NormPrepare(kind, x.data(), stride, gain.data(), 1e-5f, c.tokens, c.cols, 0, c.tokens,
                  prepared.data());
  } else {
    k.Prepare(kind, x.data(), stride, c.tokens, c.cols, 0, c.tokens, prepared.data());
  }
  const size_t out_stride = c.rows + 5;
  std::vector<float> out(c.tokens * out_stride, 0.25f);  // the gap shows stray writes
  k.MatMul(w, {kind, c.tokens, c.cols, prepared.data()}, 0, w.panels(), out.data(), out_stride,
           add);
  return out;
}

class ProductsTest : public IsaTest {
 protected:
  void CompareProduct(const ProductCase& c, bool normed = false, bool add = false) {
    SCOPED_TRACE(testing::Message()
                 << tensor::Info(c.type).name << " " << c.rows << "x" << c.cols << " tokens "
                 << c.tokens << " hard " << static_cast<int>(c.hard));
    const auto expected = Product(Reference(), c, normed, add);
    if (c.hard != Hard::kNonFinite) {
      EXPECT_TRUE(
          std::all_of(expected.begin(), expected.end(), [](float v) { return std::isfinite(v); }));
    }
    EXPECT_TRUE(Same(expected, Product(k(), c, normed, add)));
  }
};

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(
    ProductsTest);  // a processor with the reference alone
INSTANTIATE_TEST_SUITE_P(Here, ProductsTest, testing::ValuesIn(IsasHere()), NameOf);

TEST_P(ProductsTest, ProductsEqualTheReferenceOverShapes) {
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    const DType type = info.type;
    for (const size_t cols : {1, 32, 64, 96, 160, 172, 256, 512, 576, 768, 896, 2048, 2880, 4864}) {
      if (cols % info.block_values != 0) continue;
      const size_t rows = cols > 1000 ? 17 : 37;
      for (const Hard hard : {Hard::kPlain, Hard::kExtremes, Hard::kNonFinite}) {
        CompareProduct({type, rows, cols, cols > 1000 ? 3u : 11u, hard});
      }
    }
  }
}

TEST_P(ProductsTest, ProductsEqualTheReferenceOverRowsAndTokens) {
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    const DType type = info.type;
    const size_t cols = info.block_values == 256 ? 256 : 160;
    for (size_t rows = 1; rows <= 37; ++rows)
      CompareProduct({type, rows, cols, 2, Hard::kExtremes});
    for (size_t tokens = 1; tokens <= 17; ++tokens) {
      CompareProduct({type, 16, cols, tokens, Hard::kExtremes});
      CompareProduct({type, 19, cols, tokens, Hard::kPlain}, /*normed=*/true, /*add=*/true);
    }
    CompareProduct({type, 33, 2 * cols, 33, Hard::kPlain});
    CompareProduct({type, 9, 3 * cols, 5, Hard::kExtremes}, /*normed=*/true);
    CompareProduct({type, 9, 3 * cols, 5, Hard::kNonFinite}, /*normed=*/true);
  }
}

// From 32 tokens on (floats: 16) panels may go in pairs, the second of them short.
TEST_P(ProductsTest, LongPromptsEqualTheReference) {
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    const size_t cols = info.block_values == 256 ? 256 : 160;
    for (const size_t tokens : {32, 47, 48, 64, 67, 130}) {
      for (const Hard hard : {Hard::kExtremes, Hard::kNonFinite}) {
        CompareProduct({info.type, 37, 3 * cols, tokens, hard});
      }
      CompareProduct({info.type, 32, cols, tokens, Hard::kPlain}, /*normed=*/true, /*add=*/true);
    }
    for (const size_t rows : {17, 31, 63})
      CompareProduct({info.type, rows, cols, 35, Hard::kExtremes});
  }
}

TEST_P(ProductsTest, WholeCodeRangeIsExact) {
  // All-extreme codes against all-extreme activations: the largest sums of every type.
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    if (!info.quantized) continue;
    const DType type = info.type;
    for (const int fill : {0x00, 0x80, 0x7f, 0xff, 0x81}) {
      for (const float sign : {1.0f, -1.0f}) {
        const size_t cols = 512, rows = 32, tokens = 33;
        std::vector<std::byte> bytes(rows * cols / info.block_values * info.block_bytes,
                                     static_cast<std::byte>(fill));
        for (size_t at = 0; at < bytes.size(); at += info.block_bytes) {
          const uint16_t scale = 0x2d55, minimum = 0xb155;
          if (type == DType::kMXFP4) {
            bytes[at] = std::byte{0x55};
          } else {
            tensor::SetScale(type, scale, &bytes[at]);
          }
          if (info.minimum) std::memcpy(&bytes[at + tensor::ScaleOffset(type) + 2], &minimum, 2);
        }
        std::vector<float> x(tokens * cols, 3.3f * sign);
        const auto run = [&](const Kernels& set) {
          Weights w{type, rows, cols, nullptr};
          Buffer packed(set.PackedBytes(type, rows, cols));
          set.Pack(type, rows, cols, 0, 2, bytes.data(), packed.data());
          w.data = packed.data();
          const ActivationKind kind = KindFor(type);
          Buffer prepared(set.ActivationBytes(kind, tokens, cols));
          set.Prepare(kind, x.data(), cols, tokens, cols, 0, tokens, prepared.data());
          std::vector<float> out(tokens * rows);
          set.MatMul(w, {kind, tokens, cols, prepared.data()}, 0, 2, out.data(), rows, false);
          return out;
        };
        EXPECT_TRUE(Same(run(Reference()), run(k())));
      }
    }
  }
}

TEST_P(ProductsTest, UnpackRowEqualsTheReference) {
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    const DType type = info.type;
    const size_t rows = 21, cols = 512;
    const auto bytes = WeightRows(type, rows, cols, Hard::kExtremes, 77);
    const auto run = [&](const Kernels& set) {
      Weights w{type, rows, cols, nullptr};
      Buffer packed(set.PackedBytes(type, rows, cols));
      set.Pack(type, rows, cols, 0, 2, bytes.data(), packed.data());
      w.data = packed.data();
      std::vector<float> out(rows * cols);
      for (size_t r = 0; r < rows; ++r) set.UnpackRow(w, r, out.data() + r * cols);
      return out;
    };
    EXPECT_TRUE(Same(run(Reference()), run(k())));
  }
}

TEST_P(ProductsTest, SplittingChangesNothing) {
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    const DType type = info.type;
    const ProductCase c{type, 70, 512, 13, Hard::kPlain};
    const auto whole = Product(k(), c, false, false);
    const auto rows = WeightRows(c.type, c.rows, c.cols, c.hard, c.rows * 31 + c.cols);
    const size_t row_bytes = rows.size() / c.rows;
    Weights w{c.type, c.rows, c.cols, nullptr};
    Buffer packed(k().PackedBytes(c.type, c.rows, c.cols));
    const size_t panel = k().PackedBytes(c.type, 16, c.cols);
    EXPECT_EQ(packed.size(), 5 * panel);
    EXPECT_EQ(panel % 64, 0u);
    for (size_t p = 0; p < w.panels(); ++p) {
      k().Pack(c.type, c.rows, c.cols, p, 1, rows.data() + p * 16 * row_bytes,
               packed.data() + p * panel);
    }
    w.data = packed.data();
    const size_t stride = c.cols + 3, out_stride = c.rows + 5;
    const auto x = Values(c.tokens * stride, c.hard, c.tokens * 7 + c.cols);
    const ActivationKind kind = KindFor(type);
    std::vector<float> out(c.tokens * out_stride, 0.25f);
    // Tokens prepared one by one, last first; panels multiplied one by one.
    Buffer prepared(k().ActivationBytes(kind, c.tokens, c.cols));
    for (size_t t = c.tokens; t-- > 0;) {
      k().Prepare(kind, x.data(), stride, c.tokens, c.cols, t, 1, prepared.data());
    }
    for (size_t p = 0; p < w.panels(); ++p) {
      k().MatMul(w, {kind, c.tokens, c.cols, prepared.data()}, p, 1, out.data(), out_stride, false);
    }
    EXPECT_TRUE(Same(whole, out));
    // Each token as a product of its own.
    for (size_t t = 0; t < c.tokens; ++t) {
      Buffer single(k().ActivationBytes(kind, 1, c.cols));
      k().Prepare(kind, x.data() + t * stride, stride, 1, c.cols, 0, 1, single.data());
      k().MatMul(w, {kind, 1, c.cols, single.data()}, 0, 5, out.data() + t * out_stride, out_stride,
                 false);
    }
    EXPECT_TRUE(Same(whole, out));
  }
}

TEST_P(ProductsTest, PlantedOneBitErrorIsFound) {
  // One weight code, one activation and one output bit: each must show in the comparison.
  const ProductCase c{DType::kQ4_0, 16, 256, 3, Hard::kPlain};
  const auto expected = Product(Reference(), c, false, false);
  auto flipped = Product(k(), c, false, false);
  ASSERT_EQ(FirstDifference(expected, flipped), -1);
  flipped[17] = std::bit_cast<float>(std::bit_cast<uint32_t>(flipped[17]) ^ 1);
  EXPECT_EQ(FirstDifference(expected, flipped), 17);

  auto rows = WeightRows(c.type, c.rows, c.cols, c.hard, 1);
  const auto x = Values(c.cols, Hard::kPlain, 2);
  const auto run = [&] {
    Buffer packed(k().PackedBytes(c.type, c.rows, c.cols));
    k().Pack(c.type, c.rows, c.cols, 0, 1, rows.data(), packed.data());
    Buffer prepared(k().ActivationBytes(ActivationKind::kQ8x32, 1, c.cols));
    k().Prepare(ActivationKind::kQ8x32, x.data(), c.cols, 1, c.cols, 0, 1, prepared.data());
    std::vector<float> out(16);
    k().MatMul({c.type, 16, c.cols, packed.data()},
               {ActivationKind::kQ8x32, 1, c.cols, prepared.data()}, 0, 1, out.data(), 16, false);
    return out;
  };
  const auto before = run();
  rows[5 * 144 + 7] ^= std::byte{1};  // row 5, the lowest bit of one code
  EXPECT_EQ(FirstDifference(before, run()), 5);
}

}  // namespace
}  // namespace exo::kernels
