#include "engine/stall_watch.h"

#include <gtest/gtest.h>

namespace exo::engine {
namespace {

constexpr Time kSecond = std::chrono::seconds(1);

TEST(StallWatchTest, AStageThatComputesIsAliveHoweverSlow) {
  StallWatch watch{StageTimers{}};
  for (int i = 0; i < 3600; ++i)
    EXPECT_FALSE(watch.Tick(true, static_cast<uint64_t>(i / 20), i * kSecond)) << i;
}

TEST(StallWatchTest, WorkWithoutProgressIsNoticedAfterTheLimit) {
  StallWatch watch{StageTimers{}};
  EXPECT_FALSE(watch.Tick(true, 7, Time{}));
  int i = 1;
  while (!watch.Tick(true, 7, i * kSecond)) ASSERT_LT(++i, 100);
  EXPECT_EQ(i * kSecond, StageTimers{}.stall + kSecond);
}

TEST(StallWatchTest, TheLimitsAreKnobs) {
  StallWatch watch{{.stall = 10 * kSecond, .stall_tick = 4 * kSecond}};
  EXPECT_FALSE(watch.Tick(true, 7, Time{}));
  EXPECT_FALSE(watch.Tick(true, 7, 100 * kSecond)) << "4 s of it count";
  EXPECT_FALSE(watch.Tick(true, 7, 106 * kSecond));
  EXPECT_TRUE(watch.Tick(true, 7, 109 * kSecond));
}

TEST(StallWatchTest, AnIdleInstanceIsNeverHung) {
  StallWatch watch{StageTimers{}};
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(watch.Tick(false, 7, i * kSecond));
  EXPECT_FALSE(watch.Tick(true, 7, 101 * kSecond));
}

TEST(StallWatchTest, ASuspendedWatcherDoesNotBlameOthers) {
  StallWatch watch{StageTimers{}};
  EXPECT_FALSE(watch.Tick(true, 7, Time{}));
  EXPECT_FALSE(watch.Tick(true, 7, 3600 * kSecond));
}

}  // namespace
}  // namespace exo::engine
