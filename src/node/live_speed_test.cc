#include "node/live_speed.h"

#include <gtest/gtest.h>

namespace exo::node {
namespace {

// Seconds of work at these speeds, which fill a part of the time. Returns how often the figures
// changed.
int Work(LiveSpeed& live, double seconds, const backend::Speed& real, double part = 1) {
  int changes = 0;
  for (double done = 0; done < seconds; done += part) {
    const double half = part / 2;
    changes += live.Learn({.decode_bytes = real.decode_gbps * 1e9 * half,
                           .decode_seconds = half,
                           .prefill_ops = real.prefill_gops * 1e9 * half,
                           .prefill_seconds = half,
                           .busy_seconds = part},
                          1);
  }
  return changes;
}

TEST(LiveSpeedTest, AWrongFigureHealsWithinTwentySecondsOfWork) {
  for (const double wrong : {0.25, 0.5, 2.0, 4.0}) {
    LiveSpeed live;
    live.SetMeasured({.decode_gbps = 20 * wrong, .prefill_gops = 400 * wrong});
    const int changes = Work(live, 40, {.decode_gbps = 20, .prefill_gops = 400});  // 20 s of each
    EXPECT_NEAR(live.known().decode_gbps, 20, 3) << wrong;
    EXPECT_NEAR(live.known().prefill_gops, 400, 60) << wrong;
    EXPECT_LE(changes, 24) << wrong;
  }
}

TEST(LiveSpeedTest, SmallDifferencesAreNoNews) {
  LiveSpeed live;
  live.SetMeasured({.decode_gbps = 20, .prefill_gops = 400});
  EXPECT_EQ(Work(live, 30, {.decode_gbps = 18.5, .prefill_gops = 430}), 0);
  EXPECT_EQ(live.known().decode_gbps, 20);
}

TEST(LiveSpeedTest, WorkWithPausesProvesOnlyThatADeviceIsSlower) {
  LiveSpeed live;
  live.SetMeasured({.decode_gbps = 5, .prefill_gops = 100});
  EXPECT_EQ(Work(live, 40, {.decode_gbps = 20, .prefill_gops = 400}, 0.25), 0);
  EXPECT_EQ(live.known().decode_gbps, 5);
  Work(live, 40, {.decode_gbps = 2, .prefill_gops = 40}, 0.25);
  EXPECT_NEAR(live.known().decode_gbps, 2, 0.65);
  EXPECT_NEAR(live.known().prefill_gops, 40, 13);
}

TEST(LiveSpeedTest, AnotherQuotaIsKnownAtOnce) {
  LiveSpeed live;
  live.SetMeasured({.decode_gbps = 20, .prefill_gops = 400});
  live.SetDuty(0.3);
  EXPECT_NEAR(live.known().decode_gbps, 6, 1e-9);
  EXPECT_NEAR(live.known().prefill_gops, 120, 1e-9);
  EXPECT_EQ(Work(live, 20, {.decode_gbps = 6, .prefill_gops = 120}), 0);
  live.SetDuty(1);
  EXPECT_NEAR(live.known().decode_gbps, 20, 1e-9);
}

TEST(LiveSpeedTest, TimesThatScatterDoNotPullTheFigureDown) {
  LiveSpeed live;
  live.SetMeasured({.decode_gbps = 10, .prefill_gops = 100});
  for (int i = 0; i < 100; ++i) Work(live, 0.5, {10 * (i % 2 ? 1.1 : 0.9), 100}, 0.5);
  EXPECT_EQ(live.known().decode_gbps, 10);
}

TEST(LiveSpeedTest, AMeasurementBeginsAnew) {
  LiveSpeed live;
  EXPECT_EQ(Work(live, 10, {.decode_gbps = 20, .prefill_gops = 400}), 0);
  EXPECT_EQ(live.known().decode_gbps, 0);
  live.SetMeasured({.decode_gbps = 20, .prefill_gops = 400});
  Work(live, 40, {.decode_gbps = 5, .prefill_gops = 100});
  live.SetMeasured({.decode_gbps = 19, .prefill_gops = 390});
  EXPECT_EQ(live.known().decode_gbps, 19);
  EXPECT_EQ(live.known().prefill_gops, 390);
}

}  // namespace
}  // namespace exo::node
