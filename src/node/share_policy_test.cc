#include "node/share_policy.h"

#include <gtest/gtest.h>

namespace exo::node {
namespace {

using std::chrono::seconds;
using sys::HeatState;
using sys::PowerState;

constexpr uint32_t kNoon = 12 * 60;
constexpr Time kStart = seconds(1000);

wire::HealthRecord JudgeOnce(const ShareSettings& settings, const sys::Health& health,
                             std::optional<bool> works = {}, uint32_t minute = kNoon) {
  return SharePolicy(settings).Judge(health, works, minute, kStart);
}

TEST(SharePolicyTest, SmallChangesOfHeatAndMemoryAreNoNews) {
  SharePolicy policy({});
  const auto told = [&](uint32_t celsius, uint64_t memory) {
    return policy.Judge({.celsius = celsius, .memory_used = memory}, {}, kNoon, kStart);
  };
  EXPECT_EQ(told(50, 1u << 30).celsius, 50u);
  EXPECT_EQ(told(52, (1u << 30) + 1), told(49, (1u << 30) - 1));
  EXPECT_EQ(told(54, 1u << 30).celsius, 54u);
  EXPECT_EQ(told(54, 2u << 30).memory_used, 2u << 30);
}

TEST(SharePolicyTest, WhatIsUnknownHoldsNothingBack) {
  EXPECT_EQ(JudgeOnce({}, {}), wire::HealthRecord{});
  const auto told =
      JudgeOnce({}, {.power = PowerState::kMains, .charge = 3, .heat = HeatState::kCool}, false);
  EXPECT_EQ(told.withheld, 0u);
  EXPECT_EQ(told.power, wire::PowerSource::kMains);
  EXPECT_EQ(told.charge, 0u);
  EXPECT_EQ(told.heat, wire::Heat::kCool);
  EXPECT_EQ(told.owner, wire::Presence::kAway);
}

TEST(SharePolicyTest, TheSmallestShareCountsAndAllReasonsAreTold) {
  const ShareSettings settings{.battery_share = 80, .hot_share = 40, .owner_share = 60};
  const auto told = JudgeOnce(
      settings, {.power = PowerState::kBattery, .charge = 90, .heat = HeatState::kHot}, true);
  EXPECT_EQ(told.withheld, 60u);
  EXPECT_EQ(told.reasons, wire::kOnBattery | wire::kTooHot | wire::kOwnerWorks);
  EXPECT_EQ(JudgeOnce({.owner_share = 100}, {}, true).reasons, 0u);
  EXPECT_EQ(JudgeOnce({.owner_share = 0}, {}, true).withheld, wire::kAllWithheld);
}

TEST(SharePolicyTest, BelowTheLeastChargeABatteryGivesNothingUntilItIsChargedAgain) {
  SharePolicy policy({.battery_share = 100});
  Time now = kStart;
  const auto withheld = [&](PowerState power, uint32_t charge) {
    now += seconds(61);
    return policy.Judge({.power = power, .charge = charge}, {}, kNoon, now).withheld;
  };
  EXPECT_EQ(withheld(PowerState::kBattery, 30), 0u);
  EXPECT_EQ(withheld(PowerState::kBattery, 29), 100u);
  withheld(PowerState::kBattery, 34);
  EXPECT_EQ(withheld(PowerState::kBattery, 34), 100u);
  withheld(PowerState::kBattery, 35);
  EXPECT_EQ(withheld(PowerState::kBattery, 35), 0u);
  EXPECT_EQ(withheld(PowerState::kBattery, 5), 100u);
  withheld(PowerState::kMains, 5);
  EXPECT_EQ(withheld(PowerState::kMains, 5), 0u);
}

TEST(SharePolicyTest, AFullBatteryIsEnoughForAnyLeastCharge) {
  EXPECT_EQ(JudgeOnce({.min_charge = 100, .battery_share = 100},
                      {.power = PowerState::kBattery, .charge = 100})
                .withheld,
            0u);
}

TEST(SharePolicyTest, AShareFallsAtOnceAndGrowsWhenItHasBeenCalmForAMinute) {
  SharePolicy policy({});
  const auto at = [&](int second, HeatState heat) {
    return policy.Judge({.heat = heat}, {}, kNoon, kStart + seconds(second)).withheld;
  };
  EXPECT_EQ(at(0, HeatState::kCool), 0u);
  EXPECT_EQ(at(5, HeatState::kHot), 50u);
  EXPECT_EQ(at(10, HeatState::kCool), 50u);
  EXPECT_EQ(at(60, HeatState::kHot), 50u);  // begins anew
  EXPECT_EQ(at(65, HeatState::kCool), 50u);
  EXPECT_EQ(at(124, HeatState::kCool), 50u);
  EXPECT_EQ(at(125, HeatState::kCool), 0u);
}

TEST(SharePolicyTest, BeyondItsHoursADeviceGivesNothing) {
  const ShareSettings night{.hours = {{22 * 60, 7 * 60}, {12 * 60, 13 * 60}}};
  for (const uint32_t hour : {22u, 23u, 0u, 6u, 12u})
    EXPECT_EQ(JudgeOnce(night, {}, {}, hour * 60).withheld, 0u) << hour;
  for (const uint32_t hour : {7u, 11u, 13u, 21u})
    EXPECT_EQ(JudgeOnce(night, {}, {}, hour * 60).reasons, wire::kOutsideHours) << hour;
}

TEST(SharePolicyTest, SmallChangesAreNoNews) {
  SharePolicy policy({});
  const auto judge = [&](uint32_t charge, double load) {
    return policy.Judge({.power = PowerState::kMains, .charge = charge, .other_load = load}, {},
                        kNoon, kStart);
  };
  const auto first = judge(62, 0.05);
  EXPECT_EQ(first.charge, 60u);
  EXPECT_EQ(first.other_load, 0);
  EXPECT_EQ(judge(64, 0.19), first);
  EXPECT_EQ(judge(65, 0.3).charge, 65u);
  EXPECT_EQ(judge(65, 0.1).other_load, 0.25);
  EXPECT_EQ(judge(65, 0.02).other_load, 0);
}

TEST(SharePolicyTest, HoursAreTwoTimesOfDay) {
  EXPECT_EQ(ParseDayHours("22:00-07:30").value(), (DayHours{22 * 60, 7 * 60 + 30}));
  EXPECT_EQ(ParseDayHours("00:00-24:00").value(), (DayHours{0, 0}));
  EXPECT_TRUE(ParseDayHours("00:00-24:00")->Contains(kNoon));
  for (const char* text :
       {"", "22-7", "22:00", "22:00-", "22:00-7:00", "25:00-07:00", "22:60-07:00", "22:00_07:00",
        "22:00-07:00 ", "-1:00-07:00", "+1:00-07:00", "ab:cd-ef:gh"}) {
    const auto hours = ParseDayHours(text);
    ASSERT_FALSE(hours) << text;
    EXPECT_NE(hours.error().message.find(text), std::string::npos);
  }
}

}  // namespace
}  // namespace exo::node
