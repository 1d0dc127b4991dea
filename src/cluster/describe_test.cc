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

}  // namespace
}  // namespace exo::cluster
