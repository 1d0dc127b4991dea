#include "tensor/row_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"
#include "base/sha256.h"

namespace exo::tensor {
namespace {

constexpr RowCodec kLossy[] = {RowCodec::kF16, RowCodec::kInt8, RowCodec::kInt4};
constexpr size_t kWidths[] = {1, 31, 32, 33, 127, 128, 172, 576, 2048};

// Like hidden states: most values near 1, some channels a hundred times that.
std::vector<float> RowsLike(size_t rows, size_t width, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(rows * width);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto uniform = static_cast<float>(rng.Next() >> 40) / static_cast<float>(1 << 24);
    values[i] = (uniform - 0.5f) * (i % width % 157 == 5 ? 300.0f : 2.0f);
  }
  return values;
}

std::vector<std::byte> Coded(RowCodec codec, size_t width, std::span<const float> rows) {
  std::vector<std::byte> bytes(rows.size() / width * CodedRowBytes(codec, width));
  CodeRows(codec, width, rows, bytes);
  return bytes;
}

std::vector<float> Decoded(RowCodec codec, size_t width, std::span<const std::byte> bytes) {
  std::vector<float> rows(bytes.size() / CodedRowBytes(codec, width) * width);
  const auto done = DecodeRows(codec, width, bytes, rows);
  EXPECT_TRUE(done) << done.error().message;
  return rows;
}

std::vector<float> Through(RowCodec codec, size_t width, std::span<const float> rows) {
  return Decoded(codec, width, Coded(codec, width, rows));
}

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return std::ranges::equal(std::as_bytes(a), std::as_bytes(b));
}

TEST(RowCodecTest, F32IsTheValuesThemselves) {
  auto rows = RowsLike(3, 33, 1);
  rows[4] = -0.0f;
  rows[5] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(SameBits(Through(RowCodec::kF32, 33, rows), rows));
}

TEST(RowCodecTest, BytesOfARow) {
  EXPECT_EQ(CodedRowBytes(RowCodec::kF32, 2048), 8192u);
  EXPECT_EQ(CodedRowBytes(RowCodec::kF16, 2048), 4100u);
  EXPECT_EQ(CodedRowBytes(RowCodec::kInt8, 2048), 4u + 16 * 4 + 64 * 34);
  EXPECT_EQ(CodedRowBytes(RowCodec::kInt4, 2048), 4u + 16 * 4 + 64 * 18);
  EXPECT_EQ(CodedRowBytes(RowCodec::kInt8, 33), 4u + 4 + 2 * 34);  // a short group is padded
}

// What every device must give: found by this code on x86 and never to change.
TEST(RowCodecTest, HasTheBytesThatWereRecorded) {
  Sha256 hash;
  for (const size_t width : kWidths) {
    const auto rows = RowsLike(4, width, width);
    for (const RowCodec codec : kLossy) {
      const auto bytes = Coded(codec, width, rows);
      hash.Update(bytes);
      hash.Update(std::as_bytes(std::span<const float>(Decoded(codec, width, bytes))));
    }
  }
  EXPECT_EQ(hash.Finish().Hex(),
            "94830b13e8d3051645de59f9f5438b2f2ffc2f27fcdbad6bf680a82ec625ddca");
}

TEST(RowCodecTest, ARowDoesNotDependOnItsNeighbors) {
  for (const RowCodec codec : kLossy) {
    const auto rows = RowsLike(5, 172, 3);
    const auto together = Coded(codec, 172, rows);
    std::vector<std::byte> apart;
    for (size_t row = 0; row < 5; ++row) {
      const auto one = Coded(codec, 172, std::span(rows).subspan(row * 172, 172));
      apart.insert(apart.end(), one.begin(), one.end());
    }
    EXPECT_EQ(together, apart);
  }
}

TEST(RowCodecTest, ErrorsStayWithinHalfACodeOfTheGroup) {
  for (const size_t width : kWidths) {
    const auto rows = RowsLike(4, width, 7 + width);
    for (const RowCodec codec : kLossy) {
      const auto back = Through(codec, width, rows);
      for (size_t i = 0; i < rows.size(); ++i) {
        const float part = codec == RowCodec::kF16    ? 1.0f / 2048
                           : codec == RowCodec::kInt8 ? 0.51f / 127
                                                      : 0.51f / 7;
        // Outliers are f16; what is left of their groups is below 1.
        const float most =
            codec == RowCodec::kF16 ? std::abs(rows[i]) : std::max(1.0f, std::abs(rows[i]));
        EXPECT_NEAR(back[i], rows[i], part * most + 1e-5f) << "width " << width << " at " << i;
      }
    }
  }
}

// Without outliers of their own, 127 values of a block of 128 would have lost all bits.
TEST(RowCodecTest, AMassiveChannelCostsItsGroupNothing) {
  auto rows = RowsLike(1, 128, 11);
  for (float& value : rows) value = std::clamp(value, -1.0f, 1.0f);
  rows[70] = 30000.0f;
  const auto back = Through(RowCodec::kInt8, 128, rows);
  EXPECT_EQ(back[70], 30000.0f);
  for (size_t i = 64; i < 96; ++i) {
    if (i != 70) EXPECT_NEAR(back[i], rows[i], 0.51f / 127);
  }
}

TEST(RowCodecTest, OfEqualValuesTheFirstIsTheOutlier) {
  const std::vector<float> rows(32, 3.0f);
  const auto bytes = Coded(RowCodec::kInt8, 32, rows);
  EXPECT_EQ(static_cast<int>(bytes[4]) | static_cast<int>(bytes[5]) << 8, 0);
}

TEST(RowCodecTest, ExtremesSurvive) {
  for (const RowCodec codec : kLossy) {
    for (const float value : {1e-30f, 1e-19f, 1e-3f, 65504.0f, 1e10f, 1e38f}) {
      std::vector<float> rows = {value, -value, value / 2, 0.0f};
      const auto back = Through(codec, 4, rows);
      for (size_t i = 0; i < 4; ++i) {
        const float part = codec == RowCodec::kInt4 ? 0.08f : 0.005f;
        const bool is_zero_row = value < 0x1p-64f;
        EXPECT_NEAR(back[i], is_zero_row ? 0.0f : rows[i], is_zero_row ? 0.0f : part * value)
            << value;
      }
    }
    const std::vector<float> zeros(172);
    EXPECT_TRUE(SameBits(Through(codec, 172, zeros), zeros));
  }
}

TEST(RowCodecTest, ANonFiniteRowIsNanAndLeavesTheOthersAlone) {
  for (const RowCodec codec : kLossy) {
    auto rows = RowsLike(3, 64, 2);
    const auto good = Through(codec, 64, rows);
    for (const float bad :
         {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
          std::bit_cast<float>(0xffc12345u)}) {
      rows[64 + 9] = bad;
      const auto back = Through(codec, 64, rows);
      for (size_t i = 64; i < 128; ++i) EXPECT_EQ(std::bit_cast<uint32_t>(back[i]), 0x7fc00000u);
      EXPECT_TRUE(SameBits(std::span(back).first(64), std::span(good).first(64)));
      EXPECT_TRUE(SameBits(std::span(back).last(64), std::span(good).last(64)));
    }
  }
}

class HostileRows : public testing::Test {
 protected:
  // The error of one int8 row of 64 values after a change of its bytes; empty: none.
  static std::string After(size_t at, std::vector<uint8_t> bytes,
                           RowCodec codec = RowCodec::kInt8) {
    auto coded = Coded(codec, 64, RowsLike(1, 64, 4));
    for (size_t i = 0; i < bytes.size(); ++i) coded[at + i] = static_cast<std::byte>(bytes[i]);
    std::vector<float> out(64);
    const auto done = DecodeRows(codec, 64, coded, out);
    if (!done) EXPECT_EQ(done.error().code, ErrorCode::kCorrupt);
    return done ? "" : done.error().message;
  }
};

TEST_F(HostileRows, AreRefusedByWhatIsWrong) {
  EXPECT_EQ(After(0, {0, 0, 0x80, 0x7f}), "a coded row has a unit of bits 7f800000");
  EXPECT_EQ(After(0, {1, 0, 0xc0, 0x7f}), "a coded row has a unit of bits 7fc00001");
  EXPECT_EQ(After(0, {0, 0, 0x80, 0xbf}), "a coded row has a unit of bits bf800000");
  EXPECT_EQ(After(0, {0, 0, 0, 0}), "a coded row has a unit of bits 00000000");
  EXPECT_EQ(After(4, {64, 0}), "a coded row of 64 values has channel 64 behind channel -1");
  EXPECT_EQ(After(6, {0, 0x7c}), "a coded row has an f16 of bits 7c00");
  EXPECT_EQ(After(8, {0, 0x7e}), "a coded row has an f16 of bits 7e00");
  EXPECT_EQ(After(8, {1, 0x80}), "a coded row has a negative scale: -5.9604645e-08");
  EXPECT_EQ(After(4, {0xff, 0xff}, RowCodec::kF16), "a coded row has an f16 of bits ffff");
  EXPECT_EQ(After(10, {0x80}), "");  // a code that the coder never writes is a number all the same
}

TEST_F(HostileRows, ChannelsComeInOrder) {
  auto coded = Coded(RowCodec::kInt4, 256, RowsLike(1, 256, 4));
  std::swap_ranges(coded.begin() + 4, coded.begin() + 8, coded.begin() + 8);
  std::vector<float> out(256);
  EXPECT_FALSE(DecodeRows(RowCodec::kInt4, 256, coded, out));
}

TEST_F(HostileRows, OfAnotherSizeAreRefused) {
  const auto coded = Coded(RowCodec::kInt8, 64, RowsLike(2, 64, 4));
  std::vector<float> out(128);
  for (const size_t size : {size_t{0}, coded.size() / 2, coded.size() - 1}) {
    const std::vector<std::byte> cut(coded.begin(), coded.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_FALSE(DecodeRows(RowCodec::kInt8, 64, cut, out)) << size;
  }
}

}  // namespace
}  // namespace exo::tensor
