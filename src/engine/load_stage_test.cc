#include "engine/load_stage.h"

#include <gtest/gtest.h>

#include "backend/devices.h"
#include "backend/test_model.h"
#include "base/units.h"

namespace exo::engine {
namespace {

using backend::TestModel;
using tensor::DType;

// The test model's tensors, lent.
class LentSource final : public backend::TensorSource {
 public:
  explicit LentSource(backend::TensorSource& source) : source_(source) {}
  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                          uint64_t bytes) override {
    return source_.Read(tensor, offset, bytes);
  }
  void Done(const model::TensorRef&, uint64_t, uint64_t) override {}

 private:
  backend::TensorSource& source_;
};

class TestSource final : public StageSource {
 public:
  explicit TestSource(TestModel& model) : model_(model) {}
  Result<ModelParts> Describe(const std::atomic<bool>*) override {
    return ModelParts{.config = model_.config, .tensors = model_.tensors};
  }
  Result<std::unique_ptr<backend::TensorSource>> Fetch(const backend::StageSpec&, const Progress&,
                                                       const std::atomic<bool>*) override {
    ++fetches;
    return std::make_unique<LentSource>(model_.source);
  }
  int fetches = 0;

 private:
  TestModel& model_;
};

class LoadStageTest : public testing::Test {
 protected:
  wire::Plan PlanWith(uint64_t bytes) const {
    wire::Plan plan{.model_name = "tiny", .layers = 5, .context = 64, .kv_pages = 2, .chunk = 32};
    plan.stages = {{.layer_begin = 0, .layer_end = 5, .bytes = bytes}};
    return plan;
  }
  // What the stage takes.
  uint64_t Need() const {
    const backend::StageBytes bytes = backend_->Estimate({.config = model_.config,
                                                          .tensors = model_.tensors,
                                                          .layer_begin = 0,
                                                          .layer_end = 5,
                                                          .lead = true,
                                                          .chunk = 32});
    return bytes.weights + bytes.scratch + 512 * bytes.kv_per_position;
  }
  Result<void> Load(const wire::Plan& plan) {
    auto loaded = LoadStage(source_, *backend_, plan, 0, [](uint64_t, uint64_t) {}, nullptr);
    if (!loaded) return std::unexpected(loaded.error());
    return {};
  }

  TestModel model_{DType::kQ4_0, DType::kQ8_0, backend::Kind::kLlama};
  TestSource source_{model_};
  std::unique_ptr<backend::Backend> backend_ = *backend::MakeBackend({.threads = 1});
};

TEST_F(LoadStageTest, AStageThatFitsItsReservationLoads) {
  EXPECT_TRUE(Load(PlanWith(Need())));
  EXPECT_EQ(source_.fetches, 1);
}

// The owner claims bytes and the participants grant them: the loader takes no more.
TEST_F(LoadStageTest, MoreThanThePlanReservesIsRefusedBeforeAnythingIsFetched) {
  for (const uint64_t bytes : {uint64_t{1}, Need() / 2, Need() * 8 / 10}) {
    const auto loaded = Load(PlanWith(bytes));
    ASSERT_FALSE(loaded) << bytes;
    EXPECT_EQ(loaded.error().code, ErrorCode::kOverloaded);
    EXPECT_NE(loaded.error().message.find("the plan reserves"), std::string::npos)
        << loaded.error().message;
  }
  EXPECT_EQ(source_.fetches, 0);
}

// What the plan says of the disk is what the stage does, with the memory that this takes.
TEST_F(LoadStageTest, LayersThatThePlanReadsFromDiskAreNotHeld) {
  wire::Plan plan = PlanWith(Need() + 8 * kMiB);  // for what waits to be packed
  plan.stages[0].streamed = 4;
  auto loaded = LoadStage(source_, *backend_, plan, 0, [](uint64_t, uint64_t) {}, nullptr);
  ASSERT_TRUE(loaded) << loaded.error().message;
  const backend::StageBytes whole = backend_->Estimate({.config = model_.config,
                                                        .tensors = model_.tensors,
                                                        .layer_end = 5,
                                                        .lead = true,
                                                        .chunk = 32});
  EXPECT_LT((*loaded)->compute().weights_bytes(), whole.weights);
}

TEST_F(LoadStageTest, KvPositionsOfThePlanCount) {
  wire::Plan plan = PlanWith(Need());
  plan.kv_pages = 1 << 8;
  EXPECT_EQ(Load(plan).error().code, ErrorCode::kOverloaded);
}

}  // namespace
}  // namespace exo::engine
