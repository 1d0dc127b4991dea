// Pages of the stages' prefix stores: which the lead has stored, restores, and what it does when a
// stage has lost one.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/lead.h"
#include "engine/stage.h"
#include "engine/test_ids.h"

namespace exo::engine {
namespace {

constexpr uint32_t kPage = 8;

// Tokens that no other number has.
std::vector<TokenId> Text(int number, size_t count) {
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < count; ++i) tokens.push_back(number * 1000 + static_cast<TokenId>(i));
  return tokens;
}

wire::Submit Ask(uint8_t number, std::vector<TokenId> prompt, uint32_t most = 1) {
  const auto rows = static_cast<uint32_t>(prompt.size());
  return {.request = Id(number),
          .prompt = std::move(prompt),
          .prompt_tokens = rows,
          .max_new_tokens = most};
}

LeadOptions Options(uint32_t stages = 1) {
  return {.stages = stages,
          .context = 64,
          .pages = 16,
          .page = kPage,
          .least_shared = 2,
          .chunk = 32,
          .prefix_store = true,
          .least_restored = 4,
          .speculate = false};
}

class LeadStoreTest : public testing::Test {
 protected:
  // Every output is token 5; `change`: what the stages make of the step.
  std::vector<Emission> Return(const LeadStep& step,
                               const std::function<void(wire::Step&)>& change = {}) {
    wire::Step done = ToWire({}, step);
    if (stage_) {
      const auto work = stage_->BeginStep(done);
      EXPECT_TRUE(work) << work.error().message;
    }
    if (change) change(done);
    if (stage_) {
      const auto lost = std::ranges::find(done.restore, true, &wire::StepPage::lost);
      if (lost != done.restore.end()) stage_->LosePage(*lost);
      stage_->CommitStep();
    }
    auto news = machine_->OnPages(done, now_);
    EXPECT_TRUE(news) << news.error().message;
    if (news) {
      for (LeadPage& page : news->stored) texts_.push_back(std::move(page));
      for (const Hash256& key : news->lost) lost_.push_back(key);
    }
    std::vector<ItemOutput> outputs;
    for (const LeadItem& item : step.items) {
      if (item.outputs != Outputs::kNone) outputs.push_back({item.request, {5}});
    }
    auto emissions = machine_->OnStepDone(step.step, outputs, {}, now_);
    EXPECT_TRUE(emissions) << emissions.error().message;
    return emissions ? *std::move(emissions) : std::vector<Emission>{};
  }
  // Answers whatever is to do; what was emitted.
  std::vector<Emission> RunAll() {
    std::vector<Emission> all;
    while (const auto step = machine_->NextStep(now_)) {
      for (Emission& emission : Return(*step)) all.push_back(std::move(emission));
    }
    return all;
  }
  void AddStored(const LeadPage& page) {
    machine_->AddStored(StoredKeyOf(page.page.key, page.page.bare), page.parent, page.tokens);
  }
  // As after a restart: the pages that a former machine had the stages store.
  void Restart() {
    std::vector<LeadPage> texts = std::exchange(texts_, {});
    machine_ = std::make_unique<LeadMachine>(options_);
    for (const LeadPage& page : texts) AddStored(page);
  }

  LeadOptions options_ = Options();
  std::unique_ptr<StageMachine> stage_;  // does what the lead says, if set
  std::unique_ptr<LeadMachine> machine_ = std::make_unique<LeadMachine>(Options());
  Time now_{1};
  std::vector<LeadPage> texts_;
  std::vector<Hash256> lost_;
};

TEST_F(LeadStoreTest, PagesOfAnEndedRequestAreStoredOneAStepWhenNothingElseIsToDo) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 20), 2), now_));
  Return(*machine_->NextStep(now_));
  auto emissions = Return(*machine_->NextStep(now_));
  ASSERT_TRUE(emissions[0].finished);
  // 21 positions: the prompt and the first token of the answer.
  std::vector<std::pair<uint32_t, uint32_t>> pages;
  while (const auto step = machine_->NextStep(now_)) {
    EXPECT_TRUE(step->items.empty());
    ASSERT_EQ(step->store.size(), 1u);
    EXPECT_EQ(step->store[0].page.request, Id(1));
    pages.emplace_back(step->store[0].page.first, step->store[0].page.count);
    Return(*step);
  }
  EXPECT_EQ(pages, (std::vector<std::pair<uint32_t, uint32_t>>{{0, 8}, {8, 8}, {16, 5}}));
  ASSERT_EQ(texts_.size(), 3u);
  EXPECT_EQ(texts_[0].parent, Hash256{});
  EXPECT_EQ(texts_[1].parent, texts_[0].page.key);
  EXPECT_EQ(texts_[2].tokens.back(), 5);
  EXPECT_EQ(machine_->stats().stored_pages, 3u);
}

TEST_F(LeadStoreTest, PagesThatAreStoredAlreadyAndShortTextsAreNotStoredAgain) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 17)), now_));
  RunAll();
  ASSERT_EQ(texts_.size(), 2u) << "one position of the third page is worth no file";
  auto text = Text(1, 17);
  text.resize(40, 3);
  ASSERT_TRUE(machine_->Submit(Ask(2, text), now_));
  RunAll();
  ASSERT_EQ(texts_.size(), 5u);
  EXPECT_EQ(texts_[2].page.first, 16u);
  ASSERT_TRUE(machine_->Submit(Ask(3, Text(3, 7)), now_));
  RunAll();
  EXPECT_EQ(texts_.size(), 5u) << "less than a page";
}

TEST_F(LeadStoreTest, ARequestThatBeginsLikeStoredPagesHasThemRestoredBeforeItsRows) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 30), 2), now_));
  RunAll();
  Restart();
  ASSERT_TRUE(machine_->Submit(Ask(2, Text(1, 40)), now_));
  const auto step = machine_->NextStep(now_);
  ASSERT_TRUE(step);
  EXPECT_TRUE(step->items.empty());
  ASSERT_EQ(step->restore.size(), 4u) << "alone: several a step";
  for (uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(step->restore[i].request, Id(2));
    EXPECT_EQ(step->restore[i].first, i * kPage);
    EXPECT_EQ(step->restore[i].count, i < 3 ? kPage : 6);
  }
  EXPECT_TRUE(Return(*step).empty());
  const auto rows = machine_->NextStep(now_);
  ASSERT_TRUE(rows && rows->items.size() == 1);
  EXPECT_EQ(rows->items[0].first, 30u);
  const auto emissions = Return(*rows);
  ASSERT_EQ(emissions.size(), 1u);
  EXPECT_EQ(emissions[0].cached, 30u);
  EXPECT_EQ(machine_->stats().restored_rows, 30u);
  EXPECT_EQ(machine_->stats().prefill_rows, 10u);
}

TEST_F(LeadStoreTest, APartOfTheLastPageIsRestoredAndOneRowIsComputed) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 24)), now_));
  RunAll();
  Restart();
  ASSERT_TRUE(machine_->Submit(Ask(2, Text(1, 24)), now_));
  const auto step = machine_->NextStep(now_);
  ASSERT_EQ(step->restore.size(), 3u);
  EXPECT_EQ(step->restore[2].count, 7u);
  Return(*step);
  const auto rows = machine_->NextStep(now_);
  EXPECT_EQ(rows->items[0].first, 23u);
  EXPECT_EQ(rows->rows, 1u);
}

TEST_F(LeadStoreTest, BesideRunningRequestsOnePageAStepIsRestored) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 24)), now_));
  RunAll();
  Restart();
  ASSERT_TRUE(machine_->Submit(Ask(2, Text(2, 4), 20), now_));
  Return(*machine_->NextStep(now_));
  ASSERT_TRUE(machine_->Submit(Ask(3, Text(1, 30)), now_));
  for (uint32_t i = 0; i < 3; ++i) {
    const auto step = machine_->NextStep(now_);
    ASSERT_EQ(step->items.size(), 1u) << "the running answer goes on";
    ASSERT_EQ(step->restore.size(), 1u);
    EXPECT_EQ(step->restore[0].first, i * kPage);
    Return(*step);
  }
  EXPECT_EQ(machine_->NextStep(now_)->items.size(), 2u);
}

TEST_F(LeadStoreTest, WhatIsInMemoryIsNotRestored) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 30)), now_));
  RunAll();
  ASSERT_TRUE(machine_->Submit(Ask(2, Text(1, 40)), now_));
  const auto step = machine_->NextStep(now_);
  EXPECT_EQ(step->fork.size(), 1u);
  EXPECT_TRUE(step->restore.empty());
}

TEST_F(LeadStoreTest, ALostPageAndAllBehindItAreForgottenAndTheRequestBeginsAnew) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 30)), now_));
  RunAll();
  Restart();
  ASSERT_TRUE(machine_->Submit(Ask(2, Text(1, 40)), now_));
  const auto step = machine_->NextStep(now_);
  const auto emissions = Return(*step, [](wire::Step& done) {
    for (size_t i = 1; i < done.restore.size(); ++i) done.restore[i].lost = true;
  });
  EXPECT_TRUE(emissions.empty());
  EXPECT_EQ(lost_, std::vector<Hash256>{step->restore[1].key});
  // The first page is still there.
  auto again = machine_->NextStep(now_);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->close, std::vector<RequestId>{Id(2)});
  ASSERT_EQ(again->restore.size(), 1u);
  EXPECT_EQ(again->restore[0].key, step->restore[0].key);
  Return(*again, [](wire::Step& done) { done.restore[0].lost = true; });
  again = machine_->NextStep(now_);
  EXPECT_TRUE(again->restore.empty());
  EXPECT_EQ(again->items[0].first, 0u) << "from the beginning";
  Return(*again);
  const auto end = RunAll();
  ASSERT_EQ(end.size(), 1u);
  EXPECT_EQ(end[0].cached, 0u);
  EXPECT_TRUE(end[0].finished);
  EXPECT_EQ(machine_->stats().lost_pages, 2u);
}

TEST_F(LeadStoreTest, AStageOfAnOldVersionThatDropsThePagesHasNone) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 24)), now_));
  RunAll();
  Restart();
  ASSERT_TRUE(machine_->Submit(Ask(2, Text(1, 30)), now_));
  Return(*machine_->NextStep(now_), [](wire::Step& done) { done.restore.clear(); });
  const auto again = machine_->NextStep(now_);
  EXPECT_TRUE(again->restore.empty());
  EXPECT_EQ(again->items[0].first, 0u);
}

TEST_F(LeadStoreTest, PagesOfOtherRequestsThatComeBackAreAPeersMistake) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 24)), now_));
  RunAll();
  Restart();
  ASSERT_TRUE(machine_->Submit(Ask(2, Text(1, 30)), now_));
  const auto step = machine_->NextStep(now_);
  wire::Step done = ToWire({}, *step);
  done.restore[1].first = 0;
  EXPECT_EQ(machine_->OnPages(done, now_).error().code, ErrorCode::kInvalid);
  done = ToWire({}, *step);
  done.store.push_back(done.restore[0]);
  EXPECT_EQ(machine_->OnPages(done, now_).error().code, ErrorCode::kInvalid);
  done = ToWire({}, *step);
  done.restore.pop_back();
  EXPECT_EQ(machine_->OnPages(done, now_).error().code, ErrorCode::kInvalid);
  done.step = 99;
  const auto stale = machine_->OnPages(done, now_);
  ASSERT_TRUE(stale);
  EXPECT_TRUE(stale->lost.empty());
}

TEST_F(LeadStoreTest, ACancelledRestoreKeepsWhatIsBack) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 48)), now_));
  RunAll();
  Restart();
  ASSERT_TRUE(machine_->Submit(Ask(2, Text(1, 60)), now_));
  const auto first = machine_->NextStep(now_);
  ASSERT_EQ(first->restore.size(), 4u);
  Return(*first);
  const auto second = machine_->NextStep(now_);
  ASSERT_EQ(second->restore.size(), 2u);
  machine_->Cancel(Id(2));
  EXPECT_TRUE(Return(*second).empty());
  EXPECT_EQ(machine_->kept_sequences(), 1u);
  EXPECT_EQ(machine_->used_pages(), 4u);
  // Cut to what had come back when the client went away.
  ASSERT_TRUE(machine_->Submit(Ask(3, Text(9, 4)), now_));
  const auto step = machine_->NextStep(now_);
  ASSERT_EQ(step->truncate.size(), 1u);
  EXPECT_EQ(step->truncate[0].length, 32u);
}

TEST_F(LeadStoreTest, APageThatAStageHasNoRoomForIsOfferedAgainLater) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 24)), now_));
  Return(*machine_->NextStep(now_));
  const auto refuse = [](wire::Step& done) { done.store[0].lost = true; };
  auto step = machine_->NextStep(now_);
  Return(*step, refuse);
  EXPECT_FALSE(machine_->NextStep(now_));
  now_ += std::chrono::seconds(1);
  const auto again = machine_->NextStep(now_);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->store[0].page, step->store[0].page);
  Return(*again);
  // A stage that never takes any is left alone.
  for (int i = 0; i < 3; ++i) {
    step = machine_->NextStep(now_);
    ASSERT_TRUE(step) << i;
    EXPECT_EQ(step->store[0].page.first, 8u);
    Return(*step, refuse);
    now_ += std::chrono::seconds(1);
  }
  EXPECT_FALSE(machine_->NextStep(now_));
  EXPECT_EQ(texts_.size(), 1u);
}

TEST_F(LeadStoreTest, PagesOfASequenceThatMadeRoomAreNotStored) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 48)), now_));
  Return(*machine_->NextStep(now_));
  Return(*machine_->NextStep(now_));
  Return(*machine_->NextStep(now_));  // one page
  ASSERT_EQ(texts_.size(), 1u);
  ASSERT_TRUE(machine_->Submit(Ask(2, Text(2, 60), 4), now_));
  ASSERT_TRUE(machine_->Submit(Ask(3, Text(3, 60), 4), now_));
  auto step = machine_->NextStep(now_);
  EXPECT_EQ(step->close, std::vector<RequestId>{Id(1)});
  EXPECT_TRUE(step->store.empty());
}

TEST_F(LeadStoreTest, ARestoreThatDoesNotFitWaitsForPages) {
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 48)), now_));
  RunAll();
  Restart();
  ASSERT_TRUE(machine_->Submit(Ask(2, Text(2, 62), 2), now_));
  ASSERT_TRUE(machine_->Submit(Ask(3, Text(3, 62), 2), now_));
  auto step = machine_->NextStep(now_);
  ASSERT_TRUE(machine_->Submit(Ask(4, Text(1, 60)), now_));
  EXPECT_EQ(machine_->used_pages(), 16u);
  Return(*step);
  step = machine_->NextStep(now_);
  EXPECT_TRUE(step->restore.empty());
  Return(*step);
  RunAll();
  EXPECT_EQ(machine_->stats().restored_rows, 48u);
}

TEST_F(LeadStoreTest, WithoutAStoreNothingIsAsked) {
  LeadOptions options = Options();
  options.prefix_store = false;
  machine_ = std::make_unique<LeadMachine>(options);
  machine_->AddStored(StoredPrefixes({}, kPage).KeyOf({}, Text(1, 8)), {}, Text(1, 8));
  ASSERT_TRUE(machine_->Submit(Ask(1, Text(1, 20)), now_));
  const auto step = machine_->NextStep(now_);
  EXPECT_TRUE(step->restore.empty());
  Return(*step);
  EXPECT_FALSE(machine_->NextStep(now_));
}

TEST_F(LeadStoreTest, PagesBelongToTheAdaptersTheyWereComputedWith) {
  LeadOptions options = Options();
  options.adapters = 2;
  options.adapter_files.resize(2);
  options.adapter_files[1].bytes[0] = 1;
  const auto start = [&] {
    machine_ = std::make_unique<LeadMachine>(options);
    for (const LeadPage& page : texts_) AddStored(page);
  };
  start();
  wire::Submit submit = Ask(1, Text(1, 24));
  submit.adapters = {{.adapter = 1, .scale = 0.5f}};
  ASSERT_TRUE(machine_->Submit(submit, now_));
  RunAll();
  ASSERT_EQ(texts_.size(), 3u);
  EXPECT_NE(texts_[0].parent, Hash256{});
  uint8_t number = 2;
  const auto restores = [&](std::vector<wire::AdapterUse> adapters) {
    start();
    submit = Ask(number++, Text(1, 30));
    submit.adapters = std::move(adapters);
    EXPECT_TRUE(machine_->Submit(submit, now_));
    return machine_->NextStep(now_)->restore;
  };
  EXPECT_TRUE(restores({}).empty());
  EXPECT_TRUE(restores({{.adapter = 0, .scale = 0.5f}}).empty());
  EXPECT_TRUE(restores({{.adapter = 1, .scale = 1}}).empty());
  const auto same = restores({{.adapter = 1, .scale = 0.5f}});
  ASSERT_EQ(same.size(), 3u);
  EXPECT_EQ(same[0].adapters, submit.adapters) << "the stages open the sequence with them";
  // Another file in its place under the next plan.
  options.adapter_files[1].bytes[0] = 2;
  EXPECT_TRUE(restores({{.adapter = 1, .scale = 0.5f}}).empty());
  std::swap(options.adapter_files[0], options.adapter_files[1]);
  options.adapter_files[0].bytes[0] = 1;
  EXPECT_EQ(restores({{.adapter = 0, .scale = 0.5f}}).size(), 3u)
      << "the file counts, not its place";
}

TEST_F(LeadStoreTest, PagesBelongToTheScopeTheyWereComputedIn) {
  const auto ask = [&](uint8_t number, uint64_t scope) {
    machine_ = std::make_unique<LeadMachine>(Options());
    for (const LeadPage& page : texts_) AddStored(page);
    wire::Submit submit = Ask(number, Text(1, number == 1 ? 24 : 30));
    submit.prefix_scope = scope;
    EXPECT_TRUE(machine_->Submit(submit, now_));
  };
  ask(1, 7);
  RunAll();
  ASSERT_EQ(texts_.size(), 3u);
  EXPECT_NE(texts_[0].parent, Hash256{});
  const auto restored = [&](uint8_t number, uint64_t scope) {
    ask(number, scope);
    return machine_->NextStep(now_)->restore.size();
  };
  EXPECT_EQ(restored(2, 0), 0u);
  EXPECT_EQ(restored(3, 8), 0u);
  EXPECT_EQ(restored(4, 7), 3u);
}

// Windows of 10 over pages of 8. A prompt of 20 and 29 of its answer's 30 tokens are computed: the
// windows of the last row begin on the page of 32.
class LeadStoreWindowTest : public LeadStoreTest {
 protected:
  LeadStoreWindowTest() {
    options_.window = {.positions = 10, .most = 6, .pages = 64, .stages = {{1, 1}}};
    Restart();
    EXPECT_TRUE(machine_->Submit(Ask(1, Text(1, 20), 30), now_));
    RunAll();
    stored_ = texts_;
    Restart();
  }
  void Restart() {
    LeadStoreTest::Restart();
    stage_ = std::make_unique<StageMachine>(StageOptions{
        .context = 64, .pages = 16, .window = options_.window, .page = kPage, .chunk = 32});
  }
  // The prompt, as much of the answer, and what nobody has said yet.
  static std::vector<TokenId> Prompt(size_t answer, size_t more = 3) {
    auto tokens = Text(1, 20);
    tokens.resize(20 + answer, 5);
    tokens.resize(tokens.size() + more, 7);
    return tokens;
  }
  // Restores what is there of a prompt: "bw" of its pages.
  std::string Restored(uint8_t number, std::vector<TokenId> prompt) {
    EXPECT_TRUE(machine_->Submit(Ask(number, std::move(prompt)), now_));
    std::string forms;
    for (auto step = machine_->NextStep(now_); step; step = machine_->NextStep(now_)) {
      for (const wire::StepPage& page : step->restore) forms += page.bare ? 'b' : 'w';
      Return(*step);
    }
    return forms;
  }

  std::vector<LeadPage> stored_;
};

TEST_F(LeadStoreWindowTest, TheEndsOfThePromptAndOfTheAnswerAreStoredWithWindows) {
  using Page = std::tuple<uint32_t, uint32_t, bool>;
  std::vector<Page> pages;
  for (const LeadPage& page : stored_)
    pages.emplace_back(page.page.first, page.page.count, page.page.bare);
  EXPECT_EQ(pages, (std::vector<Page>{{0, 8, false},
                                      {8, 8, false},
                                      {16, 4, false},
                                      {16, 8, true},
                                      {24, 8, true},
                                      {32, 8, false},
                                      {40, 8, false}}));
}

TEST_F(LeadStoreWindowTest, ARequestGoesOnFromOneOfTheEnds) {
  EXPECT_EQ(Restored(2, Prompt(29)), "wwbbww");
  EXPECT_EQ(machine_->stats().restored_rows, 48u);
}

TEST_F(LeadStoreWindowTest, ARequestThatDiffersBetweenThemGoesOnFromTheEndOfThePrompt) {
  EXPECT_EQ(Restored(2, Prompt(12)), "www");
  EXPECT_EQ(machine_->stats().restored_rows, 20u);
}

TEST_F(LeadStoreWindowTest, WhatReachesAPageThatIsLostGoesOnBeforeIt) {
  ASSERT_TRUE(machine_->Submit(Ask(2, Prompt(29)), now_));
  Return(*machine_->NextStep(now_));
  const auto step = machine_->NextStep(now_);
  ASSERT_EQ(step->restore.size(), 2u);
  // Bare pages lead there, but nothing can be computed behind them.
  Return(*step, [](wire::Step& done) { done.restore[0].lost = done.restore[1].lost = true; });
  EXPECT_EQ(lost_, std::vector<Hash256>{step->restore[0].key});
  auto again = machine_->NextStep(now_);
  ASSERT_EQ(again->restore.size(), 3u);
  EXPECT_EQ(again->restore[2].count, 4u);
  Return(*again);
  EXPECT_EQ(machine_->NextStep(now_)->items[0].first, 20u);
}

TEST_F(LeadStoreWindowTest, ABarePageThatIsLostIsForgottenByItsOwnName) {
  ASSERT_TRUE(machine_->Submit(Ask(2, Prompt(29)), now_));
  const auto step = machine_->NextStep(now_);
  ASSERT_TRUE(step->restore.size() == 4 && step->restore[2].bare);
  Return(*step, [](wire::Step& done) { done.restore[2].lost = done.restore[3].lost = true; });
  EXPECT_EQ(lost_, std::vector<Hash256>{StoredKeyOf(step->restore[2].key, true)});
  EXPECT_EQ(machine_->NextStep(now_)->restore.size(), 3u);
}

TEST_F(LeadStoreWindowTest, ARestoreThatIsCancelledBetweenIsNotKept) {
  ASSERT_TRUE(machine_->Submit(Ask(2, Prompt(29)), now_));
  Return(*machine_->NextStep(now_));
  machine_->Cancel(Id(2));
  EXPECT_EQ(machine_->kept_sequences(), 0u) << "its windows are not back";
  const auto step = machine_->NextStep(now_);
  ASSERT_TRUE(step);
  EXPECT_EQ(step->close, std::vector<RequestId>{Id(2)});
  Return(*step);
}

// ---- the KV of a plan that has moved ----

PlanId Former(uint8_t number = 9) {
  PlanId plan;
  plan.bytes[0] = number;
  return plan;
}

class LeadMovedTest : public LeadStoreTest {
 protected:
  LeadMovedTest() {
    options_.former = Former();
    machine_ = std::make_unique<LeadMachine>(options_);
  }
  // A prompt of 18 tokens and three of its answer.
  wire::Submit GoOn(const PlanId& former, uint32_t positions) {
    wire::Submit submit = Ask(1, Text(1, 21), 5);
    submit.prompt_tokens = 18;
    submit.kept = {former, positions};
    return submit;
  }
};

TEST_F(LeadMovedTest, ARequestGoesOnBehindThePagesOfItsFormerPlan) {
  ASSERT_TRUE(machine_->Submit(GoOn(Former(), 20), now_));
  auto step = machine_->NextStep(now_);
  ASSERT_TRUE(step);
  ASSERT_EQ(step->restore.size(), 3u);
  EXPECT_EQ(step->rows, 0u);
  uint32_t first = 0;
  for (const wire::StepPage& page : step->restore) {
    EXPECT_TRUE(page.moved);
    EXPECT_EQ(page.first, first);
    EXPECT_EQ(page.count, std::min(kPage, 20 - first));
    first += page.count;
  }
  Return(*step);
  step = machine_->NextStep(now_);
  ASSERT_EQ(step->items.size(), 1u);
  EXPECT_EQ(step->items[0].first, 20u);
  EXPECT_EQ(step->items[0].tokens.size(), 1u);
  const auto emissions = Return(*step);
  ASSERT_EQ(emissions.size(), 1u);
  EXPECT_EQ(emissions[0].computed, 21u);
  EXPECT_EQ(machine_->stats().moved_rows, 20u);
  EXPECT_EQ(machine_->stats().recomputed_rows, 1u);
}

TEST_F(LeadMovedTest, NoMoreIsTakenThanItsText) {
  ASSERT_TRUE(machine_->Submit(GoOn(Former(), 1000), now_));
  const auto step = machine_->NextStep(now_);
  EXPECT_EQ(step->restore.back().first + step->restore.back().count, 20u) << "one row is computed";
}

TEST_F(LeadMovedTest, PagesOfAnotherPlanAreNotAskedFor) {
  ASSERT_TRUE(machine_->Submit(GoOn(Former(8), 20), now_));
  const auto step = machine_->NextStep(now_);
  EXPECT_TRUE(step->restore.empty());
  EXPECT_EQ(step->items[0].tokens.size(), 21u);
  EXPECT_EQ(machine_->stats().recomputed_rows, 21u);
}

TEST_F(LeadMovedTest, APageThatIsNotToBeHadIsComputedAndNotAskedForAgain) {
  ASSERT_TRUE(machine_->Submit(GoOn(Former(), 20), now_));
  Return(*machine_->NextStep(now_),
         [](wire::Step& done) { done.restore[1].lost = done.restore[2].lost = true; });
  EXPECT_TRUE(lost_.empty()) << "the prefix store has nothing to do with it";
  const auto step = machine_->NextStep(now_);
  EXPECT_TRUE(step->restore.empty());
  ASSERT_EQ(step->items.size(), 1u);
  EXPECT_EQ(step->items[0].first, 0u);
  EXPECT_EQ(machine_->stats().moved_rows, 0u);
  EXPECT_EQ(machine_->stats().recomputed_rows, 21u);
}

TEST_F(LeadMovedTest, OfLayersWithAWindowOnlyWhatItReachesIsAskedFor) {
  options_.window = {.positions = 3, .most = 8, .pages = 64, .stages = {{1, 1}}};
  machine_ = std::make_unique<LeadMachine>(options_);
  ASSERT_TRUE(machine_->Submit(GoOn(Former(), 20), now_));
  const auto step = machine_->NextStep(now_);
  ASSERT_EQ(step->restore.size(), 3u);
  EXPECT_TRUE(step->restore[0].bare);
  EXPECT_TRUE(step->restore[1].bare);
  EXPECT_FALSE(step->restore[2].bare) << "it is not whole";
}

// What was guessed is not among what a next plan may have.
TEST_F(LeadMovedTest, ComputedAreThePositionsThatAreSure) {
  options_.speculate = true;
  machine_ = std::make_unique<LeadMachine>(options_);
  ASSERT_TRUE(machine_->Submit(Ask(2, Text(2, 10), 20), now_));
  auto emissions = Return(*machine_->NextStep(now_));
  EXPECT_EQ(emissions.at(0).computed, 10u);
  machine_->Draft(Id(2), {7, 8, 9});
  const auto step = machine_->NextStep(now_);
  ASSERT_EQ(step->items.at(0).tokens.size(), 4u);
  emissions = Return(*step);
  EXPECT_EQ(emissions.at(0).computed, 11u) << "all three were wrong";
}

TEST_F(LeadMovedTest, EachPageOfALongPromptIsTold) {
  options_.chunk = 6;
  machine_ = std::make_unique<LeadMachine>(options_);
  ASSERT_TRUE(machine_->Submit(Ask(2, Text(2, 20), 2), now_));
  std::vector<uint32_t> told;
  for (const Emission& emission : RunAll()) {
    if (emission.tokens.empty() && !emission.finished) told.push_back(emission.computed);
  }
  EXPECT_EQ(told, (std::vector<uint32_t>{12, 18}));
}

}  // namespace
}  // namespace exo::engine
