// Which rows share a step: chunks beside running streams, prompts that share them, clients in turn,
// drafts of the request's own text.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "engine/lead.h"
#include "engine/test_ids.h"

namespace exo::engine {
namespace {

using std::chrono::milliseconds;

// A prompt of `rows` tokens that no other number has.
wire::Submit Ask(uint8_t number, size_t rows, uint64_t client = 0, uint32_t most = 100) {
  wire::Submit submit{.request = Id(number),
                      .prompt = std::vector<TokenId>(rows, number * 1000),
                      .prompt_tokens = static_cast<uint32_t>(rows),
                      .max_new_tokens = most,
                      .client = client};
  for (size_t i = 0; i < rows; ++i) submit.prompt[i] += static_cast<TokenId>(i);
  return submit;
}

// A machine that reads its weights in 10 ms and computes a row in 2 ms, with a model whose answer
// to a token is `next`.
class Machine {
 public:
  explicit Machine(LeadOptions options) : lead_(options) {}

  LeadMachine& lead() { return lead_; }
  std::optional<LeadStep> Step() { return lead_.NextStep(now_); }
  // Computes a step; every row's token is one more than its own, modulo `period`.
  void Return(const LeadStep& step) {
    now_ += milliseconds(10) + step.rows * milliseconds(2);
    std::vector<ItemOutput> outputs;
    for (const LeadItem& item : step.items) {
      if (item.outputs == Outputs::kNone) continue;
      ItemOutput output{item.request, {}};
      for (size_t i = item.tokens.size() - OutputRows(item); i < item.tokens.size(); ++i) {
        output.tokens.push_back((item.tokens[i] + 1) % period);
        if (i + 1 < item.tokens.size() && item.tokens[i + 1] != output.tokens.back()) break;
      }
      outputs.push_back(std::move(output));
    }
    const auto emissions = lead_.OnStepDone(step.step, outputs, {}, now_);
    ASSERT_TRUE(emissions) << emissions.error().message;
    for (const Emission& emission : *emissions) {
      if (emission.tokens.empty()) continue;  // how far a prompt is
      auto& answer = answers[emission.request];
      answer.insert(answer.end(), emission.tokens.begin(), emission.tokens.end());
    }
  }
  Time now() const { return now_; }

  TokenId period = 1 << 20;
  std::map<RequestId, std::vector<TokenId>> answers;

 private:
  LeadMachine lead_;
  Time now_ = milliseconds(1);
};

LeadOptions Options() {
  return {.context = 4096, .pages = 512, .page = 32, .chunk = 256, .speculate = false};
}
uint32_t RowsOf(const LeadStep& step, uint8_t number) {
  for (const LeadItem& item : step.items) {
    if (item.request == Id(number)) return static_cast<uint32_t>(item.tokens.size());
  }
  return 0;
}

TEST(LeadBatchTest, APromptAloneGetsTheWholeChunk) {
  Machine machine(Options());
  ASSERT_TRUE(machine.lead().Submit(Ask(1, 1000), {}));
  EXPECT_EQ(machine.Step()->rows, 256u);
}

TEST(LeadBatchTest, BesideRunningStreamsAChunkTakesTheTargetGap) {
  Machine machine(Options());
  for (uint8_t i = 1; i <= 4; ++i) ASSERT_TRUE(machine.lead().Submit(Ask(i, 20), {}));
  for (int i = 0; i < 30; ++i) machine.Return(*machine.Step());
  ASSERT_TRUE(machine.lead().Submit(Ask(5, 3000), {}));
  Time longest{};
  for (int i = 0; i < 25; ++i) {
    const Time before = machine.now();
    const auto step = machine.Step();
    EXPECT_EQ(step->items.size(), 5u) << "every stream has a row in each step";
    EXPECT_GT(RowsOf(*step, 5), 16u);
    machine.Return(*step);
    if (i > 0) longest = std::max(longest, machine.now() - before);
  }
  EXPECT_LE(longest, milliseconds(260));
  EXPECT_GE(longest, milliseconds(200)) << "and no smaller chunks than that";
}

TEST(LeadBatchTest, PromptsShareAChunk) {
  Machine machine(Options());
  ASSERT_TRUE(machine.lead().Submit(Ask(1, 2000), {}));
  ASSERT_TRUE(machine.lead().Submit(Ask(2, 1000), {}));
  ASSERT_TRUE(machine.lead().Submit(Ask(3, 40), {}));
  const auto step = machine.Step();
  EXPECT_EQ(step->rows, 256u);
  EXPECT_EQ(RowsOf(*step, 1), 128u) << "the oldest has half of the rows";
  EXPECT_EQ(RowsOf(*step, 3), 40u) << "a short one need not wait for the long ones";
  EXPECT_EQ(RowsOf(*step, 2), 88u);
  machine.Return(*step);
  EXPECT_EQ(machine.answers.count(Id(3)), 1u);
}

TEST(LeadBatchTest, ClientsTakeTurns) {
  Machine machine(Options());
  for (uint8_t i = 1; i <= 6; ++i) ASSERT_TRUE(machine.lead().Submit(Ask(i, 1024, 1), {}));
  for (int i = 0; i < 4; ++i) machine.Return(*machine.Step());
  ASSERT_TRUE(machine.lead().Submit(Ask(7, 1024, 2), {}));
  // About as many rows for the one prompt of the second client as for the six of the first.
  uint32_t own = 0, others = 0;
  while (!machine.answers.contains(Id(7))) {
    const auto step = machine.Step();
    ASSERT_TRUE(step);
    own += RowsOf(*step, 7);
    for (uint8_t i = 1; i <= 6; ++i) {
      if (!machine.answers.contains(Id(i))) others += RowsOf(*step, i);
    }
    machine.Return(*step);
  }
  EXPECT_EQ(own, 1024u);
  EXPECT_LE(others, 1.5 * own);
}

TEST(LeadBatchTest, NobodyStarves) {
  Machine machine(Options());
  ASSERT_TRUE(machine.lead().Submit(Ask(1, 4000, 1, 1), {}));
  uint8_t number = 2;
  int steps = 0;
  while (!machine.answers.contains(Id(1))) {  // short prompts of others keep coming
    if (steps % 2 == 0) {
      ASSERT_TRUE(machine.lead().Submit(Ask(number, 200, number, 1), {}));
      ++number;
    }
    ASSERT_LT(++steps, 60);
    machine.Return(*machine.Step());
  }
}

TEST(LeadBatchTest, WhoWaitsIsToldWhenItsPlaceChanges) {
  LeadOptions options = Options();
  options.pages = options.context / options.page;
  options.prefix_cache = false;
  Machine machine(options);
  for (uint8_t i = 1; i <= 3; ++i) ASSERT_TRUE(machine.lead().Submit(Ask(i, 4000, 0, 2), {}));
  auto step = machine.Step();
  auto news = machine.lead().QueueNews();
  ASSERT_EQ(news.size(), 2u);
  EXPECT_EQ(news[0].request, Id(2));
  EXPECT_EQ(news[0].before, 0u);
  EXPECT_EQ(news[1].before, 1u);
  EXPECT_TRUE(machine.lead().QueueNews().empty());
  machine.lead().Cancel(Id(1));
  machine.Return(*step);
  step = machine.Step();
  news = machine.lead().QueueNews();
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].request, Id(3));
  EXPECT_EQ(news[0].before, 0u);
}

TEST(LeadBatchTest, ATextThatRepeatsIsDraftedAndStaysTheSame) {
  for (const bool speculate : {false, true}) {
    LeadOptions options = Options();
    options.speculate = speculate;
    Machine machine(options);
    machine.period = 20;
    wire::Submit submit = Ask(1, 60, 0, 300);
    for (size_t i = 0; i < 60; ++i) submit.prompt[i] = static_cast<TokenId>(i % 20);
    ASSERT_TRUE(machine.lead().Submit(submit, {}));
    while (const auto step = machine.Step()) machine.Return(*step);
    std::vector<TokenId> expected;
    for (int i = 0; i < 300; ++i) expected.push_back(i % 20);
    EXPECT_EQ(machine.answers[Id(1)], expected);
    const LeadStats& stats = machine.lead().stats();
    EXPECT_EQ(stats.accepted_drafts, stats.drafted_rows);
    if (speculate) {
      EXPECT_LT(stats.steps, 80u);
    } else {
      EXPECT_EQ(stats.drafted_rows, 0u);
    }
  }
}

}  // namespace
}  // namespace exo::engine
