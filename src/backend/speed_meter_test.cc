#include "backend/speed_meter.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>

namespace exo::backend {
namespace {

void Spend() {
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST(SpeedMeterTest, WorkIsCountedOnceWithItsTime) {
  SpeedMeter meter;
  for (int i = 0; i < 3; ++i) {
    SpeedMeter::Work work(meter);
    Spend();
    EXPECT_TRUE(work.alone());
    work.Done({.decode_bytes = 100});
  }
  {
    SpeedMeter::Work work(meter);
    Spend();
    work.Done({.prefill_ops = 7});
  }
  const WorkDone done = meter.Take();
  EXPECT_EQ(done.decode_bytes, 300);
  EXPECT_GE(done.decode_seconds, 0.003);
  EXPECT_EQ(done.prefill_ops, 7);
  EXPECT_GE(done.prefill_seconds, 0.001);
  EXPECT_NEAR(done.busy_seconds, done.decode_seconds + done.prefill_seconds, 1e-9);
  EXPECT_EQ(meter.Take().busy_seconds, 0);
}

TEST(SpeedMeterTest, WorkThatOverlapsSaysNothingButThatTheDeviceIsBusy) {
  SpeedMeter meter;
  std::optional<SpeedMeter::Work> first(std::in_place, meter);
  Spend();
  std::optional<SpeedMeter::Work> second(std::in_place, meter);
  EXPECT_FALSE(first->alone());
  EXPECT_FALSE(second->alone());
  Spend();
  first->Done({.decode_bytes = 1});
  Spend();
  second->Done({.prefill_ops = 1});
  const WorkDone done = meter.Take();
  EXPECT_EQ(done.decode_bytes, 0);
  EXPECT_EQ(done.prefill_ops, 0);
  EXPECT_GE(done.busy_seconds, 0.003);
}

TEST(SpeedMeterTest, WorkInProgressIsBusyTimeAlready) {
  SpeedMeter meter;
  SpeedMeter::Work work(meter);
  Spend();
  const double before = meter.Take().busy_seconds;
  EXPECT_GE(before, 0.001);
  work.Done({.decode_bytes = 5});
  const WorkDone done = meter.Take();
  EXPECT_GE(done.decode_seconds, before);
  EXPECT_LT(done.busy_seconds, done.decode_seconds);
}

TEST(SpeedMeterTest, WorkThatWasGivenUpIsNotCounted) {
  SpeedMeter meter;
  {
    const SpeedMeter::Work work(meter);
  }
  const WorkDone done = meter.Take();
  EXPECT_EQ(done.decode_seconds + done.prefill_seconds, 0);
}

}  // namespace
}  // namespace exo::backend
