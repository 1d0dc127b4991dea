#include "backend/cpu/measure_costs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "backend/devices.h"

namespace exo::backend {
namespace {

// On a busy machine any factor is possible, but not these.
TEST(MeasureCostsTest, EveryCommonFormatIsComparedOnce) {
  const auto backend = MakeBackend({.threads = std::getenv("THREADS") ? 2u : 1u}).value();
  const auto costs = backend->MeasureCosts();
  ASSERT_TRUE(costs) << costs.error().message;
  EXPECT_GE(costs->layer_bytes, 0);
  EXPECT_LT(costs->layer_bytes, 50e6);
  for (const FormatCost& one : costs->formats) {
    if (std::getenv("EXO_SHOW_COSTS") != nullptr) {
      std::printf("%s %.2f %.2f\n", tensor::Info(one.type).name.data(), one.decode, one.prefill);
    }
    EXPECT_EQ(std::ranges::count(costs->formats, one.type, &FormatCost::type), 1);
    EXPECT_GT(one.decode, 0.1) << tensor::Info(one.type).name;
    EXPECT_LT(one.decode, 20) << tensor::Info(one.type).name;
    EXPECT_GT(one.prefill, 0.1) << tensor::Info(one.type).name;
    EXPECT_LT(one.prefill, 20) << tensor::Info(one.type).name;
  }
  EXPECT_EQ(costs->Of(tensor::DType::kQ4_0), (FormatCost{}));
  if (std::getenv("EXO_SHOW_COSTS") != nullptr) std::printf("layer %.0f\n", costs->layer_bytes);
}

}  // namespace
}  // namespace exo::backend
