// Encoders against the format's own precision. How they compare with llama.cpp's: tests/peer.
#include "tensor/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"
#include "base/sha256.h"
#include "tensor/dequantize.h"

namespace exo::tensor {
namespace {

// Sums of uniform values: close to normal, with the width `size`.
std::vector<float> Weights(size_t count, float size, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += rng.Uniform();
    value = size * static_cast<float>(sum);
  }
  return values;
}

std::vector<std::byte> Blocks(DType type, const std::vector<float>& row) {
  std::vector<std::byte> bytes(RowBytes(type, row.size()).value(), std::byte{0xff});
  const auto done = QuantizeRow(type, row, bytes.data());
  EXPECT_TRUE(done) << done.error().message;
  return bytes;
}

std::vector<float> RoundTrip(DType type, const std::vector<float>& row) {
  const auto bytes = Blocks(type, row);
  std::vector<float> out(row.size());
  DequantizeRow(type, bytes.data(), out.size(), out.data());
  return out;
}

// Root mean square error in units of the values' root mean square.
double RelativeError(DType type, const std::vector<float>& row) {
  const auto back = RoundTrip(type, row);
  double error = 0, square = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    error += std::pow(double{back[i]} - double{row[i]}, 2);
    square += std::pow(double{row[i]}, 2);
  }
  return std::sqrt(error / square);
}

double TypicalError(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return 0.092;
    case DType::kQ4_K:
      return 0.071;
    case DType::kQ5_K:
      return 0.036;
    case DType::kQ6_K:
      return 0.0185;
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 0.00021;
    case DType::kBF16:
      return 0.0017;
    default:
      return 0.0056;  // Q8_0
  }
}

class QuantizeTest : public ::testing::TestWithParam<DType> {};

TEST_P(QuantizeTest, NormalWeightsKeepTheFormatsPrecisionAtEverySize) {
  for (const float size : {1e-3f, 0.02f, 1.0f, 5000.0f}) {
    const double error = RelativeError(GetParam(), Weights(64 * 256, size, 1));
    EXPECT_LE(error, TypicalError(GetParam()) * (size < 0.01f ? 1.1 : 1)) << size;
    EXPECT_GE(error, TypicalError(GetParam()) * 0.9) << size;
  }
}

TEST_P(QuantizeTest, ValuesOfOneSignKeepItToo) {
  // Most of these are just above a power of two, where the steps of floats are the widest.
  const bool is_float = GetParam() == DType::kF16 || GetParam() == DType::kBF16;
  for (const float sign : {1.0f, -1.0f}) {
    auto row = Weights(16 * 256, 0.1f, 2);
    for (float& value : row) value = sign * (std::abs(value) + 0.5f);
    EXPECT_LE(RelativeError(GetParam(), row), TypicalError(GetParam()) * (is_float ? 1.2 : 1))
        << sign;
  }
}

TEST_P(QuantizeTest, ZeroStaysZero) {
  for (const float value : RoundTrip(GetParam(), std::vector<float>(256))) EXPECT_EQ(value, 0);
}

TEST_P(QuantizeTest, TinyValuesAreAsCloseAsTheLeastScaleAllows) {
  for (const float size :
       {std::numeric_limits<float>::denorm_min(), 1e-42f, 1e-38f, 1e-20f, 1e-10f, 1e-8f}) {
    const auto row = Weights(256, size, 3);
    const auto back = RoundTrip(GetParam(), row);
    for (size_t i = 0; i < row.size(); ++i) EXPECT_LE(std::abs(back[i] - row[i]), 0x1p-24f) << size;
  }
}

TEST_P(QuantizeTest, OneLargeValueAmongSmallOnesIsKept) {
  auto row = Weights(512, 1e-4f, 4);
  row[100] = kLargestWeight;
  row[300] = -kLargestWeight;
  const auto back = RoundTrip(GetParam(), row);
  EXPECT_NEAR(back[100], row[100], kLargestWeight * 0.02f);
  EXPECT_NEAR(back[300], row[300], kLargestWeight * 0.02f);
  for (const float value : back) EXPECT_TRUE(std::isfinite(value));
}

TEST_P(QuantizeTest, AConstantIsNearlyExact) {
  for (const float constant : {0.375f, -0.375f, -3.0f}) {
    for (const float value : RoundTrip(GetParam(), std::vector<float>(256, constant))) {
      EXPECT_NEAR(value, constant, std::abs(constant) * 0.01f);
    }
  }
}

TEST_P(QuantizeTest, BlocksDoNotSeeTheirNeighbors) {
  const auto row = Weights(1024, 1, 5);
  const auto whole = Blocks(GetParam(), row);
  const size_t half = whole.size() / 2;
  EXPECT_EQ(
      Blocks(GetParam(), {row.begin(), row.begin() + 512}),
      std::vector<std::byte>(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(half)));
  EXPECT_EQ(Blocks(GetParam(), {row.begin() + 512, row.end()}),
            std::vector<std::byte>(whole.begin() + static_cast<std::ptrdiff_t>(half), whole.end()));
}

TEST_P(QuantizeTest, ValuesThatCannotBeWeightsAreRefusedWithTheirPlace) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float wrong : {infinity, -infinity, std::nanf(""), 65505.0f, -1e30f}) {
    auto row = Weights(512, 1, 6);
    row[300] = wrong;
    std::vector<std::byte> out(RowBytes(GetParam(), row.size()).value());
    const auto done = QuantizeRow(GetParam(), row, out.data());
    ASSERT_FALSE(done.has_value()) << wrong;
    EXPECT_EQ(done.error().code, ErrorCode::kInvalid);
    EXPECT_NE(done.error().message.find("value 300 is"), std::string::npos) << done.error().message;
  }
}

const char* GoldenHash(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return "e5e93760c1cbb359";
    case DType::kQ8_0:
      return "0b4b71d3a8444c93";
    case DType::kQ4_K:
      return "45c2a055aec4b273";
    case DType::kQ5_K:
      return "9f68631824a47e66";
    case DType::kF32:
      return "080a0365b55eda54";
    case DType::kF16:
      return "46b70043e5093e2b";
    case DType::kBF16:
      return "0f02f36ad17245bf";
    default:
      return "976619736870a3bd";
  }
}

// Whatever machine, compiler and flags: what these blocks were on the first one.
TEST_P(QuantizeTest, BlocksAreTheSameEverywhere) {
  auto row = Weights(256 * 256, 0.02f, 7);
  const auto small = Weights(256 * 64, 3e-7f, 8);  // scales that are denormal as f16
  row.insert(row.end(), small.begin(), small.end());
  EXPECT_EQ(Sha256Of(Blocks(GetParam(), row)).Hex().substr(0, 16), GoldenHash(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Types, QuantizeTest,
                         ::testing::ValuesIn(WritableTypes().begin(), WritableTypes().end()),
                         [](const auto& info) { return std::string(Info(info.param).name); });

// The largest magnitude takes code 0 with a negative scale when it is positive.
TEST(QuantizeQ4Test, BlockIsAsHandComputed) {
  std::vector<float> row(32);
  row[0] = 8;    // extreme: scale -1
  row[16] = -7;  // code 15
  row[31] = 2.4f;
  const auto bytes = Blocks(DType::kQ4_0, row);
  EXPECT_EQ(static_cast<int>(bytes[0]) | static_cast<int>(bytes[1]) << 8, 0xbc00);
  EXPECT_EQ(bytes[2], std::byte{0xf0});
  EXPECT_EQ(bytes[3], std::byte{0x88});
  EXPECT_EQ(bytes[17], std::byte{0x68});
}

}  // namespace
}  // namespace exo::tensor
