#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tensor/dequantize.h"
#include "tensor/dtype.h"
#include "tensor/float16.h"

namespace exo::tensor {
namespace {

TEST(Float16Test, WidensByHandComputedCases) {
  EXPECT_EQ(HalfToFloat(0x3c00), 1.0f);
  EXPECT_EQ(HalfToFloat(0xc000), -2.0f);
  EXPECT_EQ(HalfToFloat(0x7bff), 65504.0f);
  EXPECT_EQ(HalfToFloat(0x0001), 0x1p-24f);
  EXPECT_EQ(HalfToFloat(0x03ff), 1023 * 0x1p-24f);
  EXPECT_EQ(HalfToFloat(0x0400), 0x1p-14f);
  EXPECT_EQ(HalfToFloat(0x7c00), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::signbit(HalfToFloat(0x8000)));
  EXPECT_TRUE(std::isnan(HalfToFloat(0x7c01)));
}

TEST(Float16Test, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const bool signalling = (h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0 && (h & 0x200) == 0;
    const uint32_t expected = signalling ? h | 0x200 : h;
    ASSERT_EQ(FloatToHalf(HalfToFloat(static_cast<uint16_t>(h))), expected) << h;
  }
}

TEST(Float16Test, NarrowsToNearestEven) {
  EXPECT_EQ(FloatToHalf(65519.996f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(-1e30f), 0xfc00);
  EXPECT_EQ(FloatToHalf(1.0f + 0x1p-11f), 0x3c00);      // tie to even, down
  EXPECT_EQ(FloatToHalf(1.0f + 3 * 0x1p-11f), 0x3c02);  // tie to even, up
  EXPECT_EQ(FloatToHalf(1.0f + 0x1p-11f + 0x1p-20f), 0x3c01);
  EXPECT_EQ(FloatToHalf(0x1p-25f), 0x0000);  // tie at half the smallest
  EXPECT_EQ(FloatToHalf(0x1.000002p-25f), 0x0001);
  EXPECT_EQ(FloatToHalf(3 * 0x1p-25f), 0x0002);
  EXPECT_EQ(FloatToHalf(0x1.ffep-15f), 0x0400);  // rounds up into the normal range
  EXPECT_EQ(FloatToHalf(-0.0f), 0x8000);
}

TEST(Float16Test, Bf16RoundsToNearestEven) {
  EXPECT_EQ(FloatToBf16(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBf16(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(FloatToBf16(1.0f + 3 * 0x1p-8f), 0x3f82);
  EXPECT_EQ(Bf16ToFloat(0xc040), -3.0f);
  EXPECT_TRUE(std::isnan(Bf16ToFloat(FloatToBf16(std::nanf("")))));
}

TEST(DTypeTest, RowBytesFollowTheBlocks) {
  EXPECT_EQ(RowBytes(DType::kQ4_0, 64).value(), 36u);
  EXPECT_EQ(RowBytes(DType::kQ8_0, 64).value(), 68u);
  EXPECT_EQ(RowBytes(DType::kQ6_K, 512).value(), 420u);
  EXPECT_EQ(RowBytes(DType::kBF16, 3).value(), 6u);
  EXPECT_FALSE(RowBytes(DType::kQ6_K, 128).has_value());
  EXPECT_EQ(GgufTypeName(12), "Q4_K");
  EXPECT_EQ(GgufTypeName(99), "type 99");
  EXPECT_FALSE(FindDType(12).has_value());
}

TEST(DequantizeTest, Q8TimesScale) {
  std::vector<uint8_t> block(34);
  block[0] = 0x00;
  block[1] = 0x38;  // 0.5
  block[2] = 0x80;  // -128
  block[33] = 127;
  float out[32];
  DequantizeRow(DType::kQ8_0, reinterpret_cast<std::byte*>(block.data()), 32, out);
  EXPECT_EQ(out[0], -64.0f);
  EXPECT_EQ(out[1], 0.0f);
  EXPECT_EQ(out[31], 63.5f);
}

TEST(DequantizeTest, Q4LowNibblesComeFirst) {
  std::vector<uint8_t> block(18, 0x88);
  block[0] = 0x00;
  block[1] = 0x40;   // 2.0
  block[2] = 0xf0;   // value 0: code 0, value 16: code 15
  block[17] = 0x1a;  // value 15: code 10, value 31: code 1
  float out[32];
  DequantizeRow(DType::kQ4_0, reinterpret_cast<std::byte*>(block.data()), 32, out);
  EXPECT_EQ(out[0], -16.0f);
  EXPECT_EQ(out[16], 14.0f);
  EXPECT_EQ(out[15], 4.0f);
  EXPECT_EQ(out[31], -14.0f);
  EXPECT_EQ(out[1], 0.0f);
}

TEST(DequantizeTest, Q6KJoinsNibblesAndHighBits) {
  std::vector<uint8_t> block(210, 0);
  block[0] = 0x5f;             // low nibbles: value 0 gets 15, value 64 gets 5
  block[128] = 0b01'10'00'11;  // high bits: value 0 gets 3, 32 gets 0, 64 gets 2, 96 gets 1
  for (int i = 0; i < 16; ++i) block[192 + i] = static_cast<uint8_t>(i - 8);
  block[208] = 0x00;
  block[209] = 0x3c;  // 1.0
  float out[256];
  DequantizeRow(DType::kQ6_K, reinterpret_cast<std::byte*>(block.data()), 256, out);
  EXPECT_EQ(out[0], -8.0f * 31);          // code 63
  EXPECT_EQ(out[32], -6.0f * -32);        // code 0
  EXPECT_EQ(out[64], -4.0f * (37 - 32));  // code 32 + 5
  EXPECT_EQ(out[96], -2.0f * (16 - 32));
  EXPECT_EQ(out[255], 7.0f * -32);
}

TEST(DequantizeTest, Q6KRoundsOnce) {
  std::vector<uint8_t> block(210, 0xff);  // codes 63, scale replaced below
  for (int i = 0; i < 16; ++i) block[192 + i] = 127;
  block[208] = 0xff;
  block[209] = 0x3b;  // 0x1.ffcp-1, 11 bits
  float out[256];
  DequantizeRow(DType::kQ6_K, reinterpret_cast<std::byte*>(block.data()), 256, out);
  EXPECT_EQ(out[7], static_cast<float>(2047.0 / 2048 * (127 * 31)));
}

TEST(DequantizeTest, FloatTypesWidenExactly) {
  const uint16_t halves[2] = {0x3c00, 0x8001};
  float out[2];
  DequantizeRow(DType::kF16, reinterpret_cast<const std::byte*>(halves), 2, out);
  EXPECT_EQ(out[1], -0x1p-24f);
  const uint16_t brains[2] = {0x3f80, 0x0001};
  DequantizeRow(DType::kBF16, reinterpret_cast<const std::byte*>(brains), 2, out);
  EXPECT_EQ(out[1], 0x1p-133f);
}

}  // namespace
}  // namespace exo::tensor
