#include "cluster/head.h"

#include <gtest/gtest.h>

namespace exo::cluster {
namespace {

RequestId Id(uint8_t number) {
  RequestId id;
  id.bytes[0] = number;
  return id;
}

wire::Submit Ask(uint8_t number, size_t prompt, uint32_t most = 4,
                 std::vector<TokenId> stops = {}) {
  return {.request = Id(number),
          .prompt = std::vector<TokenId>(prompt, 7),
          .prompt_tokens = static_cast<uint32_t>(prompt),
          .max_new_tokens = most,
          .stop_tokens = std::move(stops)};
}

HeadOptions Options(uint32_t stages = 1) {
  return {.stages = stages,
          .context = 64,
          .kv_positions = 128,
          .chunk = 8,
          .queue_limit = 2,
          .predicted_decode = std::chrono::milliseconds(1)};
}

// Token `token` for every output of the step.
std::vector<Emission> Answer(HeadMachine& head, const HeadStep& step, TokenId token) {
  std::vector<ItemOutput> outputs;
  for (const HeadItem& item : step.items) {
    if (item.outputs != Outputs::kNone) outputs.push_back({item.request, {token}});
  }
  auto emissions = head.OnStepDone(step.step, outputs, {}, Time{1});
  EXPECT_TRUE(emissions) << emissions.error().message;
  return emissions ? *std::move(emissions) : std::vector<Emission>{};
}

TEST(HeadTest, ComputesAPromptInChunksAndThenOneRowAtATime) {
  HeadMachine head(Options());
  ASSERT_TRUE(head.Submit(Ask(1, 12, 2), Time{}));
  auto step = head.NextStep(Time{});
  ASSERT_TRUE(step);
  EXPECT_EQ(step->rows, 8u);
  EXPECT_EQ(step->outputs, 0u);
  EXPECT_FALSE(head.NextStep(Time{})) << "one stage takes one step at a time";
  EXPECT_TRUE(Answer(head, *step, 5).empty());
  step = head.NextStep(Time{});
  EXPECT_EQ(step->items[0].first, 8u);
  EXPECT_EQ(step->rows, 4u);
  auto emissions = Answer(head, *step, 5);
  ASSERT_EQ(emissions.size(), 1u);
  EXPECT_EQ(emissions[0].tokens, std::vector<TokenId>{5});
  step = head.NextStep(Time{});
  EXPECT_EQ(step->items[0].first, 12u);
  EXPECT_EQ(step->items[0].tokens, std::vector<TokenId>{5});
  emissions = Answer(head, *step, 6);
  ASSERT_TRUE(emissions[0].finished);
  EXPECT_EQ(emissions[0].finished->reason, wire::FinishReason::kLength);
  EXPECT_EQ(emissions[0].finished->generated, 2u);
  step = head.NextStep(Time{});
  ASSERT_TRUE(step) << "the sequence is closed on all stages";
  EXPECT_EQ(step->close, std::vector<RequestId>{Id(1)});
  EXPECT_EQ(head.used_positions(), 0u);
}

TEST(HeadTest, StopTokenEndsAnAnswerAndIsNotPartOfIt) {
  HeadMachine head(Options());
  ASSERT_TRUE(head.Submit(Ask(1, 3, 9, {2}), Time{}));
  const auto emissions = Answer(head, *head.NextStep(Time{}), 2);
  ASSERT_EQ(emissions.size(), 1u);
  EXPECT_TRUE(emissions[0].tokens.empty());
  EXPECT_EQ(emissions[0].finished->reason, wire::FinishReason::kStop);
  EXPECT_EQ(emissions[0].finished->generated, 0u);
}

TEST(HeadTest, ChunksOfOnePromptFollowEachOtherThroughThePipeline) {
  HeadMachine head(Options(3));
  ASSERT_TRUE(head.Submit(Ask(1, 24), Time{}));
  const auto a = head.NextStep(Time{}), b = head.NextStep(Time{}), c = head.NextStep(Time{});
  ASSERT_TRUE(a && b && c);
  EXPECT_EQ(c->items[0].first, 16u);
  EXPECT_FALSE(head.NextStep(Time{}));
  EXPECT_EQ(head.in_flight(), 3u);
}

TEST(HeadTest, ANewPromptDelaysARunningRequestByOneChunkAtMost) {
  HeadMachine head(Options());
  ASSERT_TRUE(head.Submit(Ask(1, 2, 20), Time{}));
  Answer(head, *head.NextStep(Time{}), 5);
  ASSERT_TRUE(head.Submit(Ask(2, 40, 4), Time{}));
  for (int i = 0; i < 5; ++i) {
    const auto step = head.NextStep(Time{});
    ASSERT_EQ(step->items.size(), 2u);
    EXPECT_EQ(step->items[0].request, Id(1)) << "each step carries the running request's row";
    EXPECT_EQ(step->rows, 8u);
    Answer(head, *step, 5);
  }
}

TEST(HeadTest, RunningRequestsFillAllStages) {
  HeadMachine head(Options(2));
  for (uint8_t i = 1; i <= 4; ++i) {
    ASSERT_TRUE(head.Submit(Ask(i, 2, 9), Time{}));
    Answer(head, *head.NextStep(Time{}), 5);
  }
  const auto a = head.NextStep(Time{}), b = head.NextStep(Time{});
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->items.size(), 2u);
  EXPECT_EQ(b->items.size(), 2u);
}

TEST(HeadTest, AdmitsAgainstTheReservationAndLimitsTheQueue) {
  HeadMachine head(Options());
  for (uint8_t i = 1; i <= 2; ++i) ASSERT_TRUE(head.Submit(Ask(i, 20, 40), Time{}));
  Answer(head, *head.NextStep(Time{}), 5);
  EXPECT_EQ(head.active(), 2u);
  EXPECT_EQ(head.used_positions(), 128u);
  for (uint8_t i = 3; i <= 4; ++i) ASSERT_TRUE(head.Submit(Ask(i, 2), Time{}));
  EXPECT_EQ(head.Submit(Ask(5, 2), Time{}).error().code, ErrorCode::kOverloaded);
  EXPECT_TRUE(head.Cancel(Id(1)));
  head.NextStep(Time{});
  EXPECT_EQ(head.queued(), 0u);
}

TEST(HeadTest, RefusesWhatCannotBe) {
  HeadMachine head(Options());
  EXPECT_EQ(head.Submit(Ask(1, 0), Time{}).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(head.Submit(Ask(1, 64), Time{}).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(head.Submit(Ask(1, 3, 0), Time{}).error().code, ErrorCode::kInvalid);
  wire::Submit foreign = Ask(1, 3);
  foreign.plan.bytes[0] = 1;
  EXPECT_EQ(head.Submit(foreign, Time{}).error().code, ErrorCode::kInvalid);
  ASSERT_TRUE(head.Submit(Ask(1, 3), Time{}));
  EXPECT_EQ(head.Submit(Ask(1, 3), Time{}).error().code, ErrorCode::kInvalid);
}

TEST(HeadTest, DropsResultsOfEndedRequestsAndUnknownSteps) {
  HeadMachine head(Options());
  ASSERT_TRUE(head.Submit(Ask(1, 3), Time{}));
  const auto step = head.NextStep(Time{});
  head.Cancel(Id(1));
  ASSERT_TRUE(head.Submit(Ask(1, 3), Time{})) << "the id may be used again";
  EXPECT_TRUE(Answer(head, *step, 5).empty());
  EXPECT_EQ(head.stats().stale_outputs, 1u);
  EXPECT_TRUE(Answer(head, *step, 5).empty());
  EXPECT_EQ(head.stats().stale_steps, 1u);
  EXPECT_EQ(head.NextStep(Time{})->close, std::vector<RequestId>{Id(1)});
}

TEST(HeadTest, AResultThatOvertookAnEarlierChunkFailsTheInstance) {
  HeadMachine head(Options(2));
  ASSERT_TRUE(head.Submit(Ask(1, 12), Time{}));
  const auto a = head.NextStep(Time{}), b = head.NextStep(Time{});
  ASSERT_TRUE(a && b);
  EXPECT_FALSE(head.OnStepDone(b->step, std::vector<ItemOutput>{{Id(1), {5}}}, {}, Time{}));
}

TEST(HeadTest, OutputsMustMatchTheStep) {
  HeadMachine head(Options());
  ASSERT_TRUE(head.Submit(Ask(1, 3), Time{}));
  const auto step = head.NextStep(Time{});
  EXPECT_FALSE(head.OnStepDone(step->step, {}, {}, Time{}));
  EXPECT_FALSE(head.OnStepDone(step->step, std::vector<ItemOutput>{{Id(2), {5}}}, {}, Time{}));
  EXPECT_FALSE(head.OnStepDone(step->step, std::vector<ItemOutput>{{Id(1), {5, 6}}}, {}, Time{}));
}

TEST(HeadTest, ALateStepIsAnErrorAfterTheFloor) {
  HeadMachine head(Options());
  ASSERT_TRUE(head.Submit(Ask(1, 3), Time{}));
  EXPECT_FALSE(head.NextDeadline());
  head.NextStep(Time{});
  EXPECT_TRUE(head.CheckDeadlines(kStepFloor));
  EXPECT_FALSE(head.CheckDeadlines(kStepFloor + Time{1}));
  EXPECT_EQ(*head.NextDeadline(), kStepFloor);
}

TEST(HeadTest, TheLimitGrowsWithThePredictionAndIsLongWithoutOne) {
  HeadOptions options = Options();
  options.predicted_chunk = std::chrono::seconds(16);
  HeadMachine slow(options);
  ASSERT_TRUE(slow.Submit(Ask(1, 8), Time{}));
  slow.NextStep(Time{});
  EXPECT_GT(*slow.NextDeadline(), std::chrono::seconds(64));
  options.predicted_chunk = options.predicted_decode = Time{};
  HeadMachine unknown(options);
  ASSERT_TRUE(unknown.Submit(Ask(1, 8), Time{}));
  unknown.NextStep(Time{});
  EXPECT_EQ(*unknown.NextDeadline(), kStepFloorUnpredicted);
}

TEST(HeadTest, FailureEndsEveryRequestOnce) {
  HeadMachine head(Options());
  for (uint8_t i = 1; i <= 2; ++i) ASSERT_TRUE(head.Submit(Ask(i, 20, 40), Time{}));
  const auto step = head.NextStep(Time{});
  const auto emissions = head.Fail({ErrorCode::kDisconnected, "lost"});
  ASSERT_EQ(emissions.size(), 2u);
  EXPECT_EQ(emissions[0].finished->code, ErrorCode::kDisconnected);
  EXPECT_TRUE(Answer(head, *step, 5).empty());
  EXPECT_EQ(head.used_positions(), 0u);
}

}  // namespace
}  // namespace exo::cluster
