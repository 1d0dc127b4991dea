#include "backend/sampling.h"

#include <gtest/gtest.h>

namespace exo::backend {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// A device in virtual time, whose quota gives a burst at the begin of each period and then nothing.
class FakeDevice {
 public:
  FakeDevice(Time period, double share)
      : period_(period), burst_(std::chrono::duration_cast<Time>(period * share)) {}

  void Compute(Time busy) {
    while (busy > Time::zero()) {
      const Time into = now_ % period_;
      if (into >= burst_) {
        now_ += period_ - into;
        continue;
      }
      const Time step = std::min(busy, burst_ - into);
      now_ += step;
      busy -= step;
    }
  }
  void Wait(Time time) { now_ += time; }
  Time now() const { return now_; }

 private:
  const Time period_, burst_;
  Time now_ = microseconds(12'345);  // periods are not those of the sampling
};

// Two works that need 0.2 and 0.45 ms undisturbed, with amounts of as many microseconds: each has a
// rate of 1e6 a second times what the device gives.
std::vector<double> RatesOn(
    FakeDevice& device, const Sampling& sampling, const std::function<void()>& also = [] {}) {
  const auto work = [&](int us) {
    return SampledWork{[&device, &also, us] {
                         also();
                         device.Compute(microseconds(us));
                       },
                       static_cast<double>(us)};
  };
  const std::vector<SampledWork> works = {work(200), work(450)};
  return SustainedRates(works, sampling, [&] { return device.now(); });
}

TEST(SamplingTest, TwentyPeriodsInTwoSecondsAtMost) {
  const auto of = [](Time period) { return SamplingFor(sys::CpuQuota{0.5, period}); };
  EXPECT_EQ(of(milliseconds(100)).period, milliseconds(100));
  EXPECT_EQ(of(milliseconds(100)).periods, 20u);
  EXPECT_EQ(of(milliseconds(10)).period, milliseconds(50));
  EXPECT_EQ(of(milliseconds(30)).period, milliseconds(60));
  EXPECT_EQ(of(milliseconds(30)).periods, 20u);
  EXPECT_EQ(of(milliseconds(500)).periods, 4u);
  EXPECT_EQ(of(std::chrono::seconds(10)).periods, 1u);
  const Sampling without = SamplingFor(std::nullopt);
  EXPECT_EQ(without.period * without.periods, milliseconds(500));
}

TEST(SamplingTest, AQuotaTakesTheRestOfTheTime) {
  EXPECT_EQ(DutyUnder(std::nullopt, 4), 1);
  EXPECT_EQ(DutyUnder(sys::CpuQuota{.cores = 0.5}, 1), 0.5);
  EXPECT_EQ(DutyUnder(sys::CpuQuota{.cores = 3}, 4), 0.75);
  EXPECT_EQ(DutyUnder(sys::CpuQuota{.cores = 8}, 4), 1);
}

TEST(SamplingTest, TheShareOfAQuotaCounts) {
  for (const Time period : {milliseconds(10), milliseconds(100), milliseconds(1000)}) {
    for (const double share : {1.0, 0.5, 0.25, 0.1}) {
      FakeDevice device(period, share);
      const auto rates = RatesOn(device, SamplingFor(sys::CpuQuota{share, period}));
      for (const double rate : rates) EXPECT_NEAR(rate, share * 1e6, share * 0.03e6) << share;
    }
  }
}

TEST(SamplingTest, AQuotaThatTheSystemDoesNotShowCountsToo) {
  FakeDevice device(milliseconds(20), 0.5);
  const auto rates = RatesOn(device, SamplingFor(std::nullopt));
  for (const double rate : rates) EXPECT_NEAR(rate, 0.5e6, 0.15e6);
}

TEST(SamplingTest, ADisturbanceOfAFewPeriodsIsNotMeasured) {
  FakeDevice device(milliseconds(100), 1);
  int turn = 0;
  const auto rates = RatesOn(device, SamplingFor(std::nullopt), [&] {
    if (++turn % 400 == 0) device.Wait(milliseconds(20));
  });
  for (const double rate : rates) EXPECT_NEAR(rate, 1e6, 0.03e6);
}

TEST(SamplingTest, WhatAlwaysComesBetweenIsMeasured) {
  FakeDevice device(milliseconds(100), 1);
  int turn = 0;
  const auto rates = RatesOn(device, SamplingFor(std::nullopt), [&] {
    if (++turn % 10 == 0) device.Wait(microseconds(3250));  // of ten passes, which take as long
  });
  for (const double rate : rates) EXPECT_NEAR(rate, 0.5e6, 0.03e6);
}

}  // namespace
}  // namespace exo::backend
