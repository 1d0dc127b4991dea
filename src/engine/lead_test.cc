#include "engine/lead.h"

#include <gtest/gtest.h>

#include <map>

#include "engine/test_ids.h"

namespace exo::engine {
namespace {

wire::Submit Ask(uint8_t number, size_t prompt, uint32_t most = 4,
                 std::vector<TokenId> stops = {}) {
  return {.request = Id(number),
          .prompt = std::vector<TokenId>(prompt, 7),
          .prompt_tokens = static_cast<uint32_t>(prompt),
          .max_new_tokens = most,
          .stop_tokens = std::move(stops)};
}

LeadOptions Options(uint32_t stages = 1) {
  return {.stages = stages,
          .context = 64,
          .pages = 16,
          .page = 8,
          .least_shared = 2,
          .chunk = 8,
          .queue_limit = 2,
          .prefix_cache = false,
          .speculate = false};
}

// Token `token` for every output of the step.
std::vector<Emission> Answer(LeadMachine& lead, const LeadStep& step, TokenId token) {
  std::vector<ItemOutput> outputs;
  for (const LeadItem& item : step.items) {
    if (item.outputs != Outputs::kNone) outputs.push_back({item.request, {token}});
  }
  auto emissions = lead.OnStepDone(step.step, outputs, {}, Time{1});
  EXPECT_TRUE(emissions) << emissions.error().message;
  return emissions ? *std::move(emissions) : std::vector<Emission>{};
}

TEST(LeadTest, ComputesAPromptInChunksAndThenOneRowAtATime) {
  LeadMachine lead(Options());
  ASSERT_TRUE(lead.Submit(Ask(1, 12, 2), Time{}));
  auto step = lead.NextStep(Time{});
  ASSERT_TRUE(step);
  EXPECT_EQ(step->rows, 8u);
  EXPECT_EQ(step->outputs, 0u);
  EXPECT_FALSE(lead.NextStep(Time{})) << "one stage takes one step at a time";
  auto emissions = Answer(lead, *step, 5);
  ASSERT_EQ(emissions.size(), 1u);
  EXPECT_TRUE(emissions[0].tokens.empty() && !emissions[0].finished) << "how far it is";
  EXPECT_EQ(emissions[0].computed, 8u);
  step = lead.NextStep(Time{});
  EXPECT_EQ(step->items[0].first, 8u);
  EXPECT_EQ(step->rows, 4u);
  emissions = Answer(lead, *step, 5);
  ASSERT_EQ(emissions.size(), 1u);
  EXPECT_EQ(emissions[0].tokens, std::vector<TokenId>{5});
  step = lead.NextStep(Time{});
  EXPECT_EQ(step->items[0].first, 12u);
  EXPECT_EQ(step->items[0].tokens, std::vector<TokenId>{5});
  emissions = Answer(lead, *step, 6);
  ASSERT_TRUE(emissions[0].finished);
  EXPECT_EQ(emissions[0].finished->reason, wire::FinishReason::kLength);
  EXPECT_EQ(emissions[0].finished->generated, 2u);
  step = lead.NextStep(Time{});
  ASSERT_TRUE(step) << "the sequence is closed on all stages";
  EXPECT_EQ(step->close, std::vector<RequestId>{Id(1)});
  EXPECT_EQ(lead.used_pages(), 0u);
}

TEST(LeadTest, StopTokenEndsAnAnswerAndIsNotPartOfIt) {
  LeadMachine lead(Options());
  ASSERT_TRUE(lead.Submit(Ask(1, 3, 9, {2}), Time{}));
  const auto emissions = Answer(lead, *lead.NextStep(Time{}), 2);
  ASSERT_EQ(emissions.size(), 1u);
  EXPECT_TRUE(emissions[0].tokens.empty());
  EXPECT_EQ(emissions[0].finished->reason, wire::FinishReason::kStop);
  EXPECT_EQ(emissions[0].finished->generated, 0u);
}

// Of a step in which two stages, `first` and `second`, computed for so many microseconds.
std::vector<Emission> AnswerAfter(LeadMachine& lead, uint64_t first, uint64_t second) {
  const auto step = lead.NextStep(Time{});
  std::vector<ItemOutput> outputs;
  for (const LeadItem& item : step->items) {
    if (item.outputs != Outputs::kNone) outputs.push_back({item.request, {5}});
  }
  const std::vector<wire::StageTime> times = {
      {.layer_begin = 0, .layer_end = 4, .microseconds = first},
      {.layer_begin = 4, .layer_end = 8, .microseconds = second}};
  return *lead.OnStepDone(step->step, outputs, times, Time{1});
}

std::vector<uint64_t> MicrosecondsOf(const std::vector<wire::StageTime>& stages) {
  std::vector<uint64_t> all;
  for (const wire::StageTime& stage : stages) all.push_back(stage.microseconds);
  return all;
}

TEST(LeadTest, RequestsShareTheTimesOfAStepByTheirRows) {
  LeadMachine lead(Options());
  ASSERT_TRUE(lead.Submit(Ask(1, 6, 2), Time{}));
  ASSERT_TRUE(lead.Submit(Ask(2, 2, 9), Time{}));
  // 6 and 2 of 8 rows; what is less than a microsecond a row counts, too.
  auto emissions = AnswerAfter(lead, 1000, 4);
  ASSERT_EQ(emissions.size(), 2u);
  EXPECT_EQ(MicrosecondsOf(emissions[0].stages), (std::vector<uint64_t>{750, 3}));
  EXPECT_EQ(MicrosecondsOf(emissions[1].stages), (std::vector<uint64_t>{250, 1}));
  EXPECT_EQ(emissions[0].stages[1].layer_begin, 4u);
  EXPECT_EQ(emissions[0].stages[1].layer_end, 8u);
  // One row each; the times of the steps before are in it.
  emissions = AnswerAfter(lead, 100, 20);
  EXPECT_EQ(MicrosecondsOf(emissions[0].stages), (std::vector<uint64_t>{800, 13}));
  ASSERT_TRUE(emissions[0].finished);
  EXPECT_EQ(MicrosecondsOf(emissions[0].finished->stages), (std::vector<uint64_t>{800, 13}));
  EXPECT_EQ(MicrosecondsOf(emissions[1].stages), (std::vector<uint64_t>{300, 11}));
}

TEST(LeadTest, EmissionsTellTheStepsThatLedToThem) {
  LeadMachine lead(Options(2));
  ASSERT_TRUE(lead.Submit(Ask(1, 12, 2), Time{1'000'000}));
  std::vector<Emission> emissions;
  for (int64_t i = 0; i < 2; ++i) {
    const auto step = lead.NextStep(Time{2'000'000 + i * 500'000});
    const std::vector<wire::StageTime> times = {{.microseconds = 100}, {.microseconds = 250}};
    lead.OnRowsBack(step->step, times, Time{2'400'000 + i * 500'000});
    std::vector<ItemOutput> outputs;
    if (step->outputs > 0) outputs.push_back({Id(1), {5}});
    emissions = *lead.OnStepDone(step->step, outputs, times, Time{2'450'000 + i * 500'000});
  }
  ASSERT_EQ(emissions.size(), 1u);
  const std::vector<wire::StepTrace> expected = {{.begun_us = 1000,
                                                  .returned_us = 1400,
                                                  .done_us = 1450,
                                                  .rows = 8,
                                                  .step_rows = 8,
                                                  .outputs = 0,
                                                  .stage_us = {100, 250}},
                                                 {.begun_us = 1500,
                                                  .returned_us = 1900,
                                                  .done_us = 1950,
                                                  .rows = 4,
                                                  .step_rows = 4,
                                                  .outputs = 1,
                                                  .stage_us = {100, 250}}};
  EXPECT_EQ(emissions[0].steps, expected);
  EXPECT_EQ(emissions[0].steps_dropped, 0u);
  emissions = Answer(lead, *lead.NextStep(Time{3'000'000}), 6);
  EXPECT_EQ(emissions[0].steps.size(), 1u) << "those of the first token were told with it";
}

TEST(LeadTest, ChunksWithoutOutputsCountInTheTimesOfTheirRequest) {
  LeadMachine lead(Options());
  ASSERT_TRUE(lead.Submit(Ask(1, 12), Time{}));
  EXPECT_TRUE(AnswerAfter(lead, 80, 8).at(0).tokens.empty());
  const auto emissions = AnswerAfter(lead, 40, 4);
  ASSERT_EQ(emissions.size(), 1u);
  EXPECT_EQ(MicrosecondsOf(emissions[0].stages), (std::vector<uint64_t>{120, 12}));
}

// Devices tell the times: ones beyond all measure stay bounded, in number and in value.
TEST(LeadTest, TimesOfStrangersAreBounded) {
  LeadMachine lead(Options());
  ASSERT_TRUE(lead.Submit(Ask(1, 8, 9), Time{}));
  std::vector<Emission> emissions = AnswerAfter(lead, ~uint64_t{0}, 0);
  EXPECT_EQ(emissions[0].stages[0].microseconds, ~uint64_t{0});
  std::vector<wire::StageTime> times;
  for (uint32_t layer = 0; layer < 3 * wire::kMaxStages; ++layer)
    times.push_back({.layer_begin = 100 + layer, .layer_end = 101 + layer, .microseconds = 1});
  for (size_t begin = 0; begin < times.size(); begin += wire::kMaxStages) {
    const auto step = lead.NextStep(Time{});
    const auto some = std::span(times).subspan(begin, wire::kMaxStages);
    emissions = *lead.OnStepDone(step->step, std::vector<ItemOutput>{{Id(1), {5}}}, some, Time{1});
  }
  EXPECT_EQ(emissions[0].stages.size(), wire::kMaxStages);
}

TEST(LeadTest, ChunksOfOnePromptFollowEachOtherThroughThePipeline) {
  LeadMachine lead(Options(3));
  ASSERT_TRUE(lead.Submit(Ask(1, 24), Time{}));
  const auto a = lead.NextStep(Time{}), b = lead.NextStep(Time{}), c = lead.NextStep(Time{});
  ASSERT_TRUE(a && b && c);
  EXPECT_EQ(c->items[0].first, 16u);
  EXPECT_FALSE(lead.NextStep(Time{}));
  EXPECT_EQ(lead.in_flight(), 3u);
}

TEST(LeadTest, ANewPromptDelaysARunningRequestByOneChunkAtMost) {
  LeadMachine lead(Options());
  ASSERT_TRUE(lead.Submit(Ask(1, 2, 20), Time{}));
  Answer(lead, *lead.NextStep(Time{}), 5);
  ASSERT_TRUE(lead.Submit(Ask(2, 40, 4), Time{}));
  for (int i = 0; i < 5; ++i) {
    const auto step = lead.NextStep(Time{});
    ASSERT_EQ(step->items.size(), 2u);
    EXPECT_EQ(step->items[0].request, Id(1)) << "each step carries the running request's row";
    EXPECT_EQ(step->rows, 8u);
    Answer(lead, *step, 5);
  }
}

LeadOptions Pipeline() {
  LeadOptions options = Options(2);
  options.chunk = 32;
  return options;
}

TEST(LeadTest, ManyRunningRequestsFillAllStages) {
  LeadMachine lead(Pipeline());
  for (uint8_t i = 1; i <= 10; ++i) {
    ASSERT_TRUE(lead.Submit(Ask(i, 2, 50), Time{}));
    Answer(lead, *lead.NextStep(Time{}), 5);
  }
  const auto a = lead.NextStep(Time{}), b = lead.NextStep(Time{});
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->items.size(), 5u);
  EXPECT_EQ(b->items.size(), 5u);
}

TEST(LeadTest, AFewRunningRequestsShareOneStep) {
  LeadMachine lead(Pipeline());
  for (uint8_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(lead.Submit(Ask(i, 2, 9), Time{}));
    Answer(lead, *lead.NextStep(Time{}), 5);
  }
  const auto a = lead.NextStep(Time{});
  ASSERT_TRUE(a);
  EXPECT_EQ(a->items.size(), 3u);
  EXPECT_FALSE(lead.NextStep(Time{})) << "the second stage gets all of them at once";
  ASSERT_TRUE(lead.Submit(Ask(4, 2, 9), Time{}));
  const auto b = lead.NextStep(Time{});
  ASSERT_TRUE(b) << "a prompt does not wait for them";
  Answer(lead, *b, 5);
  EXPECT_FALSE(lead.NextStep(Time{})) << "the newcomer joins the others";
  Answer(lead, *a, 5);
  EXPECT_EQ(lead.NextStep(Time{})->items.size(), 4u);
}

TEST(LeadTest, AdmitsWhatThereArePagesForAndLimitsTheQueue) {
  LeadMachine lead(Options());
  for (uint8_t i = 1; i <= 2; ++i) ASSERT_TRUE(lead.Submit(Ask(i, 60, 4), Time{}));
  Answer(lead, *lead.NextStep(Time{}), 5);
  EXPECT_EQ(lead.active(), 2u);
  EXPECT_EQ(lead.used_pages(), 16u);
  for (uint8_t i = 3; i <= 4; ++i) ASSERT_TRUE(lead.Submit(Ask(i, 2), Time{}));
  EXPECT_EQ(lead.Submit(Ask(5, 2), Time{}).error().code, ErrorCode::kOverloaded);
  EXPECT_TRUE(lead.Cancel(Id(1)));
  lead.NextStep(Time{});
  EXPECT_EQ(lead.queued(), 0u);
}

TEST(LeadTest, RefusesWhatCannotBe) {
  LeadMachine lead(Options());
  EXPECT_EQ(lead.Submit(Ask(1, 0), Time{}).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(lead.Submit(Ask(1, 64), Time{}).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(lead.Submit(Ask(1, 3, 0), Time{}).error().code, ErrorCode::kInvalid);
  wire::Submit foreign = Ask(1, 3);
  foreign.plan.bytes[0] = 1;
  EXPECT_EQ(lead.Submit(foreign, Time{}).error().code, ErrorCode::kInvalid);
  ASSERT_TRUE(lead.Submit(Ask(1, 3), Time{}));
  EXPECT_EQ(lead.Submit(Ask(1, 3), Time{}).error().code, ErrorCode::kInvalid);
}

TEST(LeadTest, DropsResultsOfEndedRequestsAndUnknownSteps) {
  LeadMachine lead(Options());
  ASSERT_TRUE(lead.Submit(Ask(1, 3), Time{}));
  const auto step = lead.NextStep(Time{});
  lead.Cancel(Id(1));
  ASSERT_TRUE(lead.Submit(Ask(1, 3), Time{})) << "the id may be used again";
  EXPECT_TRUE(Answer(lead, *step, 5).empty());
  EXPECT_EQ(lead.stats().stale_outputs, 1u);
  EXPECT_TRUE(Answer(lead, *step, 5).empty());
  EXPECT_EQ(lead.stats().stale_steps, 1u);
  EXPECT_EQ(lead.NextStep(Time{})->close, std::vector<RequestId>{Id(1)});
}

TEST(LeadTest, AResultThatOvertookAnEarlierChunkFailsTheInstance) {
  LeadMachine lead(Options(2));
  ASSERT_TRUE(lead.Submit(Ask(1, 12), Time{}));
  const auto a = lead.NextStep(Time{}), b = lead.NextStep(Time{});
  ASSERT_TRUE(a && b);
  EXPECT_FALSE(lead.OnStepDone(b->step, std::vector<ItemOutput>{{Id(1), {5}}}, {}, Time{}));
}

TEST(LeadTest, OutputsMustMatchTheStep) {
  LeadMachine lead(Options());
  ASSERT_TRUE(lead.Submit(Ask(1, 3), Time{}));
  const auto step = lead.NextStep(Time{});
  EXPECT_FALSE(lead.OnStepDone(step->step, {}, {}, Time{}));
  EXPECT_FALSE(lead.OnStepDone(step->step, std::vector<ItemOutput>{{Id(2), {5}}}, {}, Time{}));
  EXPECT_FALSE(lead.OnStepDone(step->step, std::vector<ItemOutput>{{Id(1), {5, 6}}}, {}, Time{}));
}

TEST(LeadTest, RejectedDraftsAreTruncatedInTheNextStep) {
  LeadMachine lead(Options());
  ASSERT_TRUE(lead.Submit(Ask(1, 3, 9), Time{}));
  lead.Draft(Id(1), {1, 2});  // nothing to build on yet
  Answer(lead, *lead.NextStep(Time{}), 5);
  lead.Draft(Id(1), {6, 7, 9});
  auto step = lead.NextStep(Time{});
  ASSERT_EQ(step->items.size(), 1u);
  EXPECT_EQ(step->items[0].first, 3u);
  EXPECT_EQ(step->items[0].tokens, (std::vector<TokenId>{5, 6, 7, 9}));
  EXPECT_EQ(step->outputs, 4u);
  const wire::Step wire = ToWire({}, *step);
  EXPECT_EQ(wire.items[0].output_first, 0u);
  EXPECT_EQ(wire.items[0].output_count, 4u);
  EXPECT_FALSE(lead.NextStep(Time{})) << "more rows are scheduled than there are tokens";
  // 6 and 7 were right, 8 follows them.
  const auto emissions =
      lead.OnStepDone(step->step, std::vector<ItemOutput>{{Id(1), {6, 7, 8}}}, {}, Time{});
  ASSERT_TRUE(emissions) << emissions.error().message;
  EXPECT_EQ((*emissions)[0].tokens, (std::vector<TokenId>{6, 7, 8}));
  step = lead.NextStep(Time{});
  EXPECT_EQ(step->truncate, (std::vector<wire::StepTruncate>{{Id(1), 6}}));
  EXPECT_EQ(step->items[0].first, 6u);
  EXPECT_EQ(step->items[0].tokens, std::vector<TokenId>{8});
  EXPECT_TRUE(lead.NextStep(Time{}) == std::nullopt);
  EXPECT_EQ(Answer(lead, *step, 4)[0].tokens, std::vector<TokenId>{4});
  EXPECT_TRUE(lead.NextStep(Time{})->truncate.empty());
}

TEST(LeadTest, DraftsThatAreAllRightLeaveNothingToTruncate) {
  LeadMachine lead(Options());
  ASSERT_TRUE(lead.Submit(Ask(1, 3, 5), Time{}));
  Answer(lead, *lead.NextStep(Time{}), 5);
  lead.Draft(Id(1), {6, 7});
  auto step = lead.NextStep(Time{});
  ASSERT_TRUE(lead.OnStepDone(step->step, std::vector<ItemOutput>{{Id(1), {6, 7, 8}}}, {}, Time{}));
  step = lead.NextStep(Time{});
  EXPECT_TRUE(step->truncate.empty());
  EXPECT_EQ(step->items[0].first, 6u);
  EXPECT_TRUE(Answer(lead, *step, 9)[0].finished) << "five tokens were asked for";
}

TEST(LeadTest, DraftsStayWithinTheChunkAndTheSequence) {
  LeadMachine lead(Options());
  ASSERT_TRUE(lead.Submit(Ask(1, 58, 6), Time{}));
  while (lead.stats().prefill_rows < 58) Answer(lead, *lead.NextStep(Time{}), 5);
  lead.Draft(Id(1), std::vector<TokenId>(40, 6));
  const auto step = lead.NextStep(Time{});
  EXPECT_EQ(step->items[0].first, 58u);
  EXPECT_EQ(step->rows, 5u) << "the last token needs no draft";
  LeadMachine wide(Options());
  ASSERT_TRUE(wide.Submit(Ask(1, 2, 40), Time{}));
  Answer(wide, *wide.NextStep(Time{}), 5);
  wide.Draft(Id(1), std::vector<TokenId>(40, 6));
  EXPECT_EQ(wide.NextStep(Time{})->rows, 8u) << "one chunk";
}

TEST(LeadTest, APausedRequestGetsNoDecodeRowsAndKeepsItsPlace) {
  LeadMachine lead(Options());
  for (uint8_t i = 1; i <= 2; ++i) {
    ASSERT_TRUE(lead.Submit(Ask(i, 3, 9), Time{}));
    Answer(lead, *lead.NextStep(Time{}), 5);
  }
  EXPECT_TRUE(lead.Pause(Id(1), true));
  EXPECT_FALSE(lead.Pause(Id(9), true));
  const uint64_t used = lead.used_pages();
  for (int i = 0; i < 4; ++i) {
    const auto step = lead.NextStep(Time{});
    ASSERT_EQ(step->items.size(), 1u);
    EXPECT_EQ(step->items[0].request, Id(2));
    Answer(lead, *step, 5);
  }
  EXPECT_TRUE(lead.Pause(Id(2), true));
  EXPECT_FALSE(lead.NextStep(Time{})) << "everybody waits for a reader";
  EXPECT_EQ(lead.used_pages(), used);
  EXPECT_TRUE(lead.Pause(Id(1), false));
  EXPECT_EQ(lead.NextStep(Time{})->items[0].first, 4u) << "where it stopped";
}

TEST(LeadTest, ACancelledStepEndsOnlyRequestsThatNobodyHadCancelled) {
  LeadMachine lead(Options());
  for (uint8_t i = 1; i <= 2; ++i) ASSERT_TRUE(lead.Submit(Ask(i, 3), Time{}));
  const auto step = lead.NextStep(Time{});
  ASSERT_EQ(step->items.size(), 2u);
  lead.Cancel(Id(1));
  const std::vector<RequestId> cancelled = {Id(1), Id(2)};
  const auto emissions = lead.OnStepDone(step->step, {}, {}, Time{}, cancelled);
  ASSERT_TRUE(emissions) << emissions.error().message;
  ASSERT_EQ(emissions->size(), 1u);
  EXPECT_EQ((*emissions)[0].request, Id(2));
  EXPECT_EQ((*emissions)[0].finished->code, ErrorCode::kDisconnected);
  EXPECT_EQ(lead.NextStep(Time{})->close.size(), 2u);
}

// A prompt of tokens 1, 2, 3, … with `most` new ones.
wire::Submit Count(uint8_t number, size_t prompt, uint32_t most = 4) {
  wire::Submit submit = Ask(number, prompt, most);
  for (size_t i = 0; i < prompt; ++i) submit.prompt[i] = static_cast<TokenId>(i + 1);
  return submit;
}
LeadOptions Caching(uint64_t pages = 16) {
  LeadOptions options = Options();
  options.prefix_cache = true;
  options.pages = pages;
  return options;
}
using Answers = std::map<RequestId, std::vector<TokenId>>;
// One step; the token of each row is the one before it plus one. False: there is nothing to do.
bool RunOne(LeadMachine& lead, Answers& answers) {
  const auto step = lead.NextStep(Time{1});
  if (!step) return false;
  std::vector<ItemOutput> outputs;
  for (const LeadItem& item : step->items) {
    if (item.outputs != Outputs::kNone) outputs.push_back({item.request, {item.tokens.back() + 1}});
  }
  const auto emissions = lead.OnStepDone(step->step, outputs, {}, Time{1});
  EXPECT_TRUE(emissions) << emissions.error().message;
  if (!emissions) return false;
  for (const Emission& e : *emissions)
    answers[e.request].insert(answers[e.request].end(), e.tokens.begin(), e.tokens.end());
  return true;
}
// Runs until nothing is left to do.
Answers RunAll(LeadMachine& lead) {
  Answers answers;
  while (RunOne(lead, answers)) {
  }
  return answers;
}

TEST(LeadTest, PagesAreTakenAsAnAnswerGrows) {
  LeadMachine lead(Options());
  ASSERT_TRUE(lead.Submit(Ask(1, 3, 40), Time{}));
  Answer(lead, *lead.NextStep(Time{}), 5);
  EXPECT_EQ(lead.used_pages(), 1u);
  for (int i = 0; i < 20; ++i) Answer(lead, *lead.NextStep(Time{}), 5);
  EXPECT_EQ(lead.used_pages(), 3u);
}

TEST(LeadTest, TheYoungestIsPutBackWhenPagesRunOutAndLosesNoToken) {
  LeadOptions options = Options();
  options.pages = 8;
  options.queue_limit = 9;
  LeadMachine lead(options);
  for (uint8_t i = 1; i <= 4; ++i) ASSERT_TRUE(lead.Submit(Count(i, 10, 30), Time{}));
  const auto answers = RunAll(lead);
  EXPECT_GT(lead.stats().put_back, 0u);
  ASSERT_EQ(answers.size(), 4u);
  for (const auto& [request, answer] : answers) {
    ASSERT_EQ(answer.size(), 30u);
    for (size_t i = 0; i < answer.size(); ++i) EXPECT_EQ(answer[i], static_cast<TokenId>(11 + i));
  }
  EXPECT_EQ(lead.used_pages(), 0u);
}

TEST(LeadTest, APausedRequestGivesUpItsPagesFirst) {
  LeadOptions options = Options();
  options.pages = 8;
  LeadMachine lead(options);
  ASSERT_TRUE(lead.Submit(Count(1, 30, 30), Time{}));
  while (lead.stats().prefill_rows < 30) Answer(lead, *lead.NextStep(Time{}), 5);
  lead.Pause(Id(1), true);
  ASSERT_TRUE(lead.Submit(Count(2, 20, 40), Time{}));
  const auto answers = RunAll(lead);
  EXPECT_EQ(answers.at(Id(2)).size(), 40u);
  EXPECT_EQ(lead.stats().put_back, 1u);
  lead.Pause(Id(1), false);
  EXPECT_EQ(RunAll(lead).at(Id(1)).size(), 29u);
}

// Readers that do not read hold up nobody, and go on where they stopped.
TEST(LeadTest, PausedRequestsGiveUpTheirPagesToThoseThatWait) {
  for (const bool prefix_cache : {false, true}) {
    LeadOptions options = Caching(8);
    options.prefix_cache = prefix_cache;
    options.queue_limit = 9;
    LeadMachine lead(options);
    for (uint8_t i = 1; i <= 4; ++i) {
      wire::Submit submit = Count(i, 10, 30);
      submit.prompt[0] = 100 * i;  // no common prefix
      ASSERT_TRUE(lead.Submit(submit, Time{}));
    }
    Answers answers;
    while (lead.stats().prefill_rows < 40) RunOne(lead, answers);
    ASSERT_EQ(lead.used_pages(), 8u);
    for (uint8_t i = 1; i <= 2; ++i) lead.Pause(Id(i), true);
    ASSERT_TRUE(lead.Submit(Count(9, 40, 10), Time{}));
    RunOne(lead, answers);
    EXPECT_EQ(lead.stats().put_back, 0u) << "40 tokens do not fit beside the two that run";
    for (uint8_t i = 3; i <= 4; ++i) lead.Pause(Id(i), true);
    RunOne(lead, answers);
    EXPECT_EQ(lead.stats().put_back, 3u) << "no more than are needed";
    while (RunOne(lead, answers)) {
    }
    EXPECT_EQ(answers[Id(9)].size(), 10u);
    for (uint8_t i = 1; i <= 4; ++i) lead.Pause(Id(i), false);
    while (RunOne(lead, answers)) {
    }
    for (uint8_t i = 1; i <= 4; ++i) {
      ASSERT_EQ(answers[Id(i)].size(), 30u);
      for (size_t at = 0; at < 30; ++at) EXPECT_EQ(answers[Id(i)][at], TokenId(11 + at));
    }
  }
}

TEST(LeadTest, AClientOfWhomNothingRunsGoesBeforeTheFurtherChoicesOfAnother) {
  LeadOptions options = Options();
  options.pages = 8;
  options.queue_limit = 9;
  LeadMachine lead(options);
  for (uint8_t i = 1; i <= 6; ++i) {
    wire::Submit submit = Count(i, 20, 4);
    submit.client = i == 6 ? 2 : 1;
    ASSERT_TRUE(lead.Submit(submit, Time{}));
  }
  Answer(lead, *lead.NextStep(Time{1}), 11);
  EXPECT_EQ(lead.active(), 2u);
  for (const auto& waiting : lead.QueueNews()) EXPECT_NE(waiting.request, Id(6));
}

TEST(LeadTest, ATurnOfAChatComputesOnlyWhatIsNew) {
  LeadMachine lead(Caching());
  ASSERT_TRUE(lead.Submit(Count(1, 20, 5), Time{}));
  RunAll(lead);
  EXPECT_EQ(lead.kept_sequences(), 1u);
  // The last token of the answer was never computed: 24 positions are there.
  ASSERT_TRUE(lead.Submit(Count(2, 32, 2), Time{}));
  const auto step = lead.NextStep(Time{});
  EXPECT_EQ(step->fork, (std::vector<wire::StepFork>{{Id(1), Id(2), 24}}));
  ASSERT_EQ(step->items.size(), 1u);
  EXPECT_EQ(step->items[0].first, 24u);
  EXPECT_EQ(step->items[0].tokens.size(), 8u);
  const auto emissions = Answer(lead, *step, 5);
  EXPECT_EQ(lead.stats().cached_rows, 24u);
  // The longer one has all of the shorter one.
  const auto next = lead.NextStep(Time{});
  EXPECT_EQ(next->close, std::vector<RequestId>{Id(1)});
  const auto end = Answer(lead, *next, 6);
  EXPECT_EQ(end[0].cached, 24u);
}

TEST(LeadTest, AWholePromptThatIsThereComputesItsLastRowAgain) {
  LeadMachine lead(Caching());
  ASSERT_TRUE(lead.Submit(Count(1, 20, 5), Time{}));
  RunAll(lead);
  ASSERT_TRUE(lead.Submit(Count(2, 20, 5), Time{}));
  const auto step = lead.NextStep(Time{});
  EXPECT_EQ(step->items[0].first, 19u);
  EXPECT_EQ(step->items[0].outputs, Outputs::kLast);
}

TEST(LeadTest, RequestsThatRunTogetherShareTheirBeginning) {
  LeadMachine lead(Caching());
  ASSERT_TRUE(lead.Submit(Count(1, 20, 20), Time{}));
  while (lead.stats().prefill_rows < 20) Answer(lead, *lead.NextStep(Time{}), 21);
  ASSERT_TRUE(lead.Submit(Count(2, 18, 20), Time{}));
  const auto step = lead.NextStep(Time{});
  EXPECT_EQ(step->fork, (std::vector<wire::StepFork>{{Id(1), Id(2), 17}}));
  EXPECT_EQ(lead.used_pages(), 4u) << "two shared, and one each";
}

// Layers with a window: an answer can be gone on with from its end and from the end of its prompt,
// not from between.
TEST(LeadTest, WhereWindowsHaveMovedOnAPrefixShortensToTheEndOfAPrompt) {
  LeadOptions options = Caching(64);
  options.context = 256;
  options.window = {.positions = 8, .most = 3, .pages = 64, .stages = {{.all = 1, .windowed = 1}}};
  LeadMachine lead(options);
  ASSERT_TRUE(lead.Submit(Count(1, 20, 60), Time{}));
  RunAll(lead);
  EXPECT_EQ(lead.kept_sequences(), 2u) << "the whole, and the end of the prompt";
  // The answer of RunAll counts on: 79 positions are there. In its middle another text begins.
  wire::Submit other = Count(2, 50, 2);
  for (size_t i = 40; i < 50; ++i) other.prompt[i] = 7;
  ASSERT_TRUE(lead.Submit(other, Time{}));
  auto step = lead.NextStep(Time{});
  ASSERT_EQ(step->fork.size(), 1u);
  EXPECT_EQ(step->fork[0].length, 20u);
  EXPECT_NE(step->fork[0].from, Id(1));
  Answer(lead, *step, 5);
  RunAll(lead);
  ASSERT_TRUE(lead.Submit(Count(3, 90, 2), Time{}));
  step = lead.NextStep(Time{});
  ASSERT_FALSE(step->fork.empty());
  EXPECT_EQ(step->fork[0], (wire::StepFork{Id(1), Id(3), 79}));
}

// The KV of one adapter, or of one scale of it, is nobody else's, running or kept.
TEST(LeadTest, RequestsOfOtherAdaptersShareNothing) {
  const std::vector<std::vector<wire::AdapterUse>> kinds = {
      {}, {{0, 1}}, {{0, 0.5f}}, {{1, 1}}, {{0, 1}, {1, 1}}};
  LeadOptions options = Caching(64);
  options.adapters = 2;
  options.queue_limit = 8;
  LeadMachine lead(options);
  uint8_t number = 0;
  const auto ask = [&](const std::vector<wire::AdapterUse>& adapters) {
    wire::Submit submit = Count(++number, 20, 3);
    submit.adapters = adapters;
    return lead.Submit(submit, Time{});
  };
  for (const auto& kind : kinds) ASSERT_TRUE(ask(kind));
  auto step = lead.NextStep(Time{});
  EXPECT_TRUE(step->fork.empty());
  for (const LeadItem& item : step->items)
    EXPECT_EQ(item.adapters, kinds[item.request.bytes[0] - Id(1).bytes[0]]);
  Answer(lead, *step, 5);
  RunAll(lead);
  EXPECT_EQ(lead.stats().cached_rows, 0u);
  EXPECT_EQ(lead.kept_sequences(), kinds.size());
  // Each finds its own.
  for (const auto& kind : kinds) {
    ASSERT_TRUE(ask(kind));
    step = lead.NextStep(Time{});
    ASSERT_EQ(step->fork.size(), 1u);
    EXPECT_EQ(step->fork[0].from.bytes, Id(static_cast<uint8_t>(number - kinds.size())).bytes);
    EXPECT_EQ(ToWire({}, *step).items[0].adapters, kind);
    Answer(lead, *step, 5);
    RunAll(lead);
  }
  EXPECT_EQ(ask({{2, 1}}).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(ask({{0, 0}}).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(ask({{1, 1}, {0, 1}}).error().code, ErrorCode::kInvalid);
}

// What one asker's prompts hold shows in nobody else's times, running or kept.
TEST(LeadTest, RequestsOfOtherScopesShareNothing) {
  const std::vector<uint64_t> scopes = {0, 7, uint64_t{1} << 63};
  LeadOptions options = Caching(64);
  options.queue_limit = 8;
  LeadMachine lead(options);
  uint8_t number = 0;
  const auto ask = [&](uint64_t scope) {
    wire::Submit submit = Count(++number, 20, 3);
    submit.prefix_scope = scope;
    return lead.Submit(submit, Time{});
  };
  for (const uint64_t scope : scopes) ASSERT_TRUE(ask(scope));
  auto step = lead.NextStep(Time{});
  EXPECT_TRUE(step->fork.empty());
  Answer(lead, *step, 5);
  RunAll(lead);
  EXPECT_EQ(lead.stats().cached_rows, 0u);
  EXPECT_EQ(lead.kept_sequences(), scopes.size());
  for (const uint64_t scope : scopes) {
    ASSERT_TRUE(ask(scope));
    step = lead.NextStep(Time{});
    ASSERT_EQ(step->fork.size(), 1u) << "it finds its own";
    EXPECT_EQ(step->fork[0].from.bytes, Id(static_cast<uint8_t>(number - scopes.size())).bytes);
    Answer(lead, *step, 5);
    RunAll(lead);
  }
}

TEST(LeadTest, KeptSequencesMakeRoomTheLeastRecentlyUsedFirst) {
  LeadMachine lead(Caching(8));
  for (uint8_t i = 1; i <= 3; ++i) {
    wire::Submit submit = Count(i, 20, 2);
    submit.prompt[0] = 100 + i;
    ASSERT_TRUE(lead.Submit(submit, Time{}));
    RunAll(lead);
  }
  EXPECT_EQ(lead.kept_sequences(), 2u);
  wire::Submit again = Count(9, 22, 2);
  again.prompt[0] = 101;
  ASSERT_TRUE(lead.Submit(again, Time{}));
  const auto step = lead.NextStep(Time{});
  EXPECT_TRUE(step->fork.empty()) << "the first one is gone";
  EXPECT_EQ(step->close, std::vector<RequestId>{Id(2)});
}

TEST(LeadTest, NoPrefixIsGivenUpForARequestThatDoesNotFitAnyway) {
  LeadMachine lead(Caching(8));
  ASSERT_TRUE(lead.Submit(Count(1, 20, 2), Time{}));
  RunAll(lead);  // kept: three pages
  wire::Submit running = Ask(2, 20, 20);
  ASSERT_TRUE(lead.Submit(running, Time{}));
  Answer(lead, *lead.NextStep(Time{}), 5);
  wire::Submit large = Ask(3, 60, 4);
  large.prompt[0] = 200;
  ASSERT_TRUE(lead.Submit(large, Time{}));
  const auto step = lead.NextStep(Time{});
  ASSERT_TRUE(step);
  EXPECT_TRUE(step->close.empty());
  EXPECT_EQ(lead.kept_sequences(), 1u);
  EXPECT_EQ(lead.queued(), 1u);
}

TEST(LeadTest, WhatACancelledRequestHadComputedIsKept) {
  LeadMachine lead(Caching());
  ASSERT_TRUE(lead.Submit(Count(1, 30, 20), Time{}));
  for (int i = 0; i < 2; ++i) Answer(lead, *lead.NextStep(Time{}), 5);
  const auto in_flight = lead.NextStep(Time{});
  lead.Cancel(Id(1));
  const std::vector<RequestId> cancelled = {Id(1)};
  ASSERT_TRUE(lead.OnStepDone(in_flight->step, {}, {}, Time{}, cancelled));
  ASSERT_TRUE(lead.Submit(Count(2, 30, 2), Time{}));
  const auto step = lead.NextStep(Time{});
  EXPECT_EQ(step->truncate, (std::vector<wire::StepTruncate>{{Id(1), 16}}));
  EXPECT_EQ(step->fork, (std::vector<wire::StepFork>{{Id(1), Id(2), 16}}));
}

TEST(LeadTest, AcceptedDraftsBehindAStopTokenAreNotKept) {
  LeadMachine lead(Caching());
  wire::Submit submit = Count(1, 10, 20);
  submit.stop_tokens = {12};
  ASSERT_TRUE(lead.Submit(submit, Time{}));
  while (lead.stats().prefill_rows < 10) Answer(lead, *lead.NextStep(Time{}), 11);
  lead.Draft(Id(1), {12, 13, 14});
  const auto step = lead.NextStep(Time{});
  ASSERT_TRUE(
      lead.OnStepDone(step->step, std::vector<ItemOutput>{{Id(1), {12, 13, 14, 15}}}, {}, Time{}));
  ASSERT_TRUE(lead.Submit(Count(2, 20, 2), Time{}));
  EXPECT_EQ(lead.NextStep(Time{})->fork, (std::vector<wire::StepFork>{{Id(1), Id(2), 11}}));
}

TEST(LeadTest, AnIdMayBeUsedAgainWhileItsSequenceIsKept) {
  LeadMachine lead(Caching());
  ASSERT_TRUE(lead.Submit(Count(1, 10, 2), Time{}));
  RunAll(lead);
  ASSERT_TRUE(lead.Submit(Count(1, 10, 2), Time{}));
  const auto step = lead.NextStep(Time{});
  EXPECT_EQ(step->close, std::vector<RequestId>{Id(1)});
  EXPECT_TRUE(step->truncate.empty());
  EXPECT_EQ(step->items[0].first, 0u);
}

TEST(LeadTest, FailureEndsEveryRequestOnce) {
  LeadMachine lead(Options());
  for (uint8_t i = 1; i <= 2; ++i) ASSERT_TRUE(lead.Submit(Ask(i, 20, 40), Time{}));
  const auto step = lead.NextStep(Time{});
  const auto emissions = lead.Fail({ErrorCode::kDisconnected, "lost"});
  ASSERT_EQ(emissions.size(), 2u);
  EXPECT_EQ(emissions[0].finished->code, ErrorCode::kDisconnected);
  EXPECT_TRUE(Answer(lead, *step, 5).empty());
  EXPECT_EQ(lead.used_pages(), 0u);
}

}  // namespace
}  // namespace exo::engine
