#include "engine/stage.h"

#include <gtest/gtest.h>

namespace exo::engine {
namespace {

RequestId Id(uint8_t number) {
  RequestId id;
  id.bytes[0] = number;
  return id;
}

wire::Step MakeStep(uint64_t number, std::vector<wire::StepItem> items,
                    std::vector<RequestId> close = {}) {
  return {.step = number, .items = std::move(items), .close = std::move(close)};
}

class StageTest : public testing::Test {
 protected:
  StageWork Run(const wire::Step& step) {
    auto work = stage_.BeginStep(step);
    EXPECT_TRUE(work) << work.error().message;
    stage_.CommitStep();
    return work ? *std::move(work) : StageWork{};
  }
  ErrorCode Refusal(const wire::Step& step) {
    const auto work = stage_.BeginStep(step);
    EXPECT_FALSE(work);
    return work ? ErrorCode::kIo : work.error().code;
  }
  StageMachine stage_{{.context = 32, .kv_positions = 64, .chunk = 16}};
};

TEST_F(StageTest, OpensContinuesAndClosesSequences) {
  StageWork work = Run(MakeStep(1, {{Id(1), 0, 5, 32, false}, {Id(2), 0, 3, 16, true}}));
  EXPECT_EQ(work.open.size(), 2u);
  EXPECT_EQ(work.rows, 8u);
  EXPECT_EQ(work.output_rows, std::vector<uint32_t>{7});
  work = Run(MakeStep(2, {{Id(1), 5, 1, 32, true}}));
  EXPECT_TRUE(work.open.empty());
  EXPECT_EQ(stage_.Length(Id(1)), 6u);
  work = Run(MakeStep(3, {}, {Id(1)}));
  EXPECT_EQ(work.close.size(), 1u);
  EXPECT_FALSE(stage_.Length(Id(1)));
  EXPECT_EQ(stage_.used_positions(), 16u);
}

TEST_F(StageTest, RefusesAGap) {
  Run(MakeStep(1, {{Id(1), 0, 5, 32, false}}));
  EXPECT_EQ(Refusal(MakeStep(2, {{Id(1), 6, 1, 32, false}})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(2, {{Id(1), 4, 1, 32, false}})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(2, {{Id(2), 1, 1, 32, false}})), ErrorCode::kInvalid);
  EXPECT_EQ(stage_.stats().refused, 3u);
  Run(MakeStep(2, {{Id(1), 5, 1, 32, false}}));
}

TEST_F(StageTest, DropsDuplicatesAndForeignPlans) {
  Run(MakeStep(4, {{Id(1), 0, 5, 32, false}}));
  EXPECT_TRUE(Run(MakeStep(4, {{Id(1), 0, 5, 32, false}})).duplicate);
  EXPECT_TRUE(Run(MakeStep(3, {{Id(1), 5, 5, 32, false}})).duplicate);
  EXPECT_EQ(stage_.Length(Id(1)), 5u);
  wire::Step foreign = MakeStep(5, {{Id(1), 5, 1, 32, false}});
  foreign.plan.bytes[0] = 1;
  EXPECT_EQ(Refusal(foreign), ErrorCode::kNotFound);
}

TEST_F(StageTest, NeverTakesMoreThanTheReservation) {
  EXPECT_EQ(Refusal(MakeStep(1, {{Id(1), 0, 1, 33, false}})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(1, {{Id(1), 0, 1, 0, false}})), ErrorCode::kInvalid);
  Run(MakeStep(1, {{Id(1), 0, 1, 32, false}, {Id(2), 0, 1, 32, false}}));
  EXPECT_EQ(Refusal(MakeStep(2, {{Id(3), 0, 1, 1, false}})), ErrorCode::kOverloaded);
  Run(MakeStep(2, {{Id(3), 0, 1, 32, false}}, {Id(1)}));
  EXPECT_EQ(Refusal(MakeStep(3, {{Id(2), 1, 32, 32, false}})), ErrorCode::kInvalid);
}

TEST_F(StageTest, HostileItemsAreErrors) {
  EXPECT_EQ(Refusal(MakeStep(1, {{Id(1), 0, 0, 32, false}})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(1, {{Id(1), 0, 17, 32, false}})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(1, {{Id(1), 0, 0xFFFFFFFF, 32, false}})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(1, {{Id(1), 0xFFFFFFFF, 1, 32, false}})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(1, {{Id(1), 0, 1, 32, false}, {Id(1), 1, 1, 32, false}})),
            ErrorCode::kInvalid);
  EXPECT_EQ(stage_.used_positions(), 0u);
}

TEST_F(StageTest, AStepThatWasNotComputedLeavesLengthsAsTheyWere) {
  Run(MakeStep(1, {{Id(1), 0, 5, 32, false}}));
  ASSERT_TRUE(stage_.BeginStep(MakeStep(2, {{Id(1), 5, 1, 32, false}})));
  EXPECT_EQ(Refusal(MakeStep(3, {{Id(1), 5, 1, 32, false}})), ErrorCode::kInvalid)
      << "one step at a time";
  stage_.AbortStep();
  EXPECT_EQ(stage_.Length(Id(1)), 5u);
}

TEST_F(StageTest, TruncateCutsAndNeverGrows) {
  Run(MakeStep(1, {{Id(1), 0, 5, 32, false}}));
  EXPECT_FALSE(stage_.Truncate(Id(1), 6));
  EXPECT_FALSE(stage_.Truncate(Id(2), 0));
  ASSERT_TRUE(stage_.Truncate(Id(1), 3));
  Run(MakeStep(2, {{Id(1), 3, 1, 32, false}}));
  EXPECT_EQ(stage_.CloseAll().size(), 1u);
  EXPECT_EQ(stage_.used_positions(), 0u);
}

}  // namespace
}  // namespace exo::engine
