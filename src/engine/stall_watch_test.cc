#include "engine/stall_watch.h"

#include <gtest/gtest.h>

namespace exo::engine {
namespace {

constexpr Time kSecond = std::chrono::seconds(1);

TEST(StallWatchTest, AStageThatComputesIsAliveHoweverSlow) {
  StallWatch watch;
  for (int i = 0; i < 3600; ++i)
    EXPECT_FALSE(watch.Tick(true, static_cast<uint64_t>(i / 20), i * kSecond)) << i;
}

TEST(StallWatchTest, WorkWithoutProgressIsNoticedAfterTheLimit) {
  StallWatch watch;
  EXPECT_FALSE(watch.Tick(true, 7, Time{}));
  int i = 1;
  while (!watch.Tick(true, 7, i * kSecond)) ASSERT_LT(++i, 100);
  EXPECT_EQ(i * kSecond, StallWatch::kLimit + kSecond);
}

TEST(StallWatchTest, AnIdleInstanceIsNeverHung) {
  StallWatch watch;
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(watch.Tick(false, 7, i * kSecond));
  EXPECT_FALSE(watch.Tick(true, 7, 101 * kSecond));
}

TEST(StallWatchTest, ASuspendedWatcherDoesNotBlameOthers) {
  StallWatch watch;
  EXPECT_FALSE(watch.Tick(true, 7, Time{}));
  EXPECT_FALSE(watch.Tick(true, 7, 3600 * kSecond));
}

}  // namespace
}  // namespace exo::engine
