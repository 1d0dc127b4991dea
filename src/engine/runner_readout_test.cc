// What a model makes of a text, read off instances of one and two stages: the bits that a model has
// which computes the text in one step.
#include <gtest/gtest.h>

#include <array>
#include <numeric>

#include "engine/test_backend.h"
#include "engine/test_instance.h"

namespace exo::engine {
namespace {

class RunnerReadoutTest : public RunnerTest {
 protected:
  // States and logits of all positions of a prompt, by one stage in one step.
  struct Read {
    std::vector<std::vector<float>> states, logits;
  };
  Read ReadAlone(const std::vector<TokenId>& prompt) {
    const backend::StageSpec spec = {.config = model_.config,
                                     .tensors = model_.tensors,
                                     .layer_begin = 0,
                                     .layer_end = model_.config->layers,
                                     .lead = true,
                                     .chunk = 256};
    auto stage = backend_->Load(spec, model_.source, {}, nullptr).value();
    const auto count = static_cast<uint32_t>(prompt.size());
    EXPECT_TRUE(stage->Open(1, count));
    std::vector<uint32_t> rows(count);
    std::iota(rows.begin(), rows.end(), 0u);
    const std::array segments = {backend::Segment{.sequence = 1, .first = 0, .count = count}};
    auto running = stage
                       ->Run({.segments = segments,
                              .tokens = prompt,
                              .output_rows = rows,
                              .wanted = backend::Wanted::kLogits})
                       .value();
    EXPECT_TRUE(running->Wait());
    Read read;
    for (uint32_t i = 0; i < count; ++i) {
      const auto state = running->States(i, 1).value();
      read.states.emplace_back(state.begin(), state.end());
      const auto logits = running->Logits(i, 1, backend::kAllLogits).value();
      read.logits.emplace_back(logits.begin(), logits.end());
    }
    return read;
  }
  wire::Submit AskToRead(uint8_t number, size_t prompt, wire::Readout readout) const {
    wire::Submit submit = Ask(number, prompt, 1);
    submit.readout = readout;
    if (readout == wire::Readout::kLogits) submit.read_tokens = {7, 0, 31};
    return submit;
  }
  void ExpectRead(const wire::Submit& submit) {
    const wire::Finished& end = reports_.finished[submit.request];
    ASSERT_EQ(end.reason, wire::FinishReason::kStop) << end.message;
    EXPECT_TRUE(reports_.tokens[submit.request].empty());
    const Read alone = ReadAlone(submit.prompt);
    std::vector<float> expected = alone.states.back();
    if (submit.readout == wire::Readout::kLogits) {
      expected.clear();
      for (const TokenId token : submit.read_tokens)
        expected.push_back(alone.logits.back()[static_cast<size_t>(token)]);
    } else if (submit.readout == wire::Readout::kMean) {
      for (size_t i = 0; i < expected.size(); ++i) {
        double sum = 0;
        for (const auto& state : alone.states) sum += state[i];
        expected[i] = static_cast<float>(sum / static_cast<double>(alone.states.size()));
      }
    }
    EXPECT_EQ(end.values, expected);
  }
  // Each kind, of texts shorter and longer than a step, beside an answer.
  void ExpectReadouts() {
    std::vector<wire::Submit> all;
    for (const size_t prompt : {1u, 16u, 21u, 61u}) {
      for (const auto readout :
           {wire::Readout::kLast, wire::Readout::kMean, wire::Readout::kLogits}) {
        all.push_back(AskToRead(static_cast<uint8_t>(100 + all.size()), prompt, readout));
        // What another one has computed helps only where all rows are not needed.
        all.back().prompt = AskToRead(100, prompt, readout).prompt;
      }
    }
    runners_[0]->Submit(Ask(1, 40, 12));
    for (const wire::Submit& submit : all) runners_[0]->Submit(submit);
    ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.size() == all.size() + 1; }));
    EXPECT_EQ(reports_.tokens[Id(1)], Expected(Ask(1, 40, 12)));
    for (const wire::Submit& submit : all) {
      SCOPED_TRACE(fmt::format("{} tokens, kind {}", submit.prompt.size(),
                               static_cast<int>(submit.readout)));
      ExpectRead(submit);
    }
  }
};

TEST_F(RunnerReadoutTest, OneStageReadsTextsAsTheModelInOneProcess) {
  Start(PlanOf(1, 1));
  ExpectReadouts();
}

TEST_F(RunnerReadoutTest, TwoStagesReadTextsAsTheModelInOneProcess) {
  Start(PlanOf(1, 2));
  ExpectReadouts();
}

TEST_F(RunnerReadoutTest, StatesNeedNoLogits) {
  LogitCount count;
  CountingBackend counting(*backend_, count);
  plan_ = PlanOf(1, 1);
  runners_.push_back(InstanceRunner::Start(
      counting, stores_[0], std::make_unique<MemoryStages>(model_, loads_),
      {.plan = plan_, .stage = 0, .self = Node(1), .names = {"one"}}, reports_.Events()));
  runners_[0]->Serve({});
  for (const auto readout : {wire::Readout::kLast, wire::Readout::kMean})
    runners_[0]->Submit(AskToRead(static_cast<uint8_t>(readout), 40, readout));
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.size() == 2; }));
  EXPECT_EQ(count.rows, 0u);
  runners_.clear();  // before what it computes with
}

TEST_F(RunnerReadoutTest, AReadoutOfTokensThatAreNotThereEndsAlone) {
  Start(PlanOf(1, 1));
  wire::Submit wrong = AskToRead(1, 5, wire::Readout::kLogits);
  wrong.read_tokens = {3, static_cast<TokenId>(TestModel::kVocab)};
  wire::Submit none = AskToRead(2, 5, wire::Readout::kLogits);
  none.read_tokens.clear();
  runners_[0]->Submit(wrong);
  runners_[0]->Submit(none);
  ExpectAnswer(Ask(3, 5, 4));
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.size() == 3; }));
  for (const uint8_t id : {1, 2}) {
    EXPECT_EQ(reports_.finished[Id(id)].reason, wire::FinishReason::kError);
    EXPECT_EQ(reports_.finished[Id(id)].code, ErrorCode::kInvalid);
  }
}

}  // namespace
}  // namespace exo::engine
