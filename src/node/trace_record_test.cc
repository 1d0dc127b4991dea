#include "node/trace_record.h"

#include <gtest/gtest.h>

namespace exo::node {
namespace {

using std::chrono::microseconds;
using Kind = TraceSpan::Kind;

constexpr Time kStart = std::chrono::seconds(10);

NodeId NodeOf(uint8_t number) {
  NodeId id;
  id.bytes[0] = number;
  return id;
}
std::string NameOf(const NodeId& node) {
  return std::string(1, static_cast<char>('a' + node.bytes[0]));
}

// Of a plan over `stages` nodes: a half of the layers each, or all of them (shards).
cluster::RequestTokens News(std::vector<wire::StepTrace> steps, size_t tokens = 1,
                            uint8_t stages = 2, bool shards = false) {
  cluster::RequestTokens news{.tokens = std::vector<TokenId>(tokens), .steps = std::move(steps)};
  for (uint8_t i = 0; i < stages; ++i) {
    const uint32_t begin = shards ? 0 : i * 4;
    news.stages.push_back({.node = NodeOf(i), .layer_begin = begin, .layer_end = begin + 4});
  }
  return news;
}

std::vector<std::string> Lines(const TraceRecord& trace) {
  std::vector<std::string> lines;
  for (const TraceSpan& span : trace.Spans("entry", &NameOf)) {
    lines.push_back(fmt::format("{} {}{} {}+{}", TraceSpanName(span.kind), span.device,
                                span.to.empty() ? "" : ">" + span.to, span.start_us,
                                span.duration_us));
  }
  return lines;
}

TEST(TraceRecordTest, APipelinesStepIsDividedByWhatIsKnownOfIt) {
  TraceRecord trace(kStart);
  // 1000 us with 300 and 500 of computing: 200 for two links, that there and that back.
  trace.AddSteps(News({{.begun_us = 50,
                        .returned_us = 1050,
                        .done_us = 1100,
                        .rows = 1,
                        .step_rows = 1,
                        .outputs = 1,
                        .stage_us = {300, 500}}}),
                 0, 3, kStart + microseconds(2100));
  EXPECT_EQ(Lines(trace),
            (std::vector<std::string>{"queue a 1000+50", "token a 1050+1050", "stage a 1050+300",
                                      "wire a>b 1350+100", "stage b 1450+500", "wire b>a 1950+100",
                                      "sample a 2050+50"}));
}

TEST(TraceRecordTest, AWireHasThePartOfTheRowsThatItCarried) {
  TraceRecord trace(kStart);
  // 199 rows there, none back, which takes a frame all the same.
  trace.AddSteps(News({{.returned_us = 1000,
                        .done_us = 1000,
                        .rows = 199,
                        .step_rows = 199,
                        .stage_us = {100, 95}},
                       {.begun_us = 1000, .returned_us = 1001, .done_us = 1001}}),
                 0, 0, kStart + microseconds(1001));
  const auto lines = Lines(trace);
  EXPECT_EQ(lines[0], "prompt a 0+1000") << "it brought no token";
  EXPECT_EQ(lines[2], "wire a>b 100+800");
  EXPECT_EQ(lines[4], "wire b>a 995+4");
}

TEST(TraceRecordTest, ShardsComputeBesideEachOther) {
  TraceRecord trace(kStart);
  trace.AddSteps(
      News({{.returned_us = 100, .done_us = 110, .rows = 1, .stage_us = {60, 90}}}, 1, 2, true), 0,
      1, kStart + microseconds(110));
  EXPECT_EQ(Lines(trace),
            (std::vector<std::string>{"token a 0+110", "stage a 0+60", "stage b 0+90",
                                      "wire a 60+40", "wire b 90+10", "sample a 100+10"}));
}

// One node, then two shards, of which the slower one is waited for.
TEST(TraceRecordTest, AGroupIsAStageOfThePipeline) {
  TraceRecord trace(kStart);
  cluster::RequestTokens news =
      News({{.returned_us = 100, .done_us = 110, .rows = 1, .stage_us = {30, 20, 40}}}, 1, 3);
  news.stages[0].layer_begin = 0, news.stages[0].layer_end = 4;
  for (size_t i = 1; i < 3; ++i) news.stages[i].layer_begin = 4, news.stages[i].layer_end = 8;
  trace.AddSteps(news, 0, 1, kStart + microseconds(110));
  EXPECT_EQ(Lines(trace),
            (std::vector<std::string>{"token a 0+110", "stage a 0+30", "wire a>b 30+15",
                                      "stage b 45+20", "stage c 45+40", "wire b>a 65+35",
                                      "wire c 85+15", "sample a 100+10"}));
}

TEST(TraceRecordTest, OneDeviceHasNoWire) {
  TraceRecord trace(kStart);
  trace.AddSteps(News({{.returned_us = 100, .done_us = 130, .rows = 8, .stage_us = {100}}}, 1, 1),
                 0, 0, kStart + microseconds(200));
  EXPECT_EQ(Lines(trace),
            (std::vector<std::string>{"prompt a 70+130", "stage a 70+100", "sample a 170+30"}));
}

TEST(TraceRecordTest, PhasesOfTheEntryComeFirst) {
  TraceRecord trace(kStart);
  trace.AddPhase(Kind::kTokenize, kStart + microseconds(5), kStart + microseconds(9), 7);
  trace.AddPhase(Kind::kQueue, kStart, kStart + microseconds(5));
  trace.AddPhase(Kind::kTemplate, kStart + microseconds(5), kStart + microseconds(5));  // none
  EXPECT_EQ(Lines(trace), (std::vector<std::string>{"queue entry 0+5", "tokenize entry 5+4"}));
}

TEST(TraceRecordTest, TheEarliestArrivalTellsWhereTheLeadsClockStands) {
  TraceRecord trace(kStart);
  const auto at = [&](uint64_t begun, uint64_t done, int64_t arrived) {
    trace.AddSteps(News({{.begun_us = begun, .returned_us = done, .done_us = done}}, 1, 1), 0, 1,
                   kStart + microseconds(arrived));
  };
  at(0, 100, 900);  // on its way for long
  at(100, 200, 300);
  EXPECT_EQ(Lines(trace)[0], "token a 100+100");
  EXPECT_EQ(trace.Spans("", &NameOf).back().step, 1u);
}

TEST(TraceRecordTest, APlanThatTakesOverHasAClockOfItsOwn) {
  TraceRecord trace(kStart);
  auto news = News({{.done_us = 100}}, 1, 1);
  trace.AddSteps(news, 0, 0, kStart + microseconds(100));
  news.plan.bytes[0] = 1;
  news.stages[0].node = NodeOf(2);
  trace.AddSteps(news, 0, 1, kStart + microseconds(5000));
  const auto lines = Lines(trace);
  EXPECT_EQ(lines.front(), "prompt a 0+100");
  EXPECT_EQ(lines[2], "token c 4900+100");
}

TEST(TraceRecordTest, NothingLiesOutsideTheRequestsLife) {
  TraceRecord trace(kStart);
  constexpr uint64_t kMost = UINT64_MAX;
  trace.AddSteps(News({{.begun_us = kMost,
                        .returned_us = kMost,
                        .done_us = 10,
                        .stage_us = {kMost, kMost, kMost}},
                       {.returned_us = kMost, .done_us = kMost, .stage_us = {kMost}}}),
                 0, 0, kStart + microseconds(500));
  for (const TraceSpan& span : trace.Spans("", &NameOf)) {
    EXPECT_LE(span.start_us, 500u);
    EXPECT_LE(span.duration_us, 500u);
  }
}

TEST(TraceRecordTest, KeepsTheFirstStepsAndCountsTheRest) {
  TraceRecord trace(kStart);
  for (uint64_t i = 0; i < TraceRecord::kMaxSteps + 5; ++i)
    trace.AddSteps(News({{.begun_us = i, .returned_us = i, .done_us = i}}, 1, 1), 0, i,
                   kStart + microseconds(i));
  auto lost = News({{}}, 1, 1);
  lost.steps_dropped = 100;
  trace.AddSteps(lost, 0, 9999, kStart + microseconds(9999));
  EXPECT_EQ(trace.dropped(), 106u);
  EXPECT_EQ(trace.Spans("", &NameOf).back().token, TraceRecord::kMaxSteps - 1);
}

}  // namespace
}  // namespace exo::node
