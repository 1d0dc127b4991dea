#include "engine/stage.h"

#include <gtest/gtest.h>

#include "engine/test_ids.h"

namespace exo::engine {
namespace {

// `outputs`: the last so many rows.
wire::StepItem Item(uint8_t request, uint32_t first, uint32_t count, uint32_t outputs = 0) {
  return {.request = Id(request),
          .first = first,
          .count = count,
          .output_first = outputs == 0 ? 0 : count - outputs,
          .output_count = outputs};
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
    if (!work->duplicate) stage_.CommitStep();
    return work ? *std::move(work) : StageWork{};
  }
  ErrorCode Refusal(const wire::Step& step) {
    const auto work = stage_.BeginStep(step);
    EXPECT_FALSE(work);
    return work ? ErrorCode::kIo : work.error().code;
  }
  StageMachine stage_{{.context = 32, .pages = 8, .page = 8, .chunk = 16}};
};

TEST_F(StageTest, OpensContinuesAndClosesSequences) {
  StageWork work = Run(MakeStep(1, {Item(1, 0, 5), Item(2, 0, 3, 1)}));
  EXPECT_EQ(work.open.size(), 2u);
  EXPECT_EQ(work.rows, 8u);
  EXPECT_EQ(work.output_rows, std::vector<uint32_t>{7});
  work = Run(MakeStep(2, {Item(1, 5, 1, 1)}));
  EXPECT_TRUE(work.open.empty());
  EXPECT_EQ(stage_.Length(Id(1)), 6u);
  work = Run(MakeStep(3, {}, {Id(1)}));
  EXPECT_EQ(work.close.size(), 1u);
  EXPECT_FALSE(stage_.Length(Id(1)));
  EXPECT_EQ(stage_.used_pages(), 1u);
}

TEST_F(StageTest, RefusesAGap) {
  Run(MakeStep(1, {Item(1, 0, 5)}));
  EXPECT_EQ(Refusal(MakeStep(2, {Item(1, 6, 1)})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(2, {Item(1, 4, 1)})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(2, {Item(2, 1, 1)})), ErrorCode::kInvalid);
  EXPECT_EQ(stage_.stats().refused, 3u);
  Run(MakeStep(2, {Item(1, 5, 1)}));
}

TEST_F(StageTest, DropsDuplicatesAndForeignPlans) {
  Run(MakeStep(4, {Item(1, 0, 5)}));
  EXPECT_TRUE(Run(MakeStep(4, {Item(1, 0, 5)})).duplicate);
  EXPECT_TRUE(Run(MakeStep(3, {Item(1, 5, 5)})).duplicate);
  EXPECT_EQ(stage_.Length(Id(1)), 5u);
  wire::Step foreign = MakeStep(5, {Item(1, 5, 1)});
  foreign.plan.bytes[0] = 1;
  EXPECT_EQ(Refusal(foreign), ErrorCode::kNotFound);
}

TEST_F(StageTest, NeverTakesMoreThanTheReservation) {
  for (uint8_t i = 1; i <= 4; ++i) Run(MakeStep(i, {Item(i, 0, 16)}));
  EXPECT_EQ(stage_.used_pages(), 8u);
  EXPECT_EQ(Refusal(MakeStep(5, {Item(5, 0, 1)})), ErrorCode::kOverloaded);
  EXPECT_EQ(Refusal(MakeStep(5, {Item(1, 16, 1)})), ErrorCode::kOverloaded);
  Run(MakeStep(5, {Item(1, 16, 16)}, {Id(2)}));
  EXPECT_EQ(Refusal(MakeStep(6, {Item(1, 32, 1)})), ErrorCode::kInvalid) << "over the context";
}

TEST_F(StageTest, HostileItemsAreErrors) {
  EXPECT_EQ(Refusal(MakeStep(1, {Item(1, 0, 0)})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(1, {Item(1, 0, 17)})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(1, {Item(1, 0, 0xFFFFFFFF)})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(1, {Item(1, 0xFFFFFFFF, 1)})), ErrorCode::kInvalid);
  EXPECT_EQ(Refusal(MakeStep(1, {Item(1, 0, 1), Item(1, 1, 1)})), ErrorCode::kInvalid);
  EXPECT_EQ(stage_.used_pages(), 0u);
}

TEST_F(StageTest, AStepThatWasNotComputedLeavesLengthsAsTheyWere) {
  Run(MakeStep(1, {Item(1, 0, 5)}));
  ASSERT_TRUE(stage_.BeginStep(MakeStep(2, {Item(1, 5, 1)})));
  EXPECT_EQ(Refusal(MakeStep(3, {Item(1, 5, 1)})), ErrorCode::kInvalid) << "one step at a time";
  stage_.AbortStep();
  EXPECT_EQ(stage_.Length(Id(1)), 5u);
}

TEST_F(StageTest, TruncateCutsAndNeverGrows) {
  Run(MakeStep(1, {Item(1, 0, 5)}));
  wire::Step step = MakeStep(2, {});
  step.truncate = {{Id(1), 6}};
  EXPECT_EQ(Refusal(step), ErrorCode::kInvalid);
  step.truncate = {{Id(2), 0}};
  EXPECT_EQ(Refusal(step), ErrorCode::kInvalid) << "no such sequence";
  EXPECT_EQ(stage_.Length(Id(1)), 5u);
  step = MakeStep(2, {Item(1, 3, 1)});
  step.truncate = {{Id(1), 3}};
  const StageWork work = Run(step);
  ASSERT_EQ(work.truncate.size(), 1u);
  EXPECT_EQ(work.truncate[0].length, 3u);
  EXPECT_EQ(stage_.Length(Id(1)), 4u);
}

TEST_F(StageTest, ForksShareAPrefixAndAreCheckedAgainstTheReservation) {
  Run(MakeStep(1, {Item(1, 0, 12)}));
  const auto fork = [](uint8_t from, uint8_t to, uint32_t length) {
    wire::Step step = MakeStep(2, {});
    step.fork = {{Id(from), Id(to), length}};
    return step;
  };
  EXPECT_EQ(Refusal(fork(9, 2, 1)), ErrorCode::kInvalid) << "no such sequence";
  EXPECT_EQ(Refusal(fork(1, 1, 1)), ErrorCode::kInvalid) << "open already";
  EXPECT_EQ(Refusal(fork(1, 2, 13)), ErrorCode::kInvalid) << "longer than it is";
  EXPECT_EQ(stage_.used_pages(), 2u);
  wire::Step step = fork(1, 2, 10);
  step.items = {Item(2, 10, 2, 1), Item(1, 12, 1)};
  const StageWork work = Run(step);
  ASSERT_EQ(work.fork.size(), 1u);
  EXPECT_EQ(work.fork[0].length, 10u);
  EXPECT_EQ(stage_.Length(Id(2)), 12u);
  EXPECT_EQ(stage_.Length(Id(1)), 13u);
  EXPECT_EQ(stage_.used_pages(), 3u) << "the first page is shared";
  Run(MakeStep(3, {Item(3, 0, 16)}));
  Run(MakeStep(4, {Item(4, 0, 16)}));
  step = fork(1, 5, 10);
  step.step = 5;
  step.items = {Item(5, 10, 7)};
  EXPECT_EQ(Refusal(step), ErrorCode::kOverloaded) << "a copy and a page more";
}

TEST_F(StageTest, ReturnsTheRequestedRowsOfEachItem) {
  wire::Step step = MakeStep(1, {Item(1, 0, 5), Item(2, 0, 3, 3)});
  step.items[0].output_first = 1;
  step.items[0].output_count = 2;
  EXPECT_EQ(Run(step).output_rows, (std::vector<uint32_t>{1, 2, 5, 6, 7}));
  step = MakeStep(2, {Item(1, 5, 2)});
  step.items[0].output_first = 1;
  step.items[0].output_count = 2;
  EXPECT_EQ(Refusal(step), ErrorCode::kInvalid);
  step.items[0].output_first = 0xFFFFFFFF;
  EXPECT_EQ(Refusal(step), ErrorCode::kInvalid);
  step = MakeStep(2, {Item(1, 5, 2)});
  step.items[0].adapters = {{.adapter = 0}};
  EXPECT_EQ(Refusal(step), ErrorCode::kInvalid);
}

TEST(StageWindowTest, ForksAndCutsWhereAWindowIsGoneAreRefused) {
  StageMachine stage({.context = 64,
                      .pages = 16,
                      .window = {.positions = 8, .most = 3, .pages = 16, .stages = {{1, 1}}},
                      .page = 8,
                      .chunk = 16});
  const auto begin = [&](const wire::Step& step) -> Result<void> {
    TRY(stage.BeginStep(step));
    stage.CommitStep();
    return {};
  };
  for (uint32_t i = 0; i < 3; ++i) ASSERT_TRUE(begin(MakeStep(i + 1, {Item(1, 16 * i, 16)})));
  // The last rows began at 32: from 25 on, and the page of that from 24.
  wire::Step cut = MakeStep(4, {});
  cut.truncate = {{Id(1), 30}};
  EXPECT_EQ(begin(cut).error().code, ErrorCode::kInvalid);
  wire::Step fork = MakeStep(4, {});
  fork.fork = {{Id(1), Id(2), 30}};
  EXPECT_EQ(begin(fork).error().code, ErrorCode::kInvalid);
  fork.fork[0].length = 31;
  EXPECT_TRUE(begin(fork));
  cut.step = 5;
  cut.truncate[0].length = 33;
  EXPECT_TRUE(begin(cut));
}

// Pages of 8 positions and a window of 8: 16 are restored without it, then a page with it.
TEST(StageWindowTest, WindowsThatWereNotRestoredAreGone) {
  StageOptions options{.context = 64,
                       .pages = 16,
                       .window = {.positions = 8, .most = 3, .pages = 16, .stages = {{1, 1}}},
                       .page = 8,
                       .chunk = 16};
  StageMachine stage(options);
  uint64_t next = 1;
  const auto run = [&](wire::Step step) -> Result<StageWork> {
    step.step = next;
    auto work = TRY(stage.BeginStep(step));
    stage.CommitStep();
    ++next;
    return work;
  };
  const auto page = [](uint32_t first, bool bare, uint32_t count = 8) {
    return wire::StepPage{.request = Id(1), .first = first, .count = count, .bare = bare};
  };
  const auto refused = [](const auto& result) {
    return !result && result.error().code == ErrorCode::kInvalid;
  };
  EXPECT_TRUE(refused(run({.restore = {page(0, true, 7)}}))) << "only to its end";
  const auto work = run({.restore = {page(0, true), page(8, true)}});
  ASSERT_TRUE(work);
  EXPECT_TRUE(work->restore[1].bare);
  EXPECT_TRUE(refused(run({.items = {Item(1, 16, 1)}})));
  EXPECT_TRUE(refused(run({.fork = {{Id(1), Id(2), 16}}})));
  ASSERT_TRUE(run({.restore = {page(16, false)}}));
  EXPECT_TRUE(refused(run({.store = {page(8, false)}})));
  const auto stored = run({.store = {page(8, true), page(16, false)}});
  ASSERT_TRUE(stored);
  EXPECT_TRUE(stored->store[0].bare);
  EXPECT_FALSE(stored->store[1].bare);
  EXPECT_TRUE(run({.items = {Item(1, 24, 1)}}));
  options.window = {};
  stage = StageMachine(options);
  next = 1;
  EXPECT_TRUE(refused(run({.restore = {page(0, true)}}))) << "no layer has a window";
}

// A sequence is computed with the adapters that it began with, and so is what is forked from it.
TEST(StageAdaptersTest, ASequenceKeepsItsAdapters) {
  StageMachine stage({.context = 32, .pages = 8, .page = 8, .chunk = 16, .adapters = 2});
  const auto with = [](wire::StepItem item, std::vector<wire::AdapterUse> adapters) {
    item.adapters = std::move(adapters);
    return item;
  };
  const auto refusal = [&](const wire::StepItem& item) {
    const auto work = stage.BeginStep(MakeStep(2, {item}));
    return work ? ErrorCode::kIo : work.error().code;
  };
  const std::vector<wire::AdapterUse> both = {{0, 0.5f}, {1, 2}};
  const auto work = stage.BeginStep(MakeStep(1, {with(Item(1, 0, 5), both), Item(2, 0, 2)}));
  ASSERT_TRUE(work);
  stage.CommitStep();
  EXPECT_EQ(work->open[0].adapters, both);
  EXPECT_TRUE(work->open[1].adapters.empty());
  EXPECT_EQ(refusal(Item(1, 5, 1)), ErrorCode::kInvalid);
  EXPECT_EQ(refusal(with(Item(1, 5, 1), {{0, 0.25f}, {1, 2}})), ErrorCode::kInvalid);
  EXPECT_EQ(refusal(with(Item(2, 2, 1), {{0, 1}})), ErrorCode::kInvalid);
  EXPECT_EQ(refusal(with(Item(3, 0, 1), {{2, 1}})), ErrorCode::kInvalid);
  EXPECT_EQ(refusal(with(Item(3, 0, 1), {{1, 1}, {1, 1}})), ErrorCode::kInvalid);
  EXPECT_EQ(refusal(with(Item(3, 0, 1), {{1, 0}})), ErrorCode::kInvalid);
  wire::Step fork = MakeStep(2, {Item(3, 4, 1)});
  fork.fork = {{Id(1), Id(3), 4}};
  EXPECT_FALSE(stage.BeginStep(fork)) << "forked from a sequence with adapters";
  fork.items[0].adapters = both;
  EXPECT_TRUE(stage.BeginStep(fork));
}

TEST_F(StageTest, ACancelledStepIsNeverCommitted) {
  Run(MakeStep(1, {Item(1, 0, 5)}));
  ASSERT_TRUE(stage_.BeginStep(MakeStep(2, {Item(1, 5, 3)})));
  const auto cuts = stage_.CancelStep();
  ASSERT_EQ(cuts.size(), 1u);
  EXPECT_EQ(cuts[0].length, 5u);
  EXPECT_TRUE(stage_.IsDirty(Id(1)));
  EXPECT_EQ(stage_.Length(Id(1)), 5u);
  // What continues it is not computed; other items of the step are.
  StageWork work = Run(MakeStep(3, {Item(1, 8, 4), Item(2, 0, 2, 1)}));
  EXPECT_EQ(work.cancelled, std::vector<uint32_t>{0});
  EXPECT_EQ(work.rows_in, 6u);
  EXPECT_EQ(work.rows, 2u);
  ASSERT_EQ(work.segments.size(), 1u);
  EXPECT_EQ(work.segments[0].row, 4u);
  EXPECT_EQ(work.output_rows, std::vector<uint32_t>{1});
  EXPECT_EQ(stage_.Length(Id(1)), 5u);
  // Until it is cut back to what is known good.
  wire::Step step = MakeStep(4, {Item(1, 5, 1)});
  step.truncate = {{Id(1), 6}};
  EXPECT_EQ(Refusal(step), ErrorCode::kInvalid);
  step.truncate = {{Id(1), 5}};
  EXPECT_TRUE(Run(step).cancelled.empty());
  EXPECT_FALSE(stage_.IsDirty(Id(1)));
  EXPECT_EQ(stage_.Length(Id(1)), 6u);
}

TEST_F(StageTest, ItemsCancelledByAnEarlierStageHaveNoRowsAndAreNotComputed) {
  Run(MakeStep(1, {Item(1, 0, 5)}));
  wire::Step step = MakeStep(2, {Item(1, 5, 3), Item(2, 0, 2)});
  step.items[0].cancelled = true;
  const StageWork work = Run(step);
  EXPECT_EQ(work.rows_in, 2u);
  EXPECT_EQ(work.rows, 2u);
  EXPECT_TRUE(stage_.IsDirty(Id(1)));
  EXPECT_EQ(stage_.Length(Id(1)), 5u);
  step = MakeStep(3, {Item(3, 0, 3)});
  step.items[0].cancelled = true;
  EXPECT_TRUE(Run(step).open.empty());
  EXPECT_FALSE(stage_.Length(Id(3)));
}

TEST_F(StageTest, SequencesGoOnUnderAnotherPlan) {
  Run(MakeStep(7, {Item(1, 0, 5), Item(2, 0, 3)}));
  StageOptions next{.context = 32, .pages = 2, .page = 8, .chunk = 16};
  next.plan.bytes[0] = 2;
  EXPECT_TRUE(stage_.Rebind(next).empty());
  EXPECT_EQ(Refusal(MakeStep(8, {Item(1, 5, 1)})), ErrorCode::kNotFound) << "the old plan's step";
  wire::Step step = MakeStep(1, {Item(1, 5, 1)});
  step.plan = next.plan;
  Run(step);
  EXPECT_EQ(stage_.Length(Id(1)), 6u);
  // A new sequence takes the room of one that nobody continued.
  step = MakeStep(2, {Item(3, 0, 1)});
  step.plan = next.plan;
  EXPECT_EQ(Run(step).close.size(), 1u);
  EXPECT_FALSE(stage_.Length(Id(2)));
  EXPECT_TRUE(stage_.Length(Id(1)));
}

TEST_F(StageTest, ACarriedSequenceMayBeginAnewOrEarlier) {
  Run(MakeStep(1, {Item(1, 0, 5), Item(2, 0, 5)}));
  stage_.Rebind({.context = 32, .pages = 8, .page = 8, .chunk = 16});
  const StageWork work = Run(MakeStep(1, {Item(1, 0, 2), Item(2, 3, 1)}));
  EXPECT_EQ(work.close.size(), 1u);
  EXPECT_EQ(work.open.size(), 1u);
  ASSERT_EQ(work.truncate.size(), 1u);
  EXPECT_EQ(stage_.Length(Id(1)), 2u);
  EXPECT_EQ(stage_.Length(Id(2)), 4u);
}

TEST_F(StageTest, SequencesThatANewPlanHasNoRoomForAreClosed) {
  Run(MakeStep(1, {Item(1, 0, 5), Item(2, 0, 3)}));
  EXPECT_EQ(stage_.Rebind({.context = 16, .pages = 1, .page = 8, .chunk = 16}).size(), 1u);
  EXPECT_EQ(stage_.used_pages(), 1u);
}

wire::StepPage Page(uint8_t request, uint32_t first, uint32_t count, bool lost = false) {
  return {.request = Id(request), .first = first, .count = count, .lost = lost};
}

wire::Step Restore(uint64_t number, std::vector<wire::StepPage> pages) {
  wire::Step step = MakeStep(number, {});
  step.restore = std::move(pages);
  return step;
}

wire::Step Store(uint64_t number, std::vector<wire::StepPage> pages) {
  wire::Step step = MakeStep(number, {});
  step.store = std::move(pages);
  return step;
}

TEST_F(StageTest, RestoredPagesOpenAndContinueASequence) {
  StageWork work = Run(Restore(1, {Page(1, 0, 8), Page(1, 8, 8)}));
  EXPECT_EQ(work.open.size(), 1u);
  ASSERT_EQ(work.restore.size(), 2u);
  EXPECT_EQ(work.restore[1].first, 8u);
  EXPECT_EQ(work.restore[1].index, 1u);
  EXPECT_EQ(stage_.used_pages(), 2u);
  work = Run(Restore(2, {Page(1, 16, 3)}));
  EXPECT_TRUE(work.open.empty());
  EXPECT_EQ(stage_.Length(Id(1)), 19u);
  Run(MakeStep(3, {Item(1, 19, 1, 1)}));
  EXPECT_EQ(stage_.Length(Id(1)), 20u);
}

TEST_F(StageTest, HostilePagesAreErrorsAndNothingChanges) {
  Run(MakeStep(1, {Item(1, 0, 10)}));
  const auto refused = [&](const wire::Step& step) {
    return Refusal(step) == ErrorCode::kInvalid && stage_.used_pages() == 2 &&
           stage_.Length(Id(1)) == 10u && !stage_.Length(Id(2));
  };
  EXPECT_TRUE(refused(Restore(2, {Page(2, 0, 0)})));
  EXPECT_TRUE(refused(Restore(2, {Page(2, 0, 9)}))) << "more than a page";
  EXPECT_TRUE(refused(Restore(2, {Page(2, 3, 5)})));
  EXPECT_TRUE(refused(Restore(2, {Page(2, 8, 8)}))) << "its first page is missing";
  EXPECT_TRUE(refused(Restore(2, {Page(1, 0, 8)}))) << "it has positions already";
  EXPECT_TRUE(refused(Restore(2, {Page(1, 8, 8)})));
  EXPECT_TRUE(refused(Restore(2, {Page(2, 0, 8), Page(2, 0, 8)})));
  EXPECT_TRUE(refused(Restore(2, {Page(2, 0, 4), Page(2, 8, 8)})));
  EXPECT_TRUE(refused(Restore(2, {Page(2, 32, 8)}))) << "beyond the context";
  EXPECT_TRUE(refused(Restore(2, {Page(2, 0xFFFFFFF8, 8)})));
  EXPECT_TRUE(refused(Restore(2, {Page(2, 8, 0xFFFFFFFF)})));
  wire::Step both = MakeStep(2, {Item(2, 8, 1)});
  both.restore = {Page(2, 0, 8)};
  EXPECT_TRUE(refused(both)) << "rows behind a page that may be lost";
  for (const auto& page : {Page(1, 0, 0), Page(1, 0, 9), Page(1, 4, 2), Page(1, 8, 3),
                           Page(1, 0xFFFFFFF8, 8), Page(1, 0, 0xFFFFFFFF)}) {
    EXPECT_TRUE(refused(Store(2, {page}))) << page.first << " " << page.count;
  }
}

TEST_F(StageTest, RestoredPagesCountAgainstTheReservation) {
  for (uint8_t i = 1; i <= 4; ++i) Run(MakeStep(i, {Item(i, 0, 16)}));
  EXPECT_EQ(Refusal(Restore(5, {Page(5, 0, 8)})), ErrorCode::kOverloaded);
}

TEST_F(StageTest, ALostPageMakesItsSequenceDirtyUntilItIsClosed) {
  Run(Restore(1, {Page(1, 0, 8)}));
  ASSERT_TRUE(stage_.BeginStep(Restore(2, {Page(1, 8, 8), Page(1, 16, 8)})));
  stage_.LosePage(Page(1, 8, 8));
  stage_.CommitStep();
  EXPECT_TRUE(stage_.IsDirty(Id(1)));
  EXPECT_EQ(stage_.Length(Id(1)), 8u);
  EXPECT_EQ(stage_.used_pages(), 1u);
  // Pages and rows that are on their way already.
  StageWork work = Run(Restore(3, {Page(1, 24, 8)}));
  EXPECT_TRUE(work.restore.empty());
  EXPECT_EQ(work.lost, std::vector<uint32_t>{0});
  work = Run(MakeStep(4, {Item(1, 32, 1)}));
  EXPECT_EQ(work.cancelled, std::vector<uint32_t>{0});
  wire::Step again = Restore(5, {Page(1, 0, 8)});
  again.close = {Id(1)};
  work = Run(again);
  EXPECT_EQ(work.restore.size(), 1u);
  EXPECT_FALSE(stage_.IsDirty(Id(1)));
}

TEST_F(StageTest, APageThatAnEarlierStageHasLostIsNotRestored) {
  StageWork work = Run(Restore(1, {Page(1, 0, 8, true), Page(1, 8, 8, true)}));
  EXPECT_TRUE(work.restore.empty());
  EXPECT_EQ(work.open.size(), 1u);
  EXPECT_EQ(work.lost, (std::vector<uint32_t>{0, 1}));
  EXPECT_TRUE(stage_.IsDirty(Id(1)));
  EXPECT_EQ(stage_.Length(Id(1)), 0u);
}

TEST_F(StageTest, ACarriedSequenceIsRestoredAnew) {
  Run(MakeStep(1, {Item(1, 0, 10)}));
  stage_.Rebind({.context = 32, .pages = 8, .page = 8, .chunk = 16});
  EXPECT_EQ(Run(Store(1, {Page(1, 0, 8)})).not_taken, std::vector<uint32_t>{0});
  const StageWork work = Run(Restore(2, {Page(1, 0, 8)}));
  EXPECT_EQ(work.close.size(), 1u);
  EXPECT_EQ(work.open.size(), 1u);
  EXPECT_EQ(stage_.Length(Id(1)), 8u);
}

TEST_F(StageTest, PagesAreStoredAfterTheRowsOfAStep) {
  Run(MakeStep(1, {Item(1, 0, 10)}));
  wire::Step step = MakeStep(2, {Item(1, 10, 2)});
  step.store = {Page(1, 8, 2), Page(1, 0, 8, true), Page(2, 0, 8)};
  const StageWork work = Run(step);
  ASSERT_EQ(work.store.size(), 1u);
  EXPECT_EQ(work.store[0].count, 2u);
  EXPECT_EQ(work.not_taken, (std::vector<uint32_t>{1, 2})) << "refused before, and unknown";
  step = MakeStep(3, {Item(1, 12, 1)});
  step.store = {Page(1, 8, 5)};
  EXPECT_EQ(Refusal(step), ErrorCode::kInvalid) << "its own rows are not there yet";
}

TEST_F(StageTest, RestoredSequencesAreOpenedWithTheirAdapters) {
  stage_.Rebind({.context = 32, .pages = 8, .page = 8, .chunk = 16, .adapters = 1});
  wire::StepPage page = Page(1, 0, 8);
  page.adapters = {{.adapter = 1, .scale = 1}};
  EXPECT_EQ(Refusal(Restore(1, {page})), ErrorCode::kInvalid) << "there is one";
  page.adapters = {{.adapter = 0, .scale = 0.5f}};
  const StageWork work = Run(Restore(1, {page}));
  ASSERT_EQ(work.open.size(), 1u);
  EXPECT_EQ(work.open[0].adapters, page.adapters);
  EXPECT_EQ(Refusal(Restore(2, {Page(1, 8, 8)})), ErrorCode::kInvalid) << "without them";
  EXPECT_EQ(Refusal(MakeStep(2, {Item(1, 8, 1)})), ErrorCode::kInvalid);
  wire::StepItem item = Item(1, 8, 1);
  item.adapters = page.adapters;
  Run(MakeStep(2, {item}));
}

TEST_F(StageTest, APlanThatItIsBoundToSaysTheWindow) {
  stage_.Rebind({.context = 32,
                 .pages = 8,
                 .window = {.positions = 4, .most = 8, .pages = 8, .stages = {{1, 1}}},
                 .page = 8,
                 .chunk = 16});
  Run(MakeStep(1, {Item(1, 0, 16)}));
  Run(MakeStep(2, {Item(1, 16, 4)}));
  wire::Step cut = MakeStep(3, {});
  cut.truncate = {{.request = Id(1), .length = 9}};
  EXPECT_EQ(Refusal(cut), ErrorCode::kInvalid) << "its window is gone";
  EXPECT_EQ(stage_.Leave().at(0).whole, (std::vector<bool>{false, true, true}));
}

TEST_F(StageTest, SequencesInWorkAreLeftForTheNextPlanAsFarAsTheyAreKnownToBeGood) {
  Run(MakeStep(1, {Item(1, 0, 10), Item(2, 0, 3), Item(3, 0, 2)}));
  wire::Step cut = MakeStep(2, {Item(3, 1, 1)});
  cut.truncate = {{.request = Id(2), .length = 3}, {.request = Id(3), .length = 1}};
  Run(cut);  // request 2 has ended, a guess of request 3 was wrong
  ASSERT_TRUE(stage_.BeginStep(MakeStep(3, {Item(1, 10, 4)})));
  stage_.CancelStep();
  ASSERT_TRUE(stage_.BeginStep(MakeStep(4, {Item(3, 2, 4)})));
  const auto left = stage_.Leave();
  ASSERT_EQ(left.size(), 2u);
  EXPECT_EQ(left[0].request, Id(1));
  EXPECT_EQ(left[0].length, 10u);
  EXPECT_EQ(left[0].whole, (std::vector<bool>{true, true}));
  EXPECT_EQ(left[1].request, Id(3));
  EXPECT_EQ(left[1].length, 2u) << "its step was not computed";
  EXPECT_FALSE(stage_.Length(Id(1)) || stage_.Length(Id(3)));
  EXPECT_EQ(stage_.Length(Id(2)), 3u) << "kept for others that begin alike";
  EXPECT_EQ(stage_.used_pages(), 1u);
  stage_.Rebind({.context = 32, .pages = 8, .page = 8, .chunk = 16});
  Run(MakeStep(1, {Item(4, 0, 1)}));
  EXPECT_EQ(stage_.Leave().size(), 1u) << "not what it was carried along with";
}

}  // namespace
}  // namespace exo::engine
