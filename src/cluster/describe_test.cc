#include "cluster/describe.h"

#include <gtest/gtest.h>

namespace exo::cluster {
namespace {

std::string StateText(wire::InstanceSummary summary) {
  return DescribeState(summary, [](const NodeId&) { return std::string("desk"); });
}

// Shown in brackets behind the state's name, which is not said twice.
TEST(DescribeTest, AStateSaysOnlyWhatItsNameDoesNot) {
  EXPECT_EQ(StateText({.state = wire::InstanceState::kReserving}), "");
  EXPECT_EQ(StateText({.state = wire::InstanceState::kLoading}), "");
  EXPECT_EQ(StateText({.state = wire::InstanceState::kReady}), "");
  wire::InstanceSummary loading{.state = wire::InstanceState::kLoading, .loading_percent = 40};
  loading.loading.bytes[0] = 1;
  EXPECT_EQ(StateText(loading), "desk at 40 %");
  wire::Cause unloaded{.reason = wire::Reason::kUnloaded};
  EXPECT_EQ(StateText({.state = wire::InstanceState::kDraining, .cause = unloaded}),
            "the model was unloaded");
}

TEST(DescribeTest, APlacementSaysWhatItsWireCosts) {
  wire::Plan plan{.stages = {{.layer_end = 3}, {.layer_begin = 3, .layer_end = 6}},
                  .codec = wire::Codec::kInt8};
  const wire::Expectation expected{.basis = wire::PlanBasis::kSpread};
  const auto text = [&] {
    return DescribePlacement(plan, expected, [](const NodeId&) { return std::string("desk"); });
  };
  EXPECT_TRUE(text().contains("; int8 wire: answers differ from those of one device")) << text();
  EXPECT_TRUE(text().contains("% of exo-tiny's next tokens")) << text();
  plan.codec = wire::Codec::kF32;
  EXPECT_FALSE(text().contains("wire")) << text();
  plan.codec = wire::Codec::kInt8;
  plan.stages.resize(1);
  EXPECT_FALSE(text().contains("wire")) << text();
}

}  // namespace
}  // namespace exo::cluster
