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

TEST(DescribeTest, HealthSaysWhatIsKnownAndWhatIsOffered) {
  EXPECT_EQ(DescribeHealth({}), "");
  EXPECT_EQ(DescribeHealth({.power = wire::PowerSource::kMains, .heat = wire::Heat::kCool}),
            "plugged in; cool");
  EXPECT_EQ(DescribeHealth({.power = wire::PowerSource::kBattery,
                            .charge = 60,
                            .heat = wire::Heat::kHot,
                            .owner = wire::Presence::kPresent,
                            .other_load = 0.25,
                            .withheld = 40,
                            .reasons = wire::kOnBattery | wire::kTooHot | wire::kOwnerWorks}),
            "on battery, 60 %; hot; in use; other programs take 25 %; offers 60 % of its speed "
            "(battery, heat, its owner works)");
  EXPECT_EQ(DescribeHealth({.power = wire::PowerSource::kBattery,
                            .charge = 20,
                            .withheld = 100,
                            .reasons = wire::kLowCharge}),
            "on battery, 20 %; offers nothing (low charge)");
  EXPECT_EQ(DescribeHealth({.withheld = 100, .reasons = wire::kOutsideHours}),
            "offers nothing (not its hours)");
  EXPECT_EQ(DescribeHealth({.withheld = 100, .reasons = 1u << 30}), "offers nothing");
}

}  // namespace
}  // namespace exo::cluster
