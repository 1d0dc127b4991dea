// Hand-computed values of every block format. Equality with llama.cpp on random blocks is checked
// by tests/peer.
#include "tensor/dequantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "base/random.h"
#include "base/sha256.h"
#include "tensor/blocks.h"

namespace exo::tensor {
namespace {

// A block of zero bytes but for those given as {position, byte}, dequantized.
std::vector<float> Values(DType type, std::initializer_list<std::pair<size_t, int>> bytes) {
  const DTypeInfo& info = Info(type);
  std::vector<std::byte> block(info.block_bytes);
  for (const auto& [at, byte] : bytes) block[at] = static_cast<std::byte>(byte);
  std::vector<float> out(info.block_values);
  DequantizeRow(type, block.data(), out.size(), out.data());
  return out;
}

TEST(DequantizeTest, Q8TimesScale) {
  const auto out = Values(DType::kQ8_0, {{1, 0x38}, {2, 0x80}, {33, 127}});  // 0.5
  EXPECT_EQ(out[0], -64.0f);
  EXPECT_EQ(out[1], 0.0f);
  EXPECT_EQ(out[31], 63.5f);
}

TEST(DequantizeTest, Q4LowNibblesComeFirst) {
  // Scale 2. Byte 0: value 0 has code 0, value 16 code 15; byte 15: values 15 and 31 have 10 and 1.
  const auto out = Values(DType::kQ4_0, {{1, 0x40}, {2, 0xf0}, {17, 0x1a}, {3, 0x88}});
  EXPECT_EQ(out[0], -16.0f);
  EXPECT_EQ(out[16], 14.0f);
  EXPECT_EQ(out[15], 4.0f);
  EXPECT_EQ(out[31], -14.0f);
  EXPECT_EQ(out[1], 0.0f);
}

TEST(DequantizeTest, Q4WithMinimumAddsIt) {
  // Scale 2, minimum -1.
  const auto out = Values(DType::kQ4_1, {{1, 0x40}, {3, 0xbc}, {4, 0xf3}});
  EXPECT_EQ(out[0], 5.0f);
  EXPECT_EQ(out[16], 29.0f);
  EXPECT_EQ(out[31], -1.0f);
}

TEST(DequantizeTest, Q5TakesItsFifthBitsInTheOrderOfValues) {
  // Scale 1; high bits of values 1 and 31; value 1 has the nibble 2, value 31 the nibble 15.
  const auto out = Values(DType::kQ5_0, {{1, 0x3c}, {2, 0x02}, {5, 0x80}, {7, 0x02}, {21, 0xf0}});
  EXPECT_EQ(out[0], -16.0f);
  EXPECT_EQ(out[1], 2.0f);
  EXPECT_EQ(out[31], 15.0f);
  EXPECT_EQ(out[17], -16.0f);
}

TEST(DequantizeTest, Q5WithMinimumAddsIt) {
  // Scale 1, minimum 0.5; high bit of value 16, whose nibble is 1.
  const auto out = Values(DType::kQ5_1, {{1, 0x3c}, {3, 0x38}, {6, 0x01}, {8, 0x10}});
  EXPECT_EQ(out[16], 17.5f);
  EXPECT_EQ(out[0], 0.5f);
}

TEST(DequantizeTest, Q2KHasNibblesOfScaleAndMinimum) {
  // Scale 1, minimum 2. Sub-block 1: scale 3, minimum 5; sub-block 15: scale 15, minimum 1.
  const auto out = Values(DType::kQ2_K, {{81, 0x3c},
                                         {83, 0x40},
                                         {1, 0x53},
                                         {15, 0x1f},
                                         {16 + 16, 0x03},         // value 16: code 3
                                         {16 + 32 + 31, 0xc0}});  // value 255: code 3
  EXPECT_EQ(out[0], 0.0f);
  EXPECT_EQ(out[16], 9.0f - 10.0f);
  EXPECT_EQ(out[17], -10.0f);
  EXPECT_EQ(out[255], 45.0f - 2.0f);
}

TEST(DequantizeTest, Q3KHighBitMeansNoFourLess) {
  // Scale 1. Sub-scale 0: 33 - 32 = 1 (low nibble 1, high bits 2); sub-scale 15: 63 - 32 = 31;
  // those without bits are -32.
  const auto out = Values(DType::kQ3_K, {{109, 0x3c},
                                         {96, 0x01},
                                         {104, 0x02},
                                         {103, 0xf0},
                                         {107, 0xc0},
                                         {0, 0x01},
                                         {32, 0x02},  // value 0: code 2
                                         {31, 0x80},
                                         {32 + 63, 0xc0}});  // value 255: code 3
  EXPECT_EQ(out[0], 2.0f);
  EXPECT_EQ(out[1], -4.0f);
  EXPECT_EQ(out[16], -32.0f * -4);
  EXPECT_EQ(out[255], 31.0f * 3);
  EXPECT_EQ(out[254], 31.0f * -4);
}

TEST(DequantizeTest, Q4KSplitsSixBitScales) {
  // Scale 1, minimum 0.5. Sub-block 0: scale 63, minimum 1; sub-block 4: scale 0x2a (nibble a, top
  // 2), minimum 0x15 (nibble 5, top 1).
  const auto out = Values(DType::kQ4_K, {{1, 0x3c},
                                         {3, 0x38},
                                         {4, 63 | 2 << 6},
                                         {8, 1 | 1 << 6},
                                         {12, 0x5a},
                                         {16, 0x07},         // value 0: 7, value 32: 0
                                         {16 + 64, 0x0f}});  // value 128: 15
  EXPECT_EQ(out[0], 63.0f * 7 - 0.5f);
  EXPECT_EQ(out[1], -0.5f);
  EXPECT_EQ(out[32], 0.0f);
  EXPECT_EQ(out[128], 42.0f * 15 - 0.5f * 21);
}

TEST(DequantizeTest, Q5KBitOfASubBlockIsItsNumber) {
  // Scale 1, minimum 0; scales of sub-blocks 0 and 3 are 2 and 3. Bits 0 and 3 of byte 16.
  const auto out =
      Values(DType::kQ5_K, {{1, 0x3c}, {4, 2}, {7, 3}, {16, 0x09}, {48, 0x01}, {80, 0xf0}});
  EXPECT_EQ(out[0], 2.0f * 17);
  EXPECT_EQ(out[96], 3.0f * 31);
  EXPECT_EQ(out[97], 0.0f);
}

TEST(DequantizeTest, Q6KJoinsNibblesAndHighBits) {
  // Scale 1. Low nibbles: value 0 gets 15, value 64 gets 5. High bits of values 0, 32, 64, 96: 3,
  // 0, 2,
  // 1. Sub-scales -8, -6, -4, -2, 7 of the sub-blocks 0, 2, 4, 6, 15.
  const auto out = Values(DType::kQ6_K, {{209, 0x3c},
                                         {0, 0x5f},
                                         {128, 0b01'10'00'11},
                                         {192, -8},
                                         {194, -6},
                                         {196, -4},
                                         {198, -2},
                                         {207, 7}});
  EXPECT_EQ(out[0], -8.0f * 31);          // code 63
  EXPECT_EQ(out[32], -6.0f * -32);        // code 0
  EXPECT_EQ(out[64], -4.0f * (37 - 32));  // code 32 + 5
  EXPECT_EQ(out[96], -2.0f * (16 - 32));
  EXPECT_EQ(out[255], 7.0f * -32);
}

TEST(DequantizeTest, Q6KRoundsOnce) {
  std::vector<std::byte> block(210, std::byte{0xff});  // codes 63
  for (size_t i = 0; i < 16; ++i) block[192 + i] = std::byte{127};
  block[209] = std::byte{0x3b};  // 0x1.ffcp-1, 11 bits
  float out[256];
  DequantizeRow(DType::kQ6_K, block.data(), 256, out);
  EXPECT_EQ(out[7], static_cast<float>(2047.0 / 2048 * (127 * 31)));
}

TEST(DequantizeTest, Iq4LooksItsCodesUp) {
  const auto nl = Values(DType::kIQ4_NL, {{1, 0x40}, {2, 0xf1}});
  EXPECT_EQ(nl[0], 2.0f * -104);
  EXPECT_EQ(nl[16], 2.0f * 113);
  EXPECT_EQ(nl[1], 2.0f * -127);
  // Scale 1. Sub-block 1: nibble f, top 2: 47 - 32 = 15; sub-block 7: nibble 1, top 0: -31.
  const auto xs = Values(DType::kIQ4_XS,
                         {{1, 0x3c}, {2, 0x08}, {4, 0xf0}, {7, 0x10}, {8 + 16, 0x80}, {135, 0x09}});
  EXPECT_EQ(xs[0], -32.0f * -127);
  EXPECT_EQ(xs[32], 15.0f * -127);
  EXPECT_EQ(xs[48], 15.0f * 1);
  EXPECT_EQ(xs[239], -31.0f * 13);
}

// Of the grids: point 0 has the lowest level everywhere; points 1 and 2 begin with 43 and with 25,
// 25 (IQ2), 20 and 36 (IQ3_XXS), 3 and 5 (IQ3_S), 1 and 0, 0 (IQ1).
TEST(DequantizeTest, Iq2XxsMakesTheEighthSign) {
  // Scale 8, an eighth of it 1. Group 1: indices 0, 1; signs of point 1: its first value; s = 15.
  const auto out =
      Values(DType::kIQ2_XXS, {{1, 0x48}, {11, 1}, {14, 0x80}, {17, 0xf0}, {58 + 3, 255}});
  EXPECT_EQ(out[0], 8.0f);
  EXPECT_EQ(out[32], 31.0f * 8);
  EXPECT_EQ(out[40], 31.0f * -43);
  EXPECT_EQ(out[41], 31.0f * 8);
  EXPECT_EQ(out[47], 31.0f * -8);
  EXPECT_EQ(out[253], 43.0f);  // the last point: 8 25 8 8 25 43 43 43
}

TEST(DequantizeTest, Iq2XsHasTwoSubScalesInAByte) {
  // Scale 8. Point 0: index 2 and the first sign; group 0: s = 1 and 3. Point 31: index 511.
  const auto out =
      Values(DType::kIQ2_XS, {{1, 0x48}, {2, 2}, {3, 0x02}, {66, 0x31}, {64, 0xff}, {65, 0x01}});
  EXPECT_EQ(out[0], 3.0f * -25);
  EXPECT_EQ(out[1], 3.0f * 25);
  EXPECT_EQ(out[7], 3.0f * -8);
  EXPECT_EQ(out[16], 7.0f * 8);
  EXPECT_EQ(out[248], 43.0f);
}

TEST(DequantizeTest, Iq2SHasHighBitsAndAllSigns) {
  // Scale 8. Point 1: index 1, its last sign; point 31: index 1023; s of the last 16: 15.
  const auto out =
      Values(DType::kIQ2_S, {{1, 0x48}, {3, 1}, {35, 0x80}, {33, 0xff}, {73, 0xc0}, {81, 0xf0}});
  EXPECT_EQ(out[8], 43.0f);
  EXPECT_EQ(out[14], 8.0f);
  EXPECT_EQ(out[15], -8.0f);
  EXPECT_EQ(out[239], 8.0f);
  EXPECT_EQ(out[255], 31.0f * 43);
}

TEST(DequantizeTest, Iq3XxsHasPointsOfFour) {
  // Scale 4, a quarter of it 1. Group 0: indices 1, 0; first sign, so that of value 7; s = 1.
  const auto out = Values(DType::kIQ3_XXS, {{1, 0x44}, {2, 1}, {66, 0x01}, {69, 0x10}, {65, 255}});
  EXPECT_EQ(out[0], 3.0f * -20);
  EXPECT_EQ(out[1], 3.0f * 4);
  EXPECT_EQ(out[7], 3.0f * -4);
  EXPECT_EQ(out[255], 62.0f);
}

TEST(DequantizeTest, Iq3SHasANinthBit) {
  // Scale 1. Index 1, second sign; s of group 1: 2; the last index 511.
  const auto out =
      Values(DType::kIQ3_S, {{1, 0x3c}, {2, 1}, {74, 0x02}, {106, 0x20}, {65, 0xff}, {73, 0x80}});
  EXPECT_EQ(out[0], 3.0f);
  EXPECT_EQ(out[1], -1.0f);
  EXPECT_EQ(out[32], 5.0f);
  EXPECT_EQ(out[255], 15.0f);
  EXPECT_EQ(out[253], 1.0f);
}

TEST(DequantizeTest, Iq1MovesItsPointsByAnEighth) {
  // Scale 8. Group 0: index 1, s = 7; group 1: index 2, minus an eighth; the last: index 2047.
  const auto s = Values(
      DType::kIQ1_S, {{1, 0x48}, {2, 1}, {35, 0x70}, {6, 2}, {37, 0x80}, {33, 0xff}, {49, 0x0e}});
  EXPECT_EQ(s[0], 15.0f * 9);
  EXPECT_EQ(s[1], 15.0f * -7);
  EXPECT_EQ(s[32], -1.0f);
  EXPECT_EQ(s[34], -9.0f);
  EXPECT_EQ(s[255], 9.0f);
  // Scale 8 in nibbles 0, 0, 8, 4. Group 0: index 1 minus an eighth, then 256 plus; s = 2 and 1.
  const auto m = Values(DType::kIQ1_M, {{53, 0x80}, {55, 0x40}, {0, 1}, {32, 0x18}, {48, 0x0a}});
  EXPECT_EQ(m[0], 5.0f * 7);
  EXPECT_EQ(m[1], 5.0f * -9);
  EXPECT_EQ(m[8], 5.0f * -7);  // -1 0 1 0 1 -1 0 -1
  EXPECT_EQ(m[9], 5.0f * 1);
  EXPECT_EQ(m[10], 5.0f * 9);
  EXPECT_EQ(m[16], 3.0f * -7);
}

TEST(DequantizeTest, TernaryDigitsAreFractions) {
  // Scale 2. 181 is the smallest byte of 256 * 0.20100 (base 3); 0 has digits 0, 255 digits 2.
  const auto one = Values(DType::kTQ1_0, {{53, 0x40}, {1, 181}, {47, 255}, {51, 181}});
  EXPECT_EQ(one[0], -2.0f);
  EXPECT_EQ(one[1], 2.0f);
  EXPECT_EQ(one[33], -2.0f);
  EXPECT_EQ(one[65], 0.0f);
  EXPECT_EQ(one[97], -2.0f);
  EXPECT_EQ(one[175], 2.0f);
  EXPECT_EQ(one[239], 2.0f);
  EXPECT_EQ(one[243], 2.0f);
  EXPECT_EQ(one[251], 0.0f);
  const auto two = Values(DType::kTQ2_0, {{65, 0x40}, {0, 0b11'00'01'10}, {63, 0x80}});
  EXPECT_EQ(two[0], 2.0f);
  EXPECT_EQ(two[32], 0.0f);
  EXPECT_EQ(two[64], -2.0f);
  EXPECT_EQ(two[96], 4.0f);
  EXPECT_EQ(two[255], 2.0f);
}

// Every bit of 64 random blocks; the values behind these hashes were equal to llama.cpp's.
TEST(DequantizeTest, RandomBlocksOfGridsHaveTheRecordedValues) {
  const std::pair<DType, const char*> kHashes[] = {
      {DType::kIQ1_S, "caa700122aa02d02"},   {DType::kIQ1_M, "c562e596996b3033"},
      {DType::kIQ2_XXS, "843ab5d017369c5a"}, {DType::kIQ2_XS, "3ec8b1c4eb74186a"},
      {DType::kIQ2_S, "cd97a1eba5338ca6"},   {DType::kIQ3_XXS, "389684fecc6808d3"},
      {DType::kIQ3_S, "95c5660cdc4c9d53"},   {DType::kTQ1_0, "b5683c974917cab0"},
      {DType::kTQ2_0, "30977aa48aece729"}};
  for (const auto& [type, hash] : kHashes) {
    const DTypeInfo& info = Info(type);
    std::vector<std::byte> bytes(64 * info.block_bytes);
    Rng rng(static_cast<uint64_t>(type));
    for (std::byte& b : bytes) b = static_cast<std::byte>(rng.Next());
    for (size_t at = 0; at < bytes.size(); at += info.block_bytes)
      SetScale(type, 0x3955, &bytes[at]);
    std::vector<float> out(64 * 256);
    DequantizeRow(type, bytes.data(), out.size(), out.data());
    for (float& v : out) v += 0.0f;  // one sign for zeros
    EXPECT_EQ(Sha256Of(std::as_bytes(std::span(out))).Hex().substr(0, 16), hash) << info.name;
    EXPECT_EQ(ScaleBits(type, bytes.data()), 0x3955);
  }
}

TEST(DequantizeTest, Mxfp4ScaleIsAPowerOfTwo) {
  // 2^(128 - 127) = 2; e2m1: nibble 7 is 6, nibble 9 is -0.5.
  const auto out = Values(DType::kMXFP4, {{0, 128}, {1, 0x97}});
  EXPECT_EQ(out[0], 12.0f);
  EXPECT_EQ(out[16], -1.0f);
  EXPECT_EQ(out[1], 0.0f);
  EXPECT_EQ(Values(DType::kMXFP4, {{0, 104}, {1, 0x01}})[0], 0x1p-24f);
  EXPECT_EQ(Values(DType::kMXFP4, {{0, 103}, {1, 0x07}})[0], 0.0f);  // below the floor
  EXPECT_TRUE(std::isinf(Values(DType::kMXFP4, {{0, 255}, {1, 0x07}})[0]));
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

TEST(SubScalesTest, PackingIsTheInverseOfReading) {
  Rng rng(3);
  for (int round = 0; round < 100; ++round) {
    uint8_t bytes[12], again[12];
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(rng.Next());
    uint8_t scales[8], minima[8];
    UnpackScales6(bytes, scales, minima);
    PackScales6(scales, minima, again);
    EXPECT_EQ(std::vector<uint8_t>(again, again + 12), std::vector<uint8_t>(bytes, bytes + 12));
    int8_t sixteen[16];
    UnpackScalesQ3K(bytes, sixteen);
    PackScalesQ3K(sixteen, again);
    EXPECT_EQ(std::vector<uint8_t>(again, again + 12), std::vector<uint8_t>(bytes, bytes + 12));
    UnpackScalesIQ4XS(bytes, sixteen);
    PackScalesIQ4XS(sixteen, again);
    EXPECT_EQ(std::vector<uint8_t>(again, again + 6), std::vector<uint8_t>(bytes, bytes + 6));
  }
}

}  // namespace
}  // namespace exo::tensor
