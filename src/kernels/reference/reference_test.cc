// Hand-computed cases for the definition itself; equality of the other sets is kernels_test.cc.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/kernels_testing.h"
#include "kernels/numerics.h"
#include "kernels/reference/quantize.h"
#include "kernels/reference/tree.h"
#include "tensor/float16.h"

namespace exo::kernels {
namespace {

TEST(TreeTest, LeftSubtreeIsTheLargestPowerOfTwo) {
  // 5 leaves: ((0 1)(2 3)) 4. Only this shape keeps the last 1.
  const float leaves[5] = {1e8f, 1, -1e8f, -1, 1};
  const auto leaf = [&](size_t i) { return leaves[i]; };
  EXPECT_EQ(reference::TreeSum(leaf, 0, 5), 1.0f);
  EXPECT_TRUE(std::signbit(reference::TreeSum([](size_t) { return -0.0f; }, 0, 3)));
}

TEST(QuantizeTest, RoundsTiesToEven) {
  float x[32] = {127, -127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f};
  int8_t codes[32];
  EXPECT_EQ(reference::QuantizeBlock(x, 32, codes), 1.0f);
  EXPECT_EQ(codes[0], 127);
  EXPECT_EQ(codes[1], -127);
  EXPECT_EQ(codes[2], 0);
  EXPECT_EQ(codes[3], 2);
  EXPECT_EQ(codes[4], 2);
  EXPECT_EQ(codes[5], 0);
  EXPECT_EQ(codes[6], -2);
}

TEST(QuantizeTest, TinyBlocksAreZeroAndNonFiniteOnesPoisoned) {
  float x[32] = {};
  int8_t codes[32];
  x[3] = 0x1.fffffep-65f;
  EXPECT_EQ(reference::QuantizeBlock(x, 32, codes), 0.0f);
  EXPECT_EQ(codes[3], 0);
  x[3] = -0x1p-64f;
  EXPECT_EQ(reference::QuantizeBlock(x, 32, codes), 0x1p-64f / 127);
  EXPECT_EQ(codes[3], -127);
  for (const float bad : {kInf, -kInf, std::nanf("")}) {
    x[4] = bad;
    EXPECT_TRUE(std::isnan(reference::QuantizeBlock(x, 32, codes)));
    EXPECT_EQ(codes[3], 0);
  }
}

class OneRow {
 public:
  // A [1, cols] matrix times one token by the reference.
  static float Product(tensor::DType type, const std::vector<std::byte>& row,
                       std::vector<float> x) {
    const Kernels& k = Reference();
    const size_t cols = x.size();
    std::vector<std::byte> packed(k.PackedBytes(type, 1, cols));
    k.Pack(type, 1, cols, 0, 1, row.data(), packed.data());
    const ActivationKind kind = KindFor(type);
    std::vector<std::byte> prepared(k.ActivationBytes(kind, 1, cols));
    k.Prepare(kind, x.data(), cols, 1, cols, 0, 1, prepared.data());
    float out = 0;
    k.MatMul({type, 1, cols, packed.data()}, {kind, 1, cols, prepared.data()}, 0, 1, &out, 1,
             false);
    return out;
  }
};

TEST(ProductTest, Q8BlockTimesScales) {
  std::vector<std::byte> row(34);
  row[1] = std::byte{0x38};  // 0.5
  row[2] = std::byte{0x80};  // -128
  row[3] = std::byte{3};
  std::vector<float> x(32);
  x[0] = 254;  // scale 2, code 127
  x[1] = -2;   // code -1
  EXPECT_EQ(OneRow::Product(tensor::DType::kQ8_0, row, x), (0.5f * 2) * (-128 * 127 - 3));
}

TEST(ProductTest, Q6KUsesSubScales) {
  std::vector<std::byte> row(210);  // all codes 0: -32
  row[192] = std::byte{2};
  row[200] = std::byte{0xff};  // -1 for values 128..143
  row[209] = std::byte{0x3c};
  std::vector<float> x(256);
  x[0] = 127;
  x[130] = 254;
  EXPECT_EQ(OneRow::Product(tensor::DType::kQ6_K, row, x), -2.0f * 32 * 127 + 2.0f * 32 * 127);
}

TEST(ProductTest, MinimumOf32IsAddedToTheValues) {
  std::vector<std::byte> row(20);
  row[1] = std::byte{0x38};  // scale 0.5
  row[3] = std::byte{0x40};  // minimum 2
  row[4] = std::byte{3};
  std::vector<float> x(32);
  x[0] = 254;  // scale 2, code 127
  x[1] = -2;   // code -1
  EXPECT_EQ(OneRow::Product(tensor::DType::kQ4_1, row, x),
            (0.5f * 2) * (3 * 127) + (2.0f * 2) * 126);
}

TEST(ProductTest, MinimumOfASuperBlockIsSubtracted) {
  std::vector<std::byte> row(144);
  row[1] = std::byte{0x3c};  // scale 1
  row[3] = std::byte{0x38};  // minimum 0.5
  row[4] = std::byte{2};     // sub-scale and sub-minimum of values 0..31
  row[8] = std::byte{3};
  row[16] = std::byte{5};
  std::vector<float> x(256);
  x[0] = 127;
  EXPECT_EQ(OneRow::Product(tensor::DType::kQ4_K, row, x), 2.0f * 5 * 127 - 0.5f * 3 * 127);
}

TEST(ProductTest, Mxfp4HalvesItsPowerOfTwo) {
  std::vector<std::byte> row(17);
  row[0] = std::byte{129};  // 4
  row[1] = std::byte{7};    // 6
  std::vector<float> x(32);
  x[0] = 127;
  EXPECT_EQ(OneRow::Product(tensor::DType::kMXFP4, row, x), 4.0f * 6 * 127);
}

TEST(ProductTest, FloatLeavesStartFromTheirFirstTerm) {
  std::vector<std::byte> row(4 * 200);
  std::vector<float> weights(200, -0.0f);
  std::memcpy(row.data(), weights.data(), row.size());
  // -0 weights are below the floor and become +0 at Pack; the sum of +0 * -1 is -0 only from the
  // first term.
  EXPECT_TRUE(std::signbit(OneRow::Product(tensor::DType::kF32, row, std::vector<float>(200, -1))));
}

TEST(ProductTest, FloorsApplyToBothSides) {
  std::vector<std::byte> row(8);
  const float weights[2] = {0x1p-39f, 0x1p-38f};
  std::memcpy(row.data(), weights, 8);
  EXPECT_EQ(OneRow::Product(tensor::DType::kF32, row, {1, 0}), 0.0f);
  EXPECT_EQ(OneRow::Product(tensor::DType::kF32, row, {0, 1}), 0x1p-38f);
  EXPECT_EQ(OneRow::Product(tensor::DType::kF32, row, {0, 0x1.8p-65f}), 0.0f);
}

TEST(NormTest, ByHand) {
  const float x[4] = {1, -1, 1, 0x1p-60f};
  const float gain[4] = {2, 3, 0x1p-70f, 0x1p-10f};
  float out[4];
  Reference().RmsNorm(x, gain, 0.25f, 4, out);  // mean 0.75 + 0.25
  EXPECT_EQ(out[0], 2.0f);
  EXPECT_EQ(out[1], -3.0f);
  EXPECT_EQ(std::bit_cast<uint32_t>(out[2]), 0u);
  EXPECT_EQ(std::bit_cast<uint32_t>(out[3]), 0u);
}

TEST(RopeOpTest, RotatesPairsOfBothStyles) {
  const float cos[2] = {0, 1};
  const float sin[2] = {1, 0};
  float x[5] = {1, 2, 3, 4, 9};
  Reference().Rope(RopeStyle::kInterleaved, cos, sin, 1, 5, 4, x);
  EXPECT_EQ(std::vector<float>(x, x + 5), (std::vector<float>{-2, 1, 3, 4, 9}));
  float y[5] = {1, 2, 3, 4, 9};
  Reference().Rope(RopeStyle::kHalves, cos, sin, 1, 5, 4, y);
  EXPECT_EQ(std::vector<float>(y, y + 5), (std::vector<float>{-3, 2, 1, 4, 9}));
}

TEST(AttentionTest, WeighsByExpAndCutsAtForty) {
  std::vector<std::byte> scratch(64);
  const TestCache cache(KvType::kF32, 1, 16);
  const KvHead kv = cache.head();
  const float keys[3] = {0, 41, 1};
  const float values[3] = {kInf, 3, 5};
  for (size_t p = 0; p < 3; ++p) Reference().StoreKv(kv, p, &keys[p], &values[p]);
  const float q = 1;
  float out[3];
  Reference().Attention(kv, {.first = 1}, &q, 0, scratch.data(), out, 1);
  EXPECT_TRUE(
      std::isnan(out[0]));  // weight +0 times an infinite value: positions are never skipped
  const float one = 2;
  Reference().StoreKv(kv, 0, &keys[0], &one);
  Reference().Attention(kv, {.first = 1}, &q, 0, scratch.data(), out, 1);
  EXPECT_EQ(out[0], 3.0f);
}

TEST(AttentionTest, PositionsBeforeTheWindowDoNotExist) {
  std::vector<std::byte> scratch(64);
  const TestCache cache(KvType::kF32, 1, 16);
  const KvHead kv = cache.head();
  const float keys[4] = {90, 0, 0, 0};  // the first would win by far, and its value is infinite
  const float values[4] = {kInf, 2, 4, 6};
  for (size_t p = 0; p < 4; ++p) Reference().StoreKv(kv, p, &keys[p], &values[p]);
  const float q[2] = {1, 1};
  float out[2];
  Reference().Attention(kv, {.first = 2, .tokens = 2, .window = 2}, q, 1, scratch.data(), out, 1);
  EXPECT_EQ(out[0], 3.0f);  // positions 1 and 2
  EXPECT_EQ(out[1], 5.0f);  // positions 2 and 3
  Reference().Attention(kv, {.first = 2, .window = 3}, q, 1, scratch.data(), out, 1);
  EXPECT_EQ(out[0], kInf);
}

// A q8_0 cache of one tile and one block per head.
struct QuantizedCache {
  TestCache memory{KvType::kQ8_0, 32, 16};
  KvHead kv = memory.head();
  const std::byte* k = memory.k();
  const std::byte* v = memory.v();

  uint16_t Scale(const std::byte* tile, size_t lane) const {
    uint16_t scale;
    std::memcpy(&scale, tile + 16 * 32 + 2 * lane, 2);
    return scale;
  }
  // Attention of q to positions 0 and 1.
  std::vector<float> Attend(const std::vector<float>& q) const {
    std::vector<std::byte> scratch(Reference().AttentionScratchBytes(2, 1, 32));
    std::vector<float> out(32);
    Reference().Attention(kv, {.first = 1}, q.data(), 0, scratch.data(), out.data(), 0);
    return out;
  }
};

TEST(QuantizedCacheTest, StoresCodesSideBySideAndTheirScale) {
  const QuantizedCache cache;
  EXPECT_EQ(KvTileBytes(KvType::kQ8_0, 32), 16 * (32 + 2u));
  std::vector<float> key(32), value(32);
  for (int i = 0; i < 32; ++i) key[i] = static_cast<float>(127 - 8 * i);  // scale 1
  value[5] = -254;                                                        // scale 2, code -127
  Reference().StoreKv(cache.kv, 3, key.data(), value.data());
  for (size_t d = 0; d < 32; ++d) {
    const auto code = static_cast<int8_t>(cache.k[(d / 4 * 16 + 3) * 4 + d % 4]);
    EXPECT_EQ(code, 127 - 8 * static_cast<int>(d));
    EXPECT_EQ(static_cast<int8_t>(cache.v[3 * 32 + d]), d == 5 ? -127 : 0);
  }
  EXPECT_EQ(cache.Scale(cache.k, 3), 0x3c00);
  EXPECT_EQ(cache.Scale(cache.v, 3), 0x4000);
}

TEST(QuantizedCacheTest, AttendsWithIntegerProductsAndExactValues) {
  const QuantizedCache cache;
  std::vector<float> keys[2] = {std::vector<float>(32), std::vector<float>(32)};
  keys[0][7] = 50;  // position 0 wins by 100, position 1 is cut
  const std::vector<float> one(32, 3 * 0x1p-10f), other(32, 9);
  Reference().StoreKv(cache.kv, 0, keys[0].data(), one.data());
  Reference().StoreKv(cache.kv, 1, keys[1].data(), other.data());
  std::vector<float> q(32);
  q[7] = 2;
  // The scale 3 * 2^-10 / 127 = 387.02 * 2^-24 is narrowed to a denormal of f16, the code is 127.
  for (const float x : cache.Attend(q)) EXPECT_EQ(x, 387 * 0x1p-24f * 127);
}

TEST(QuantizedCacheTest, WhatDoesNotFitPoisons) {
  for (const float bad : {kInf, std::nanf(""), 1e30f, 65520.0f * 128}) {
    for (const bool in_key : {true, false}) {
      const QuantizedCache cache;
      std::vector<float> x(32, 1.0f), worse = x;
      worse[31] = bad;
      Reference().StoreKv(cache.kv, 0, in_key ? worse.data() : x.data(),
                          in_key ? x.data() : worse.data());
      Reference().StoreKv(cache.kv, 1, x.data(), x.data());
      EXPECT_EQ(cache.Scale(in_key ? cache.k : cache.v, 0), 0x7e00) << bad;
      for (const float y : cache.Attend(x)) EXPECT_TRUE(std::isnan(y)) << bad;
    }
  }
}

TEST(KvTypeTest, NamesRoundTripAndOthersAreRefused) {
  for (size_t i = 0; i < kKvTypes; ++i) {
    const auto type = static_cast<KvType>(i);
    EXPECT_EQ(KvTypeNamed(KvTypeName(type)).value(), type);
  }
  EXPECT_EQ(KvTypeNamed("q4_0").error().code, ErrorCode::kInvalid);
}

TEST(NumericsTest, IdIsStable) {
  EXPECT_EQ(ComputeNumericsId(Reference()), ComputeNumericsId(Reference()));
}

TEST(MixtureTest, SoftmaxIsExactWhereItCan) {
  const float x[5] = {2, 2, -39, 2, 2};
  float p[5];
  Reference().Softmax(x, 5, p);
  EXPECT_EQ(p[0], 0.25f);  // e^-41 is cut, so that four equal ones are quarters
  EXPECT_EQ(p[2], 0.0f);
  const float bad[3] = {1, std::nanf(""), kInf};
  Reference().Softmax(bad, 3, p);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(std::isnan(p[i]));
}

TEST(MixtureTest, MixIsTheCanonicalTreeOfFlushedProducts) {
  const float rows[5] = {1e8f, 1, -1e8f, -1, 0x1p-64f};
  const float* at[5] = {&rows[0], &rows[1], &rows[2], &rows[3], &rows[4]};
  const float weights[5] = {1, 1, 1, 1, 0.5f};
  float out = 7;
  Reference().Mix(at, weights, 5, 1, &out);
  EXPECT_EQ(out, 0.0f);  // the last product is below the floor
  const float whole[5] = {1, 1, 1, 1, 1};
  Reference().Mix(at, whole, 5, 1, &out);
  EXPECT_EQ(out, 0x1p-64f);
}

}  // namespace
}  // namespace exo::kernels
