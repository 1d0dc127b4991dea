#include "node/known_speed.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "sys/files.h"

namespace exo::node {
namespace {

// A device whose next measurement is known.
class FakeBackend final : public backend::Backend {
 public:
  std::string Describe() const override { return "fake"; }
  const backend::DeviceInfo& device() const override { return device_; }
  NumericsId Numerics() const override { return {}; }
  Result<backend::Speed> MeasureSpeed() override { return next; }
  Result<backend::WorkCosts> MeasureCosts() override { return costs; }
  void SetCosts(backend::WorkCosts wanted) override { set = std::move(wanted); }
  backend::WorkDone TakeWork() override { return {}; }
  uint64_t items_done() const override { return 0; }
  std::chrono::nanoseconds busy() const override { return {}; }
  std::string_view layout() const override { return ""; }
  backend::StageBytes Estimate(const backend::StageSpec&) const override { return {}; }
  Result<std::unique_ptr<backend::StageCompute>> Load(
      const backend::StageSpec&, backend::TensorSource&,
      const std::function<void(uint64_t, uint64_t)>&, const std::atomic<bool>*) override {
    return Fail(ErrorCode::kUnsupported, "a fake loads nothing");
  }

  Result<backend::Speed> next = backend::Speed{};
  backend::WorkCosts costs, set;

 private:
  backend::DeviceInfo device_{.name = "fake", .isa = "none", .cores = 2};
};

class KnownSpeedTest : public testing::Test {
 protected:
  KnownSpeedTest() {
    std::filesystem::create_directories(folder_);
    state_ = store::State::Open(folder_ / "state.db").value();
  }
  ~KnownSpeedTest() override {
    state_.reset();
    std::filesystem::remove_all(folder_);
  }

  const std::filesystem::path folder_ = std::filesystem::temp_directory_path() /
                                        ("exo-speed-test-" + sys::RandomValue<NodeId>().Hex());
  std::unique_ptr<store::State> state_;
  FakeBackend backend_;
};

TEST_F(KnownSpeedTest, TheLatestMeasurementCounts) {
  EXPECT_FALSE(KnownSpeed(backend_, *state_, {}));
  for (const double gbps : {26.0, 9.25}) {
    backend_.next = backend::Speed{.decode_gbps = gbps, .prefill_gops = 400};
    EXPECT_EQ(MeasureSpeed(backend_, *state_, {})->decode_gbps, gbps);
    const auto known = KnownSpeed(backend_, *state_, {});
    ASSERT_TRUE(known);
    EXPECT_EQ(known->decode_gbps, gbps);
    EXPECT_EQ(known->prefill_gops, 400);
  }
}

TEST_F(KnownSpeedTest, WhatWasMeasuredUnderAnotherQuotaIsNotKnown) {
  const sys::CpuQuota quota{.cores = 0.3, .period = std::chrono::milliseconds(100)};
  backend_.next = backend::Speed{.decode_gbps = 9, .prefill_gops = 400};
  ASSERT_TRUE(MeasureSpeed(backend_, *state_, quota));
  EXPECT_EQ(KnownSpeed(backend_, *state_, quota)->decode_gbps, 9);
  EXPECT_FALSE(KnownSpeed(backend_, *state_, {}));
  EXPECT_FALSE(KnownSpeed(backend_, *state_, sys::CpuQuota{.cores = 0.5}));
}

TEST_F(KnownSpeedTest, AMeasurementBesideOtherWorkIsUsedButNotKept) {
  backend_.next = backend::Speed{.decode_gbps = 9, .prefill_gops = 400};
  ASSERT_TRUE(MeasureSpeed(backend_, *state_, {}));
  backend_.next = backend::Speed{.decode_gbps = 4, .prefill_gops = 100, .alone = false};
  EXPECT_EQ(MeasureSpeed(backend_, *state_, {})->decode_gbps, 4);
  EXPECT_EQ(KnownSpeed(backend_, *state_, {})->decode_gbps, 9);
}

TEST_F(KnownSpeedTest, AFailedMeasurementLeavesWhatIsKnown) {
  backend_.next = backend::Speed{.decode_gbps = 9, .prefill_gops = 400};
  ASSERT_TRUE(MeasureSpeed(backend_, *state_, {}));
  backend_.next = Fail(ErrorCode::kIo, "no");
  EXPECT_FALSE(MeasureSpeed(backend_, *state_, {}));
  EXPECT_EQ(KnownSpeed(backend_, *state_, {})->decode_gbps, 9);
}

TEST_F(KnownSpeedTest, CostsAreRememberedAndToldToTheBackend) {
  EXPECT_FALSE(KnownCosts(backend_, *state_));
  backend_.costs = {
      .layer_bytes = 1500000,
      .formats = {{tensor::DType::kQ6_K, 1.333, 1.125}, {tensor::DType::kF16, 2, 0.5}}};
  EXPECT_EQ(MeasureCosts(backend_, *state_), backend_.costs);
  EXPECT_EQ(backend_.set, backend_.costs);
  backend_.set = {};
  EXPECT_EQ(KnownCosts(backend_, *state_), backend_.costs);
  EXPECT_EQ(backend_.set, backend_.costs);
}

TEST_F(KnownSpeedTest, DamagedCostsAreMeasuredAgain) {
  for (const char* damaged : {"", "x", "1000 2", "1000 2 1.5", "1000 99 1 1"}) {
    ASSERT_TRUE(state_->Set("costs/1/fake/none/2", damaged));
    EXPECT_FALSE(KnownCosts(backend_, *state_)) << damaged;
  }
}

}  // namespace
}  // namespace exo::node
