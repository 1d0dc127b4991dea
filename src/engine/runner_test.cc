// The engine's threads: answers, choices, cancelling, pauses, lost links, stages that go on.
#include "engine/runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "engine/load_stage.h"
#include "engine/test_backend.h"
#include "engine/test_instance.h"
#include "grammar/grammar.h"
#include "grammar/test_texts.h"
#include "sys/system.h"

namespace exo::engine {
namespace {

TEST_F(RunnerTest, OneStageAnswersAsTheModelInOneProcess) {
  Start(PlanOf(1, 1));
  ExpectAnswer(Ask(1, 40, 12));
}

TEST_F(RunnerTest, TwoStagesAnswerAsTheModelInOneProcess) {
  Start(PlanOf(1, 2));
  ExpectAnswer(Ask(1, 40, 12));
  runners_[0]->Submit(Ask(2, 21, 9));  // two at once
  ExpectAnswer(Ask(3, 3, 9));
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(2)); }));
  EXPECT_EQ(reports_.tokens[Id(2)], Expected(Ask(2, 21, 9)));
}

// Links that take longer than the stages: windows go ahead of answers, and some are refuted.
TEST_F(RunnerTest, WindowsAheadOfAnswersChangeNone) {
  delay_ = std::chrono::milliseconds(2);
  reports_.on_stale = [this](const wire::StaleRows& stale) {
    runners_[1]->DropRows(Node(1), stale);
    runners_[1]->DropRows(Node(2), stale);  // not from the lead
  };
  Start(PlanOf(1, 2));
  for (uint8_t i = 1; i <= 2; ++i) {
    wire::Submit submit = Ask(i, 60, 50);
    for (size_t at = 20; at < 60; ++at) submit.prompt[at] = submit.prompt[at - 20];
    ExpectAnswer(submit);
    const wire::Finished& finished = reports_.finished[submit.request];
    EXPECT_LE(finished.accepted, finished.drafted);
  }
}

// Chunks of 16 rows and decoded rows alone cross the wire: the reference codes each prompt at once.
TEST_F(RunnerTest, ALossyWireGivesTheAnswerOfItsDivisionWhateverTheChunks) {
  for (const auto codec : {wire::Codec::kF16, wire::Codec::kInt8, wire::Codec::kInt4}) {
    runners_.clear();
    wire::Plan plan = PlanOf(static_cast<uint8_t>(10 + static_cast<int>(codec)), 2);
    plan.codec = codec;
    Start(plan);
    ExpectAnswer(Ask(1, 40, 12));
    ExpectAnswer(Ask(2, 21, 9));
    reports_.finished.clear();
    reports_.tokens.clear();
  }
}

// The stages of the plan before are kept, with what they hold of the same prompt.
TEST_F(RunnerTest, WhatALossyWireComputedIsNotTakenOverByAnExactPlan) {
  wire::Plan lossy = PlanOf(1, 2);
  lossy.codec = wire::Codec::kInt4;
  Start(lossy);
  ExpectAnswer(Ask(1, 40, 12));
  for (auto& runner : runners_) runner->KeepStage(false);
  runners_.clear();
  reports_.finished.clear();
  reports_.tokens.clear();
  EXPECT_EQ(loads_.load(), 2);
  Start(PlanOf(2, 2));
  EXPECT_EQ(loads_.load(), 4);
  ExpectAnswer(Ask(1, 40, 12));
}

TEST_F(RunnerTest, TwoShardsAnswerAsTheModelInOneProcess) {
  wire::Plan plan = ShardedPlan(1);
  plan.kv_pages = 8;
  Start(plan);
  ExpectAnswer(Ask(1, 40, 12));
  runners_[0]->Submit(Ask(2, 21, 9));  // two at once
  ExpectAnswer(Ask(3, 3, 9));
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(2)); }));
  EXPECT_EQ(reports_.tokens[Id(2)], Expected(Ask(2, 21, 9)));
  // The prefix is in every shard's memory.
  wire::Submit longer = Ask(1, 40, 12);
  longer.request = Id(4);
  longer.prompt.push_back(5);
  longer.prompt_tokens = 41;
  ExpectRestored(longer, 40);
}

// 9 experts and a shared one, and a cut through the group of the first KV head.
class MixtureShardsTest : public RunnerTest {
 protected:
  MixtureShardsTest() : RunnerTest(Kind::kSharedExpert, {.heads = 6, .kv_heads = 2}) {
    plan_of_two_ = ShardedPlan(1);
    wire::ShardPlan& first = *plan_of_two_.stages[0].shard;
    wire::ShardPlan& second = *plan_of_two_.stages[1].shard;
    first.kv_end = 1;
    first.head_end = second.head_begin = 2;
    second.kv_begin = 0;
    second.head_end = 6;
    first.expert_end = second.expert_begin = 7;
    second.expert_end = 9;
  }
  wire::Plan plan_of_two_;
};

TEST_F(MixtureShardsTest, AnswerAsTheModelInOneProcess) {
  Start(plan_of_two_);
  ExpectAnswer(Ask(1, 40, 12));
  runners_[0]->Submit(Ask(2, 21, 9));  // two at once
  ExpectAnswer(Ask(3, 3, 9));
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(2)); }));
  EXPECT_EQ(reports_.tokens[Id(2)], Expected(Ask(2, 21, 9)));
}

// Groups joined by a pipeline, each of one node or of shards in uneven parts.
class HybridTest : public RunnerTest {
 protected:
  static constexpr backend::TestHeads kHeads = {.heads = 6, .kv_heads = 3};
  explicit HybridTest(Kind kind = Kind::kLlama) : RunnerTest(kind, kHeads) {}

  struct Group {
    uint32_t layer_begin = 0;
    uint32_t layer_end = 0;
    size_t nodes = 1;
  };
  wire::Plan PlanOfGroups(const std::vector<Group>& groups) const {
    wire::Plan plan = PlanOf(1, 1);
    plan.kv_pages = 8;
    plan.stages.clear();
    for (const Group& group : groups) {
      const bool lead = plan.stages.empty();
      for (size_t i = 0; i < group.nodes; ++i) {
        plan.stages.push_back({.node = Node(static_cast<uint8_t>(plan.stages.size() + 1)),
                               .layer_begin = group.layer_begin,
                               .layer_end = group.layer_end,
                               .bytes = 64 * kMiB});
        if (group.nodes > 1) plan.stages.back().shard = ShardAt(i, group.nodes, lead);
      }
    }
    return plan;
  }
  // Several answers at once, and one that begins like another.
  void ExpectAnswersOf(const wire::Plan& plan) {
    Start(plan);
    ExpectAnswer(Ask(1, 40, 12));
    runners_[0]->Submit(Ask(2, 21, 9));
    ExpectAnswer(Ask(3, 3, 9));
    ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(2)); }));
    EXPECT_EQ(reports_.tokens[Id(2)], Expected(Ask(2, 21, 9)));
    wire::Submit longer = Ask(1, 40, 12);
    longer.request = Id(4);
    longer.prompt.push_back(5);
    longer.prompt_tokens = 41;
    ExpectRestored(longer, 40);
    EXPECT_TRUE(reports_.failures.empty());
    EndAll();
  }
  void EndAll() {
    runners_.clear();
    reports_.Clear();
    reports_.failures.clear();
  }

 private:
  wire::ShardPlan ShardAt(size_t i, size_t count, bool lead) const {
    const model::ModelConfig& config = *model_.config;
    const auto cut = [&](size_t at, uint32_t step, uint32_t whole) {
      return at == count ? whole : std::min(whole, static_cast<uint32_t>(at) * step);
    };
    wire::ShardPlan shard = {.kv_begin = cut(i, 1, config.kv_heads),
                             .kv_end = cut(i + 1, 1, config.kv_heads),
                             .ffn_begin = cut(i, 128, config.ffn_width),
                             .ffn_end = cut(i + 1, 128, config.ffn_width),
                             .expert_begin = cut(i, 2, config.experts.count),
                             .expert_end = cut(i + 1, 2, config.experts.count)};
    if (lead) {
      shard.vocab_begin = cut(i, 112, config.vocab);
      shard.vocab_end = cut(i + 1, 112, config.vocab);
    }
    return shard;
  }
};

TEST_F(HybridTest, OneNodeBeforeAGroupAnswersAsTheModelInOneProcess) {
  ExpectAnswersOf(PlanOfGroups({{0, 2, 1}, {2, 5, 2}}));
}

TEST_F(HybridTest, AGroupBeforeOneNodeAnswersAsTheModelInOneProcess) {
  ExpectAnswersOf(PlanOfGroups({{0, 2, 2}, {2, 5, 1}}));
}

TEST_F(HybridTest, TwoGroupsAnswerAsTheModelInOneProcess) {
  ExpectAnswersOf(PlanOfGroups({{0, 3, 2}, {3, 5, 2}}));
}

TEST_F(HybridTest, ThreeShardsAndOneNodeAnswerAsTheModelInOneProcess) {
  ExpectAnswersOf(PlanOfGroups({{0, 1, 1}, {1, 5, 3}}));
  ExpectAnswersOf(PlanOfGroups({{0, 4, 3}, {4, 5, 1}}));
}

TEST_F(HybridTest, AGroupBetweenTwoNodesAnswersAsTheModelInOneProcess) {
  ExpectAnswersOf(PlanOfGroups({{0, 2, 1}, {2, 4, 2}, {4, 5, 1}}));
  ExpectAnswersOf(PlanOfGroups({{0, 0, 1}, {0, 4, 2}, {4, 5, 1}}));  // a lead without layers
}

TEST_F(HybridTest, WindowsAheadOfAnswersChangeNone) {
  delay_ = std::chrono::milliseconds(3);
  Start(PlanOfGroups({{0, 2, 2}, {2, 5, 1}}));
  ExpectAnswer(Ask(1, 30, 100));  // a greedy answer of this model repeats itself soon
}

TEST_F(HybridTest, AllGoOnWhenARequestIsCancelled) {
  Start(PlanOfGroups({{0, 2, 1}, {2, 5, 2}}));
  runners_[0]->Submit(Ask(1, 200, 50));
  runners_[0]->Submit(Ask(2, 30, 12));
  runners_[0]->Cancel(Id(1));
  for (auto& runner : runners_) runner->CancelRows(Node(1), Id(1));
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(2)); }));
  EXPECT_EQ(reports_.tokens[Id(2)], Expected(Ask(2, 30, 12)));
  ExpectAnswer(Ask(3, 25, 9));
}

// Somebody names who is gone, and where the lead has a link there its answer ends at once; else
// that is for whoever owns the plan.
TEST_F(HybridTest, ALostMemberOfAnyGroupIsNamed) {
  for (size_t lost = 1; lost < 4; ++lost) {
    Start(PlanOfGroups({{0, 2, 2}, {2, 5, 2}}));
    ExpectAnswer(Ask(1, 5, 2));
    runners_[lost].reset();
    runners_[0]->Submit(Ask(2, 30, 20));
    const NodeId gone = plan_.stages[lost].node;
    EXPECT_TRUE(reports_.Wait([&] {
      return std::ranges::any_of(reports_.failures,
                                 [&](const auto& failure) { return failure.second == gone; });
    })) << lost;
    // Of the one that returns rows the lead hears before there is a request, perhaps: then whoever
    // asked knows that the instance has ended.
    if (AreLinked(plan_, 0, gone) && wire::RowsFrom(plan_, 0) != lost) {
      ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(2)); })) << lost;
      EXPECT_EQ(reports_.finished[Id(2)].reason, wire::FinishReason::kError);
    }
    EndAll();
  }
}

class HybridMixtureTest : public HybridTest {
 protected:
  HybridMixtureTest() : HybridTest(Kind::kSharedExpert) {}
};

TEST_F(HybridMixtureTest, AnswersAsTheModelInOneProcess) {
  ExpectAnswersOf(PlanOfGroups({{0, 2, 1}, {2, 5, 2}}));
  ExpectAnswersOf(PlanOfGroups({{0, 3, 3}, {3, 5, 1}}));
}

// Windows, norms behind the blocks, and the embedding as the output matrix.
class HybridGemmaTest : public HybridTest {
 protected:
  HybridGemmaTest() : HybridTest(Kind::kGemma) {}
};

TEST_F(HybridGemmaTest, AnswersAsTheModelInOneProcess) {
  ExpectAnswersOf(PlanOfGroups({{0, 2, 2}, {2, 5, 2}}));
}

// What LoadStage says to a plan that is not of this model.
TEST_F(MixtureShardsTest, PlansThatDoNotFitTheModelAreRefused) {
  const auto refusal = [&](const std::function<void(wire::ShardPlan&, wire::ShardPlan&)>& change) {
    wire::Plan plan = plan_of_two_;
    change(*plan.stages[0].shard, *plan.stages[1].shard);
    MemoryStages stages(model_, loads_);
    const auto loaded =
        LoadStage(stages, *backend_, plan, 1, [](uint64_t, uint64_t) {}, /*cancel=*/nullptr);
    return loaded ? std::string() : loaded.error().message;
  };
  EXPECT_EQ(refusal([](auto&, auto&) {}), "");
  EXPECT_TRUE(
      refusal([](auto&, auto& second) { second.expert_end = 8; }).contains("at expert 8 of 9"));
  EXPECT_TRUE(
      refusal([](auto&, auto& second) { second.head_end = 5; }).contains("query head 5 of 6"));
  EXPECT_EQ(refusal([](auto&, auto& second) { second.kv_begin = 1; }),
            "a shard of query heads [2, 6) with KV heads [1, 2): 3 query heads share one");
  EXPECT_EQ(loads_.load(), 1) << "nothing is fetched for a plan that does not fit";
}

TEST_F(RunnerTest, ShardsGoOnWhenARequestOfTheirsIsCancelled) {
  Start(ShardedPlan(1));
  runners_[0]->Submit(Ask(1, 200, 50));
  runners_[0]->Submit(Ask(2, 30, 12));
  runners_[0]->Cancel(Id(1));
  for (auto& runner : runners_) runner->CancelRows(Node(1), Id(1));
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(2)); }));
  EXPECT_EQ(reports_.tokens[Id(2)], Expected(Ask(2, 30, 12)));
  ExpectAnswer(Ask(3, 25, 9));
}

TEST_F(RunnerTest, ALostShardIsNamed) {
  Start(ShardedPlan(1));
  ExpectAnswer(Ask(1, 5, 2));
  runners_[1].reset();
  runners_[0]->Submit(Ask(2, 30, 20));
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(2)); }));
  EXPECT_EQ(reports_.finished[Id(2)].reason, wire::FinishReason::kError);
  EXPECT_TRUE(reports_.finished[Id(2)].message.contains("a part of every layer"))
      << reports_.finished[Id(2)].message;
  ASSERT_TRUE(reports_.Wait([&] { return !reports_.failures.empty(); }));
  EXPECT_EQ(reports_.failures[0].second, Node(2));
}

TEST_F(RunnerTest, ShardsThatAreNotTheWholeModelAreRefused) {
  wire::Plan plan = ShardedPlan(1);
  plan.stages[1].shard->ffn_end = 500;
  Result<void> loaded;
  const auto runner =
      InstanceRunner::Start(*backend_, stores_[0], std::make_unique<MemoryStages>(model_, loads_),
                            {.plan = plan, .stage = 0, .self = Node(1), .names = {"one", "two"}},
                            {.on_progress = [](uint64_t, uint64_t) {},
                             .on_loaded =
                                 [&](Result<void> result, uint64_t) {
                                   reports_.Change([&] {
                                     loaded = std::move(result);
                                     ++reports_.loaded;
                                   });
                                 }});
  ASSERT_TRUE(reports_.Wait([&] { return reports_.loaded == 1; }));
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::kInvalid);
  EXPECT_TRUE(loaded.error().message.contains("column 500 of 512")) << loaded.error().message;
}

// 600 tokens are two pages and a part; the stages know nothing of each other's pages.
TEST_F(RunnerTest, APromptGoesOnFromTheStagesPrefixStores) {
  use_pages_ = true;
  for (const size_t stages : {1u, 2u}) {
    wire::Plan plan = PlanOf(1, stages);
    plan.context = 1024;
    plan.kv_pages = 8;
    Start(plan);
    ExpectAnswer(Ask(1, 600, 4));
    const auto stored = [&] {
      const MutexLock lock(pages_[0].mutex);
      return pages_[0].texts.size() == 3;
    };
    for (int i = 0; i < 6000 && !stored(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_TRUE(stored());
    runners_.clear();
    for (StageStore& store : stores_) store.Clear();  // as after a restart
    plan.id.bytes[0] = 2;
    Start(plan);
    wire::Submit again = Ask(1, 600, 4);
    again.prompt.push_back(7);
    again.prompt_tokens = 601;
    ExpectRestored(again, 600);
    // One stage loses a page: the request is computed from what is left.
    runners_.clear();
    for (StageStore& store : stores_) store.Clear();
    std::erase_if(pages_[stages - 1].pages,
                  [](const auto& page) { return page.second.positions < 256; });
    plan.id.bytes[0] = 3;
    Start(plan);
    again.request = Id(2);
    ExpectRestored(again, 512);
    runners_.clear();
    for (StageStore& store : stores_) store.Clear();
    for (MemoryPages& pages : pages_) pages.pages.clear();
    plan.id.bytes[0] = 4;
    Start(plan);
    again.request = Id(3);
    ExpectRestored(again, 0);
    runners_.clear();
    for (MemoryPages& pages : pages_) {
      const MutexLock lock(pages.mutex);
      pages.pages.clear();
      pages.texts.clear();
    }
    reports_.tokens.clear();
    reports_.finished.clear();
  }
}

// Layers with a window of 12. At 531 positions theirs are on the third page; at the end of the
// prompt, at 508, on the second.
class WindowRunnerTest : public RunnerTest {
 protected:
  WindowRunnerTest() : RunnerTest(Kind::kGemma) {
    use_pages_ = true;
    lead_.speculate = false;  // how far windows have moved must not depend on this machine's speed
  }
  // As after a restart.
  void StartAgain(uint8_t number, size_t stages) {
    runners_.clear();
    for (StageStore& store : stores_) store.Clear();
    wire::Plan plan = PlanOf(number, stages);
    plan.context = 1024;
    plan.kv_pages = 8;
    Start(plan);
  }
  size_t Texts() {
    const MutexLock lock(pages_[0].mutex);
    return pages_[0].texts.size();
  }
};

TEST_F(WindowRunnerTest, TheEndsOfAPromptAndOfItsAnswerOutlastARestart) {
  for (const size_t stages : {1u, 2u}) {
    StartAgain(1, stages);
    const wire::Submit first = Ask(1, 508, 24);
    ExpectAnswer(first);
    for (int i = 0; i < 6000 && Texts() < 4; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_EQ(Texts(), 4u);
    wire::Submit on = first;
    on.max_new_tokens = 4;
    const auto& answer = reports_.tokens[first.request];
    on.prompt.insert(on.prompt.end(), answer.begin(), answer.end());
    on.prompt.push_back(7);
    on.prompt_tokens = static_cast<uint32_t>(on.prompt.size());
    wire::Submit otherwise = first;
    otherwise.request = Id(2);
    otherwise.max_new_tokens = 2;
    otherwise.prompt.push_back(7);
    otherwise.prompt_tokens = 509;
    StartAgain(2, stages);
    ExpectRestored(on, 531);
    StartAgain(3, stages);
    ExpectRestored(otherwise, 508);
    // The ends of both prompts are lost; no other page has what the window there reaches back to.
    runners_.clear();
    std::erase_if(pages_[stages - 1].pages, [](const auto& page) {
      return page.second.positions > 250 && page.second.positions < 256;
    });
    StartAgain(4, stages);
    otherwise.request = Id(3);
    ExpectRestored(otherwise, 0);
    runners_.clear();
    for (MemoryPages& pages : pages_) {
      const MutexLock lock(pages.mutex);
      pages.pages.clear();
      pages.texts.clear();
    }
    reports_.Clear();
  }
}

// Everything that samples by its past, and all of it reported.
wire::SamplerSettings Remembering(bool mirostat) {
  wire::SamplerSettings settings = {.temperature = 0.9f,
                                    .repeat_penalty = 1.3f,
                                    .penalty_window = 8,
                                    .seed = 17,
                                    .xtc_probability = 0.5f,
                                    .dry_multiplier = 0.8f,
                                    .mirostat = mirostat,
                                    .mirostat_tau = 3,
                                    .logprobs = true,
                                    .top_logprobs = 4};
  if (!mirostat)
    settings.order = {wire::SamplerStep::kDry, wire::SamplerStep::kPenalties,
                      wire::SamplerStep::kXtc, wire::SamplerStep::kTemperature};
  return settings;
}

TEST_F(RunnerTest, AnAnswerGoesOnAtAnotherLeadFromItsState) {
  constexpr uint32_t kAll = 30;
  for (const bool mirostat : {true, false}) {
    Start(PlanOf(1, 1));
    wire::Submit submit = Ask(1, 40, kAll);
    submit.sampler = Remembering(mirostat);
    runners_[0]->Submit(submit);
    ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(1)); }));
    const auto tokens = reports_.tokens[Id(1)];
    const auto logprobs = reports_.logprobs[Id(1)];
    const auto states = reports_.states[Id(1)];
    ASSERT_EQ(tokens.size(), kAll);
    ASSERT_EQ(logprobs.sampled.size(), kAll);
    ASSERT_EQ(logprobs.top.size(), 4 * kAll);
    runners_.clear();
    Start(PlanOf(2, 2));  // other stages, too
    uint8_t number = 2;
    for (const uint32_t cut : {1u, 7u, kAll - 1}) {
      const auto state = states.find(cut);
      if (state == states.end()) continue;  // inside of a message
      EXPECT_EQ(state->second.begun, mirostat);
      wire::Submit rest = submit;
      rest.request = Id(number);
      rest.plan = plan_.id;
      rest.prompt.insert(rest.prompt.end(), tokens.begin(), tokens.begin() + cut);
      rest.state = state->second;
      runners_[0]->Submit(rest);
      ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(number)); }));
      EXPECT_EQ(reports_.tokens[Id(number)], std::vector(tokens.begin() + cut, tokens.end()));
      EXPECT_EQ(reports_.logprobs[Id(number)], Part(logprobs, kAll, cut, kAll - cut));
      ++number;
    }
    EXPECT_GE(number, 4);
    runners_.clear();
    reports_.tokens.clear();
    reports_.logprobs.clear();
    reports_.states.clear();
    reports_.finished.clear();
  }
}

// Grammars with long forced texts, repetitions (drafts), counts and nesting.
const std::vector<std::pair<wire::GrammarKind, std::string>> kGrammars = {
    {wire::GrammarKind::kRegex, "(?:[a-c]{2}-12){3}qrstuvwxyz0"},
    {wire::GrammarKind::kJsonSchema, R"({"type":"object","properties":{"abc":{"type":"string",
        "pattern":"^[a-z]{3,9}$"},"list":{"const":{"qqqq":12345678}}},"required":["abc","list"]})"},
    {wire::GrammarKind::kGbnf, "root ::= (\"ab\" [0-9]{1,2} \"-\"){6,9} | \"xyz\" root \"xyz\""}};

TEST_F(RunnerTest, AnAnswerOfAGrammarGoesOnAtAnotherLeadFromItsState) {
  const TestTokenizer tokenizer(TestModel::kVocab);
  uint8_t number = 1;
  for (const float temperature : {0.0f, 1.0f}) {
    for (const auto& [kind, text] : kGrammars) {
      Start(PlanOf(1, 1));
      wire::Submit submit = Ask(number++, 40, 120);
      submit.sampler = {.temperature = temperature, .seed = 3, .mirostat = temperature > 0};
      submit.sampler.grammar.parts = {{.kind = kind, .text = text}};
      submit.stop_tokens = {0};
      runners_[0]->Submit(submit);
      ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(submit.request); }));
      const auto& end = reports_.finished[submit.request];
      EXPECT_EQ(end.reason, wire::FinishReason::kStop) << text << end.message;
      const auto tokens = reports_.tokens[submit.request];
      const auto states = reports_.states[submit.request];
      const auto automaton = grammar::Compile(submit.sampler.grammar).value();
      EXPECT_TRUE(grammar::Accepts(*automaton, tokenizer.Decode(tokens, false)))
          << tokenizer.Decode(tokens, false);
      EXPECT_LT(states.size(), tokens.size()) << "some tokens were forced";
      runners_.clear();
      Start(PlanOf(2, 2));  // other stages, too
      for (const auto& [cut, state] : states) {
        if (cut == tokens.size()) continue;
        wire::Submit rest = submit;
        rest.request = Id(number++);
        rest.plan = plan_.id;
        rest.prompt.insert(rest.prompt.end(), tokens.begin(),
                           tokens.begin() + static_cast<ptrdiff_t>(cut));
        rest.state = state;
        runners_[0]->Submit(rest);
        ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(rest.request); }));
        EXPECT_EQ(reports_.tokens[rest.request],
                  std::vector(tokens.begin() + static_cast<ptrdiff_t>(cut), tokens.end()));
        if (number > 240) break;  // ids of one byte
      }
      runners_.clear();
      number = 1;
      reports_.Clear();
    }
  }
}

TEST_F(RunnerTest, AGrammarThatCannotBeEndsItsRequestAlone) {
  Start(PlanOf(1, 1));
  wire::Submit bad = Ask(1, 10, 9);
  bad.sampler.grammar.parts = {{.kind = wire::GrammarKind::kRegex, .text = "(a"}};
  runners_[0]->Submit(bad);
  ExpectAnswer(Ask(2, 10, 9));
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(1)); }));
  EXPECT_EQ(reports_.finished[Id(1)].code, ErrorCode::kInvalid);
  EXPECT_EQ(reports_.finished[Id(1)].reason, wire::FinishReason::kError);
}

// Choices fork the first one's sequence: only their last row is computed, and nothing differs.
TEST_F(RunnerTest, ChoicesShareThePromptAndAreWhatTheyAreAlone) {
  Start(PlanOf(1, 1));
  const auto choice_of = [&](uint8_t number, uint32_t choice) {
    wire::Submit submit = Ask(1, 60, 12);
    submit.request = Id(number);
    submit.plan = plan_.id;
    submit.sampler = Remembering(false);
    submit.sampler.choice = choice;
    return submit;
  };
  runners_[0]->Submit(choice_of(1, 0));
  ASSERT_TRUE(reports_.Wait([&] { return !reports_.tokens[Id(1)].empty(); }));
  runners_[0]->Submit(choice_of(2, 1));
  runners_[0]->Submit(choice_of(3, 2));
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.size() == 3; }));
  EXPECT_EQ(reports_.cached[Id(1)], 0u);
  EXPECT_EQ(reports_.cached[Id(2)], 59u);
  EXPECT_EQ(reports_.cached[Id(3)], 59u);
  EXPECT_NE(reports_.tokens[Id(2)], reports_.tokens[Id(3)]);
  for (uint8_t number = 1; number <= 3; ++number) {
    runners_.clear();  // nothing is kept from one to the next
    Start(PlanOf(static_cast<uint8_t>(number + 1), 1));
    const auto alone = static_cast<uint8_t>(number + 10);
    runners_[0]->Submit(choice_of(alone, number - 1u));
    ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(alone)); }));
    EXPECT_EQ(reports_.cached[Id(alone)], 0u);
    EXPECT_EQ(reports_.tokens[Id(number)], reports_.tokens[Id(alone)]);
    EXPECT_EQ(reports_.logprobs[Id(number)], reports_.logprobs[Id(alone)]);
  }
}

// The output matrix is read once for all rows of a step, not once for each.
TEST_F(RunnerTest, ManyRequestsShareTheOutputMatrix) {
  LogitCount count;
  CountingBackend counting(*backend_, count);
  plan_ = PlanOf(1, 1);
  plan_.chunk = 32;
  constexpr uint8_t kRequests = 20;  // more rows than one slice of logits holds
  plan_.kv_pages = kRequests;
  runners_.push_back(InstanceRunner::Start(
      counting, stores_[0], std::make_unique<MemoryStages>(model_, loads_),
      {.plan = plan_, .stage = 0, .self = Node(1), .names = {"one"}}, reports_.Events()));
  for (uint8_t i = 1; i <= kRequests; ++i) runners_[0]->Submit(Ask(i, 3, 8));
  runners_[0]->Serve({});
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.size() == kRequests; }));
  for (uint8_t i = 1; i <= kRequests; ++i)
    EXPECT_EQ(reports_.tokens[Id(i)], Expected(Ask(i, 3, 8))) << "request " << int{i};
  EXPECT_EQ(count.rows, kRequests * 8u);
  EXPECT_LE(count.calls * 4, count.rows) << count.calls << " times for " << count.rows << " rows";
  runners_.clear();  // before what it computes with
}

TEST_F(RunnerTest, ACancelledRequestEndsAndTheOthersGoOn) {
  Start(PlanOf(1, 2));
  // An answer may be over before it is cancelled, where this thread is held up.
  bool ended = false;
  for (uint8_t i = 1; i <= 20 && !ended; i += 2) {
    runners_[0]->Submit(Ask(i, 100, 150));
    ASSERT_TRUE(reports_.Wait([&] { return reports_.tokens[Id(i)].size() > 2; }));
    runners_[0]->Cancel(Id(i));
    runners_[1]->CancelRows(Node(1), Id(i));
    ExpectAnswer(Ask(i + 1, 30, 8));
    const MutexLock lock(reports_.mutex);
    ended = !reports_.finished.contains(Id(i)) && reports_.tokens[Id(i)].size() < 150;
  }
  EXPECT_TRUE(ended);
  EXPECT_TRUE(reports_.failures.empty());
}

TEST_F(RunnerTest, APromptIsCancelledInTheMiddleOfItsSteps) {
  Start(PlanOf(1, 2));
  for (uint8_t i = 1; i <= 6; ++i) {
    runners_[0]->Submit(Ask(i, 200, 20));
    std::this_thread::sleep_for(std::chrono::milliseconds(3 * i));
    runners_[1]->CancelRows(Node(1), Id(i));  // the stage first: the lead hears of it by the frame
    runners_[0]->Cancel(Id(i));
  }
  ExpectAnswer(Ask(7, 30, 8));
  EXPECT_TRUE(reports_.failures.empty());
}

TEST_F(RunnerTest, OnlyTheLeadCancelsRowsAtAStage) {
  Start(PlanOf(1, 2));
  runners_[0]->Submit(Ask(1, 60, 60));
  ASSERT_TRUE(reports_.Wait([&] { return !reports_.tokens[Id(1)].empty(); }));
  for (int i = 0; i < 20; ++i) {
    runners_[1]->CancelRows(Node(3), Id(1));
    runners_[0]->CancelRows(Node(2), Id(1));
  }
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(1)); }));
  EXPECT_EQ(reports_.tokens[Id(1)], Expected(Ask(1, 60, 60)));
}

TEST_F(RunnerTest, APausedRequestWaitsAndThenGoesOn) {
  Start(PlanOf(1, 2));
  size_t before = 200;
  for (uint8_t i = 1; i <= 20 && before == 200; i += 2) {  // it may be over before it is paused
    runners_[0]->Submit(Ask(i, 20, 200));
    ASSERT_TRUE(reports_.Wait([&] { return reports_.tokens[Id(i)].size() > 3; }));
    runners_[0]->Pause(Id(i), true);
    ExpectAnswer(Ask(i + 1, 10, 4));  // in order behind the pause: it holds by now
    const auto count = [&] {
      const MutexLock lock(reports_.mutex);
      return reports_.tokens[Id(i)].size();
    };
    before = count();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    EXPECT_LE(count(), before + 1) << "one step may have been in flight";
    runners_[0]->Pause(Id(i), false);
    ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(i)); }));
    EXPECT_EQ(reports_.tokens[Id(i)], Expected(Ask(i, 20, 200)));
  }
  EXPECT_LT(before, 200u);
}

TEST_F(RunnerTest, ALostLinkIsReportedWithTheNeighbor) {
  Start(PlanOf(1, 2));
  ExpectAnswer(Ask(1, 5, 2));
  runners_[0]->Submit(Ask(2, 100, 150));
  runners_.pop_back();  // its end of the link goes with it
  ASSERT_TRUE(reports_.Wait([&] { return !reports_.failures.empty(); }));
  EXPECT_EQ(reports_.failures[0].second, Node(2));
  EXPECT_EQ(reports_.failures[0].first.code, ErrorCode::kDisconnected);
  EXPECT_NE(reports_.failures[0].first.message.find("two"), std::string::npos);
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(2)); }));
  EXPECT_EQ(reports_.finished[Id(2)].reason, wire::FinishReason::kError);
}

TEST_F(RunnerTest, WorkWithoutProgressFailsTheInstance) {
  Start(PlanOf(1, 2));
  ExpectAnswer(Ask(1, 5, 2));
  runners_[0]->Watch(1, Time{});
  for (int i = 1; i < 100; ++i) runners_[0]->Watch(1, i * std::chrono::seconds(1));
  EXPECT_TRUE(reports_.failures.empty()) << "nothing to do";
  // A second stage that takes frames and never answers.
  runners_.clear();
  reports_.failures.clear();  // the second stage may have seen the first one go
  plan_ = PlanOf(2, 2);
  reports_.loaded = 0;
  runners_.push_back(InstanceRunner::Start(
      *backend_, stores_[0], std::make_unique<MemoryStages>(model_, loads_),
      {.plan = plan_, .stage = 0, .self = Node(1), .names = {"one", "two"}}, reports_.Events()));
  ASSERT_TRUE(reports_.Wait([&] { return reports_.loaded == 1; }));
  auto [near, far] = TestLink::Pair(Node(1), Node(2));
  runners_[0]->Serve({Over(std::move(near))});
  runners_[0]->Submit(Ask(2, 5, 2));
  const auto frame = far->Poll(sys::Now() + kPatience, -1);
  ASSERT_TRUE(frame && frame->event == DataLink::Event::kFrame);
  const Time later = std::chrono::hours(1);
  for (int i = 0; i < 100 && reports_.failures.empty(); ++i)
    runners_[0]->Watch(1, later + i * std::chrono::seconds(1));
  ASSERT_EQ(reports_.failures.size(), 1u);
  EXPECT_EQ(reports_.failures[0].first.code, ErrorCode::kDisconnected);
  ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(Id(2)); }));
  EXPECT_EQ(reports_.failures.size(), 1u) << "told once";
}

TEST_F(RunnerTest, StopsPromptlyInTheMiddleOfAnAnswer) {
  Start(PlanOf(1, 2));
  runners_[0]->Submit(Ask(1, 200, 50));
  const Time start = sys::Now();
  runners_.clear();
  EXPECT_LT(sys::Now() - start, std::chrono::seconds(30));
}

TEST_F(RunnerTest, TheNextPlanTakesAStageOverWithoutLoadingIt) {
  Start(PlanOf(1, 2));
  ExpectAnswer(Ask(1, 40, 12));
  EXPECT_EQ(loads_.load(), 2);
  for (const auto& runner : runners_) runner->KeepStage(false);
  runners_.clear();
  EXPECT_EQ(stores_[0].size() + stores_[1].size(), 2u);
  Start(PlanOf(2, 2));
  EXPECT_EQ(loads_.load(), 2) << "weights stayed";
  EXPECT_EQ(stores_[0].size(), 0u);
  ExpectAnswer(Ask(2, 40, 12));
  for (uint8_t i = 3; i < 6; ++i) ExpectAnswer(Ask(i, 100, 5));  // carried KV makes room
  runners_.clear();
  EXPECT_EQ(stores_[0].size(), 0u) << "not told to keep it";
  Start(PlanOf(3, 2));
  EXPECT_EQ(loads_.load(), 4);
}

// An answer is in the middle when its model moves to stages of other layers.
class MovedRunnerTest : public RunnerTest {
 protected:
  MovedRunnerTest() {
    for (MovedPages& pages : moved_) pages.Limit(1 << 30);
    delay_ = std::chrono::milliseconds(1);
  }
  // Until `least` tokens are out; the submit that goes on behind them under plan `number`.
  wire::Submit Break(const wire::Submit& submit, size_t least, uint8_t number) {
    const PlanId former = plan_.id;
    runners_[0]->Submit(submit);
    EXPECT_TRUE(reports_.Wait([&] { return reports_.tokens[submit.request].size() >= least; }));
    for (const auto& runner : runners_) runner->KeepStage(true);
    runners_.clear();
    reports_.finished.clear();  // that a link was shut down
    const auto cut = plan_.stages[0].layer_end;
    former_ = former;
    load_moved_ = [this, former, cut](
                      const MovedPageName& name,
                      std::span<const uint32_t> layers) -> Result<std::vector<LayerPage>> {
      std::vector<LayerPage> pages;
      for (const uint32_t layer : layers) {
        auto page = moved_[layer < cut ? 0 : 1].Take(former, name, layer, {});
        if (!page) return Fail(ErrorCode::kNotFound, "no such page");
        pages.push_back(*std::move(page));
      }
      return pages;
    };
    wire::Submit next = submit;
    next.plan = PlanOf(number, 2).id;
    const auto& tokens = reports_.tokens[submit.request];
    next.prompt.insert(next.prompt.end(), tokens.begin(), tokens.end());
    next.kept = {former, reports_.computed[submit.request]};
    return next;
  }
  // Goes on behind what is out, with the text of an undisturbed process.
  void ExpectTheRest(const wire::Submit& whole, const wire::Submit& next) {
    runners_[0]->Submit(next);
    ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(whole.request); }));
    EXPECT_EQ(reports_.tokens[whole.request], Expected(whole));
  }
  wire::Plan OtherCut(uint8_t number) const {
    wire::Plan plan = PlanOf(number, 2);
    plan.stages[0].layer_end = plan.stages[1].layer_begin = 4;
    return plan;
  }
};

TEST_F(MovedRunnerTest, AnAnswerGoesOnWithTheKvOfItsFormerPlan) {
  Start(PlanOf(1, 2));
  const wire::Submit whole = Ask(1, 100, 120);
  const wire::Submit next = Break(whole, 5, 2);
  ASSERT_EQ(next.kept.positions, next.prompt.size() - 1);
  Start(OtherCut(2));
  ExpectTheRest(whole, next);
  EXPECT_EQ(led_.moved_tokens.load(), next.kept.positions);
  EXPECT_EQ(led_.recomputed_tokens.load(), 1u);
  EXPECT_EQ(moved_[0].bytes() + moved_[1].bytes(), 0u);
}

TEST_F(MovedRunnerTest, WhatIsNotThereIsComputedAgain) {
  Start(PlanOf(1, 2));
  const wire::Submit whole = Ask(1, 100, 120);
  const wire::Submit next = Break(whole, 5, 2);
  moved_[1].Limit(0);  // its device wanted the memory
  Start(OtherCut(2));
  ExpectTheRest(whole, next);
  EXPECT_EQ(led_.moved_tokens.load(), 0u);
  EXPECT_EQ(led_.recomputed_tokens.load(), next.prompt.size());
}

TEST_F(RunnerTest, AKeptStageGoesWhenMemoryIsWantedOrAfterAWhile) {
  Start(PlanOf(1, 1));
  ExpectAnswer(Ask(1, 5, 2));
  runners_[0]->KeepStage(false);
  runners_.clear();
  stores_[0].DropExpired(sys::Now());
  EXPECT_EQ(stores_[0].size(), 1u);
  Start(PlanOf(2, 2));  // another stage of it: layers 0 to 1
  EXPECT_EQ(stores_[0].size(), 0u);
  runners_[0]->KeepStage(false);
  runners_.clear();
  stores_[0].DropExpired(sys::Now() + StageTimers{}.keep);
  EXPECT_EQ(stores_[0].size(), 0u);
}

}  // namespace
}  // namespace exo::engine
