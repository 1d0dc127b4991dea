#include "kernels/elementary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "base/random.h"
#include "kernels/binary64.h"
#include "kernels/float_mode.h"

namespace exo::kernels {
namespace {

// |got - exact| in units of the last place of the rounded exact value.
double Ulps(float got, double exact) {
  const auto rounded = static_cast<float>(exact);
  const double ulp =
      static_cast<double>(std::nextafter(std::fabs(rounded), INFINITY)) - std::fabs(rounded);
  return std::fabs(static_cast<double>(got) - exact) / ulp;
}

TEST(ExpTest, StaysBelowOneUlp) {
  double worst = 0;
  for (uint32_t bits = 0x33000000; bits < 0x42ae0000; bits += 997) {
    const auto x = std::bit_cast<float>(bits);
    worst = std::max({worst, Ulps(Exp(x), std::exp(static_cast<double>(x))),
                      Ulps(Exp(-x), std::exp(-static_cast<double>(x)))});
  }
  EXPECT_LT(worst, 1.0);
  EXPECT_GT(worst, 0.8);  // the bound is tight: a better polynomial would be another arithmetic
}

TEST(ExpTest, HasExactEnds) {
  EXPECT_EQ(Exp(0.0f), 1.0f);
  EXPECT_EQ(Exp(-0.0f), 1.0f);
  EXPECT_EQ(std::bit_cast<uint32_t>(Exp(std::nextafter(-87.0f, -88.0f))), 0u);
  EXPECT_GT(Exp(-87.0f), 0x1p-126f);
  EXPECT_EQ(Exp(std::nextafter(0x1.62e42ep6f, 100.0f)), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isfinite(Exp(0x1.62e42ep6f)));
  EXPECT_TRUE(std::isnan(Exp(std::nanf(""))));
  EXPECT_EQ(Exp(-std::numeric_limits<float>::infinity()), 0.0f);
}

TEST(LogTest, StaysBelowFourFifthsOfAnUlp) {
  double worst = 0;
  for (uint32_t bits = 0x00800000; bits < 0x7f800000; bits += 1009) {
    const auto x = std::bit_cast<float>(bits);
    worst = std::max(worst, Ulps(Log(x), std::log(static_cast<double>(x))));
  }
  for (uint32_t bits = 0x3f700000; bits < 0x3f900000; bits += 3) {  // where the result is small
    const auto x = std::bit_cast<float>(bits);
    worst = std::max(worst, Ulps(Log(x), std::log(static_cast<double>(x))));
  }
  EXPECT_LT(worst, 0.8);
  EXPECT_GT(worst, 0.7);
}

TEST(LogTest, HasExactEnds) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(std::bit_cast<uint32_t>(Log(1.0f)), 0u);
  EXPECT_EQ(Log(0x1p-126f), static_cast<float>(-126 * std::numbers::ln2));
  EXPECT_TRUE(std::isfinite(Log(std::numeric_limits<float>::max())));
  EXPECT_EQ(Log(kInf), kInf);
  for (const float zero : {0.0f, -0.0f, 0x1p-127f, -0x1p-127f}) EXPECT_EQ(Log(zero), -kInf);
  for (const float bad : {-1.0f, -kInf, std::nanf("")}) EXPECT_TRUE(std::isnan(Log(bad)));
}

// Rule 15 spelled out, bit for bit, and close to the real thing.
TEST(LogSumExpTest, IsTheRowSumOfExpsInItsOrder) {
  Rng rng(12);
  for (const size_t n : {1, 2, 15, 16, 17, 1000, 50001}) {
    std::vector<float> x(n), exps(n);
    for (float& v : x) v = static_cast<float>(rng.Uniform() * 60 - 50);
    if (n > 2) x[n / 2] = -std::numeric_limits<float>::infinity();
    const float max = *std::max_element(x.begin(), x.end());
    double exact = 0;
    for (size_t i = 0; i < n; ++i) {
      exps[i] = x[i] - max < -40 ? 0 : Exp(x[i] - max);
      exact += std::exp(static_cast<double>(x[i]) - max);
    }
    EXPECT_EQ(LogSumExp(x.data(), n, max), Log(RowSum(exps.data(), n)));
    EXPECT_NEAR(LogSumExp(x.data(), n, max), std::log(exact), 3e-6) << n;
  }
}

TEST(SiluTest, StaysBelowTwoAndAHalfUlps) {
  double worst = 0;
  for (uint32_t bits = 0x3a800000; bits < 0x42ae0000; bits += 991) {
    for (const float x : {std::bit_cast<float>(bits), -std::bit_cast<float>(bits)}) {
      const double exact = x / (1 + std::exp(-static_cast<double>(x)));
      worst = std::max(worst, Ulps(Silu(x), exact));
    }
  }
  EXPECT_LT(worst, 2.5);
}

TEST(GeluTest, StaysWithinItsBounds) {
  double near = 0, far = 0, absolute = 0;
  for (uint32_t bits = 0x3a800000; bits < 0x41200000; bits += 991) {
    for (const float x : {std::bit_cast<float>(bits), -std::bit_cast<float>(bits)}) {
      const double wide = x;
      const double u = std::sqrt(2 / M_PI) * (wide + 0.044715 * wide * wide * wide);
      const double exact = wide / (1 + std::exp(-2 * u));
      const double error = std::fabs(static_cast<double>(Gelu(x)) - exact);
      if (x >= -1) near = std::max(near, Ulps(Gelu(x), exact));
      if (x < -1 && std::fabs(exact) > 0x1p-64) far = std::max(far, error / std::fabs(exact));
      if (x < 0) absolute = std::max(absolute, error);
    }
  }
  EXPECT_LT(near, 4.0);
  EXPECT_LT(far, 0x1p-17);
  EXPECT_LT(absolute, 0x1p-24);
  EXPECT_GT(far, 0x1p-19);  // the bounds are tight: another order would be another arithmetic
}

TEST(GeluTest, HasExactEnds) {
  EXPECT_EQ(Gelu(0.0f), 0.0f);
  EXPECT_EQ(Gelu(20.0f), 20.0f);
  EXPECT_EQ(Gelu(1e30f), 1e30f);
  EXPECT_EQ(Gelu(-20.0f), 0.0f);
  EXPECT_EQ(Gelu(-1e30f), 0.0f);
  EXPECT_TRUE(std::isnan(Gelu(std::nanf(""))));
}

TEST(SigmoidTest, StaysBelowTwoAndAHalfUlpsAndHasExactEnds) {
  double worst = 0;
  for (uint32_t bits = 0x3a800000; bits < 0x42300000; bits += 991) {
    for (const float x : {std::bit_cast<float>(bits), -std::bit_cast<float>(bits)}) {
      worst = std::max(worst, Ulps(Sigmoid(x), 1 / (1 + std::exp(-static_cast<double>(x)))));
    }
  }
  EXPECT_LT(worst, 2.5);
  EXPECT_EQ(Sigmoid(0.0f), 0.5f);
  EXPECT_EQ(Sigmoid(100.0f), 1.0f);
  EXPECT_EQ(std::bit_cast<uint32_t>(Sigmoid(-45.0f)), 0u);
  EXPECT_TRUE(std::isnan(Sigmoid(std::nanf(""))));
}

TEST(RowSumTest, CombinesSixteenLanesByHalves) {
  // Lanes 0 and 8 cancel only when they meet directly; any other order loses the 1.
  float x[17] = {};
  x[0] = 1e8f;
  x[8] = -1e8f;
  x[1] = 1;
  EXPECT_EQ(RowSum(x, 17), 1.0f);
  float y[16] = {};
  y[0] = 1e8f;
  y[1] = -1e8f;
  y[9] = 1;  // joins lane 1 first: -1e8 + 1 rounds to -1e8
  EXPECT_EQ(RowSum(y, 16), 0.0f);
  EXPECT_EQ(RowSum(x, 0), 0.0f);
}

TEST(Binary64Test, SinAndCosAgreeWithLibm) {
  double worst = 0;
  Rng rng(1);
  for (int i = 0; i < 200000; ++i) {
    const double x = i < 1000 ? i * 0.7853981633974483 : rng.Uniform() * std::exp2(rng.Below(21));
    const SinCos got = SinCosOf(x);
    worst = std::max({worst, std::fabs(got.sin - std::sin(x)), std::fabs(got.cos - std::cos(x))});
  }
  EXPECT_LT(worst, 0x1p-51);
}

TEST(Binary64Test, PowersAgreeWithLongDouble) {
  long double worst = 0;
  for (const double base : {1.5, 2.0, 1e4, 5e5, 1e6, 1e7}) {
    for (int dim = 2; dim <= 256; dim += 2) {
      for (int i = 0; i < dim; i += 2) {
        const long double exact =
            std::pow(static_cast<long double>(base), -static_cast<long double>(i) / dim);
        worst = std::max(worst, std::fabs(InversePower(base, i, dim) / exact - 1));
      }
    }
  }
  EXPECT_LT(worst, 0x1p-51L);
}

TEST(RopeTest, TablesAreRoundedOnce) {
  const auto frequencies = RopeFrequencies(128, 500000, 1, nullptr);
  EXPECT_EQ(frequencies[0], 1.0);
  float cos[64], sin[64];
  int wrong = 0;
  for (size_t position = 0; position < 1u << 20; position += 9973) {
    RopeAngles(frequencies, position, cos, sin);
    for (int i = 0; i < 64; ++i) {
      const long double angle =
          position * std::pow(500000.0L, -static_cast<long double>(2 * i) / 128);
      wrong += cos[i] != static_cast<float>(std::cos(angle));
      wrong += sin[i] != static_cast<float>(std::sin(angle));
    }
  }
  EXPECT_LE(wrong, 3);  // of 13568: not the correctly rounded value
}

TEST(RopeTest, FactorsDivideAndScaleMultiplies) {
  const float factors[2] = {4, 1};
  const auto frequencies = RopeFrequencies(4, 10000, 0.5, factors);
  EXPECT_EQ(frequencies[0], 0.125);
  EXPECT_NEAR(frequencies[1], 0.005, 1e-16);
}

TEST(FloatModeTest, IsSetPerThread) {
  SetFloatMode();
  EXPECT_TRUE(FloatModeIsRight());
}

}  // namespace
}  // namespace exo::kernels
