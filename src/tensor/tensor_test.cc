#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

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
    const bool signaling = (h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0 && (h & 0x200) == 0;
    const uint32_t expected = signaling ? h | 0x200 : h;
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
  EXPECT_EQ(FindDType(12)->type, DType::kQ4_K);
  EXPECT_FALSE(FindDType(9).has_value());  // Q8_1
  for (const DTypeInfo& info : AllTypes()) {
    EXPECT_EQ(GgufTypeName(static_cast<uint32_t>(info.type)), info.name);
  }
}

}  // namespace
}  // namespace exo::tensor
