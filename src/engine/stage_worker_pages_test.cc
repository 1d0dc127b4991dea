// Pages of the prefix store on the real backend: a sequence that was restored gives, to the bit,
// the logits of one that was computed, whatever the KV type and the division of layers.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "backend/devices.h"
#include "backend/test_model.h"
#include "engine/local.h"
#include "engine/stage_worker.h"
#include "engine/stored_prefixes.h"
#include "engine/test_ids.h"
#include "engine/test_page_store.h"

namespace exo::engine {
namespace {

using backend::DType;
using backend::Kind;
using backend::TestModel;

constexpr uint32_t kText = 600;  // two pages and 88 positions
constexpr uint32_t kChunk = 100;

std::vector<TokenId> Tokens(size_t n) {
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < n; ++i) tokens.push_back(static_cast<TokenId>((i * i + 3 * i) % 300));
  return tokens;
}

Hash256 Key(uint8_t page) {
  Hash256 key;
  key.bytes[0] = page;
  return key;
}

// Those that begin before `bare` without windows.
std::vector<wire::StepPage> Pages(uint8_t request, uint32_t positions, uint32_t bare = 0) {
  std::vector<wire::StepPage> pages;
  for (uint32_t first = 0; first < positions; first += 256) {
    pages.push_back({.request = Id(request),
                     .first = first,
                     .count = std::min(256u, positions - first),
                     .key = Key(static_cast<uint8_t>(1 + first / 256)),
                     .bare = first < bare});
  }
  return pages;
}

class StageWorkerPagesTest : public testing::TestWithParam<kernels::KvType> {
 protected:
  explicit StageWorkerPagesTest(Kind kind = Kind::kLlama)
      : model_(DType::kQ4_0, DType::kQ8_0, kind) {}
  // A pipeline over layers cut at `cuts`; its stages keep their pages in `stores_`.
  void Load(std::vector<uint32_t> cuts) {
    plan_ = {.layers = 5, .context = 1024, .kv_pages = 16, .chunk = kChunk};
    stages_.clear();
    next_ = 1;
    cuts.push_back(5);
    uint32_t begin = 0;
    for (const uint32_t end : cuts) {
      auto compute = backend_->Load({.config = model_.config,
                                     .tensors = model_.tensors,
                                     .layer_begin = begin,
                                     .layer_end = end,
                                     .lead = stages_.empty(),
                                     .kv_type = GetParam(),
                                     .chunk = kChunk},
                                    model_.source, {}, nullptr);
      ASSERT_TRUE(compute) << compute.error().message;
      stages_.push_back(std::make_unique<StageWorker>(model_.config, std::move(*compute)));
      stages_.back()->Bind(plan_, {&stores_[stages_.size() - 1], begin, end, load_moved_});
      begin = end;
    }
  }

  // The step as it comes back; hidden states of its outputs in rows_.
  wire::Step Run(wire::Step step, std::span<const TokenId> tokens = {}) {
    step.step = next_++;
    for (size_t i = 0; i < stages_.size(); ++i) {
      const bool last = i + 1 == stages_.size();
      const StageWorker::Input input{
          .tokens = i == 0 ? tokens : std::span<const TokenId>{},
          .hidden = i == 0 ? std::span<const float>{} : stages_[i - 1]->hidden(),
          .wanted = last ? backend::Wanted::kOutput : backend::Wanted::kHidden};
      const auto done = stages_[i]->Run(step, input, cancelled_);
      EXPECT_TRUE(done) << done.error().message;
    }
    rows_.assign(stages_.back()->hidden().begin(), stages_.back()->hidden().end());
    return step;
  }
  void Compute(uint8_t request, std::span<const TokenId> tokens) {
    for (uint32_t at = 0; at < tokens.size(); at += kChunk) {
      const auto count = std::min(kChunk, static_cast<uint32_t>(tokens.size()) - at);
      Run({.items = {{.request = Id(request), .first = at, .count = count}}},
          tokens.subspan(at, count));
    }
  }
  // The hidden state of one more token.
  std::vector<float> Next(uint8_t request, uint32_t first, TokenId token) {
    Run({.items = {{.request = Id(request), .first = first, .count = 1, .output_count = 1}}},
        {&token, 1});
    EXPECT_FALSE(rows_.empty());
    return rows_;
  }
  wire::Step Restore(uint8_t request, uint32_t positions) {
    return Run({.restore = Pages(request, positions)});
  }

  // The plan moves: its stages leave what they have, and others of other layers get it.
  void Move(std::vector<uint32_t> cuts) {
    for (const auto& stage : stages_) {
      const auto left = stage->LeavePages(plan_.id, moved_);
      EXPECT_TRUE(left) << left.error().message;
    }
    load_moved_ = [this](const MovedPageName& name,
                         std::span<const uint32_t> layers) -> Result<std::vector<LayerPage>> {
      std::vector<LayerPage> pages;
      for (const uint32_t layer : layers) {
        auto page = moved_.Take(plan_.id, name, layer, {});
        if (!page) return Fail(ErrorCode::kNotFound, "no such page");
        pages.push_back(*std::move(page));
        if (change_) change_(pages.back());
      }
      return pages;
    };
    Load(std::move(cuts));
  }
  wire::Step TakeOver(uint8_t request, uint32_t positions, uint32_t bare = 0) {
    wire::Step step{.restore = Pages(request, positions, bare)};
    for (wire::StepPage& page : step.restore) {
      page.key = {};
      page.moved = true;
    }
    return Run(step);
  }

  TestModel model_;
  MovedPages moved_;
  LoadMoved load_moved_;
  std::function<void(LayerPage&)> change_;
  std::unique_ptr<backend::Backend> backend_ = backend::MakeBackend({.threads = 2}).value();
  wire::Plan plan_;
  MemoryPages stores_[3];
  std::vector<std::unique_ptr<StageWorker>> stages_;
  CancellationSet cancelled_;
  std::vector<float> rows_;
  uint64_t next_ = 1;
};

TEST_P(StageWorkerPagesTest, ARestoredSequenceGoesOnWithTheBitsOfAComputedOne) {
  Load({2});
  const auto tokens = Tokens(kText);
  Compute(1, tokens);
  const wire::Step stored = Run({.store = Pages(1, kText)});
  for (const wire::StepPage& page : stored.store) EXPECT_FALSE(page.lost);
  ASSERT_EQ(stores_[0].pages.size(), 3u);
  ASSERT_EQ(stores_[1].pages.size(), 3u);
  const auto expected = Next(1, kText, 7);
  // A restart: other stages over the same stores.
  Load({2});
  const wire::Step restored = Restore(2, kText);
  for (const wire::StepPage& page : restored.restore) EXPECT_FALSE(page.lost);
  EXPECT_EQ(Next(2, kText, 7), expected);
  // Less than what was stored, and what differs from there on.
  auto other = Tokens(560);
  other[540] = 299;
  Compute(3, other);
  const auto computed = Next(3, 560, 7);
  Restore(4, 530);
  Run({.items = {{.request = Id(4), .first = 530, .count = 30}}}, std::span(other).subspan(530));
  EXPECT_EQ(Next(4, 560, 7), computed);
}

TEST_P(StageWorkerPagesTest, AStageOfFewerLayersTakesItsPartOfAPage) {
  Load({});
  Compute(1, Tokens(kText));
  Run({.store = Pages(1, kText)});
  const auto expected = Next(1, kText, 7);
  stores_[1].pages = stores_[2].pages = stores_[0].pages;
  Load({1, 4});
  const wire::Step restored = Restore(1, kText);
  for (const wire::StepPage& page : restored.restore) EXPECT_FALSE(page.lost);
  EXPECT_EQ(Next(1, kText, 7), expected);
}

TEST_P(StageWorkerPagesTest, APageThatOneStageLostIsUsedByNone) {
  Load({2});
  Compute(1, Tokens(kText));
  Run({.store = Pages(1, kText)});
  const auto expected = Next(1, kText, 7);
  stores_[1].pages.erase({Key(2), 2, 5});
  wire::Step step = Restore(2, kText);
  EXPECT_FALSE(step.restore[0].lost);
  EXPECT_TRUE(step.restore[1].lost && step.restore[2].lost);
  EXPECT_EQ(stages_[0]->machine().Length(Id(2)), kText);
  EXPECT_EQ(stages_[1]->machine().Length(Id(2)), 256u);
  EXPECT_TRUE(stages_[1]->machine().IsDirty(Id(2)));
  // The lead begins anew with what is left.
  step = {.close = {Id(2)}, .restore = Pages(2, 256)};
  EXPECT_FALSE(Run(step).restore[0].lost);
  const auto tokens = Tokens(kText);
  for (uint32_t at = 256; at < kText; at += 86) {
    Run({.items = {{.request = Id(2), .first = at, .count = 86}}},
        std::span(tokens).subspan(at, 86));
  }
  EXPECT_EQ(Next(2, kText, 7), expected);
  // Lost at the first stage: the second one does not load it either.
  stores_[0].pages.erase({Key(1), 0, 2});
  step = Restore(3, 256);
  EXPECT_TRUE(step.restore[0].lost);
  EXPECT_EQ(stages_[1]->machine().Length(Id(3)), 0u);
  EXPECT_TRUE(stages_[1]->machine().IsDirty(Id(3)));
}

TEST_P(StageWorkerPagesTest, APageOfAnotherShapeIsLost) {
  Load({});
  Compute(1, Tokens(kText));
  Run({.store = Pages(1, kText)});
  auto& page = stores_[0].pages.at({Key(1), 0, 5});
  page.bytes.resize(page.bytes.size() - 5);
  EXPECT_TRUE(Restore(2, kText).restore[0].lost);
  stores_[0].pages.at({Key(3), 0, 5}).positions = 87;
  stores_[0].pages.at({Key(1), 0, 5}) = stores_[0].pages.at({Key(2), 0, 5});
  EXPECT_TRUE(Restore(3, kText).restore[2].lost);
}

TEST_P(StageWorkerPagesTest, WhatAStageCannotTakeIsSaid) {
  Load({2});
  Compute(1, Tokens(kText));
  stores_[1].full = true;
  EXPECT_TRUE(Run({.store = Pages(1, 256)}).store[0].lost);
  stores_[1].full = false;
  EXPECT_FALSE(Run({.store = Pages(1, 256)}).store[0].lost);
  stages_[1]->Bind(plan_);  // no store at all
  next_ = 1;
  stages_[0]->Bind(plan_, {&stores_[0], 0, 2});
  Run({.restore = Pages(5, 256)});
  EXPECT_TRUE(stages_[1]->machine().IsDirty(Id(5)));
}

TEST_P(StageWorkerPagesTest, OtherStagesGoOnWithTheBitsOfThePlanThatMoved) {
  moved_.Limit(1 << 30);
  Load({2});
  Compute(1, Tokens(kText));
  const auto expected = Next(1, kText, 7);
  // The first stage is a step ahead of the second one, on a guess.
  wire::Step guess{.step = next_, .items = {{.request = Id(1), .first = kText + 1, .count = 1}}};
  const TokenId token = 3;
  ASSERT_TRUE(stages_[0]->Run(guess, {.tokens = {&token, 1}}, cancelled_));
  Move({1, 4});
  EXPECT_GT(moved_.bytes(), 0u);
  for (const wire::StepPage& page : TakeOver(1, kText).restore) EXPECT_FALSE(page.lost);
  EXPECT_EQ(moved_.bytes(), 0u) << "given away";
  EXPECT_EQ(Next(1, kText, 7), expected);
  Move({});
  for (const wire::StepPage& page : TakeOver(1, kText).restore) EXPECT_FALSE(page.lost);
  EXPECT_EQ(Next(1, kText, 7), expected) << "once more";
}

TEST_P(StageWorkerPagesTest, WhatIsNotLeftOrNotOfThisShapeIsComputed) {
  moved_.Limit(1 << 30);
  Load({2});
  const auto tokens = Tokens(kText);
  Compute(1, tokens);
  Compute(2, std::span(tokens).first(300));
  Run({.truncate = {{.request = Id(2), .length = 280}}});  // its request has ended
  Move({3});
  EXPECT_TRUE(TakeOver(2, 280).restore[0].lost);
  EXPECT_TRUE(TakeOver(1, kText + 1).restore[2].lost) << "one position more than there is";
  for (const auto& change : std::vector<std::function<void(LayerPage&)>>{
           [](LayerPage& page) { page.bytes.pop_back(); },
           [](LayerPage& page) { page.positions = 0; },
           [](LayerPage& page) { page.positions = 1u << 31; },
           [](LayerPage& page) { page.bytes.clear(); }}) {
    Load({2});
    Compute(1, tokens);
    change_ = change;
    Move({3});
    EXPECT_TRUE(TakeOver(1, kText).restore[0].lost);
    change_ = {};
  }
}

// A window of 300 in all layers but the third. After 901 positions it reaches back to 602.
class WindowPagesTest : public StageWorkerPagesTest {
 protected:
  static constexpr uint32_t kLong = 901, kBare = 512;

  WindowPagesTest() : StageWorkerPagesTest(Kind::kGemma) { model_.config->window = 300; }
  // Stores a text of kLong positions; the hidden state of token 7 behind it.
  std::vector<float> Store() {
    const auto tokens = Tokens(kLong);
    Compute(1, std::span(tokens).first(kLong - 1));
    Next(1, kLong - 1, tokens.back());
    for (const wire::StepPage& page : Run({.store = Pages(1, kLong, kBare)}).store)
      EXPECT_FALSE(page.lost);
    return Next(1, kLong, 7);
  }
  void Restore(uint8_t request, uint32_t positions) {
    for (const wire::StepPage& page : Run({.restore = Pages(request, positions, kBare)}).restore)
      EXPECT_FALSE(page.lost);
  }
};

TEST_P(WindowPagesTest, StagesOfOtherLayersRestoreTheirPartsOfBothForms) {
  Load({});
  const auto expected = Store();
  ASSERT_EQ(stores_[0].pages.size(), 4u);
  const auto& bare = stores_[0].pages.at({StoredKeyOf(Key(2), true), 0, 1});
  EXPECT_EQ(stores_[0].pages.at({Key(3), 0, 5}).bytes.size(), 5 * bare.bytes.size());
  stores_[1].pages = stores_[2].pages = stores_[0].pages;
  // Also stages with no layer that attends to all, and with no other.
  for (const std::vector<uint32_t>& cuts :
       {std::vector<uint32_t>{}, std::vector<uint32_t>{2}, std::vector<uint32_t>{2, 3}}) {
    Load(cuts);
    Restore(2, kLong);
    EXPECT_EQ(Next(2, kLong, 7), expected);
  }
}

TEST_P(WindowPagesTest, WhatAWindowHasLetGoOfIsNotNeededAfterAMove) {
  moved_.Limit(1 << 30);
  Load({2});
  const auto expected = Store();
  for (const std::vector<uint32_t>& cuts :
       {std::vector<uint32_t>{3}, std::vector<uint32_t>{}, std::vector<uint32_t>{2, 3}}) {
    Move(cuts);
    for (const wire::StepPage& page : TakeOver(1, kLong, kBare).restore) EXPECT_FALSE(page.lost);
    EXPECT_EQ(Next(1, kLong, 7), expected);
  }
}

TEST_P(WindowPagesTest, APartOfTheLastPageGoesOnAsFarBackAsTheWindowReaches) {
  Load({3});
  Store();
  ASSERT_EQ(stores_[0].pages.size(), 4u);
  ASSERT_EQ(stores_[1].pages.size(), 2u) << "bare pages are none of its layers";
  auto other = Tokens(850);
  other[811] = 299;  // attends from 512 on
  Compute(2, other);
  const auto computed = Next(2, 850, 7);
  Load({3});
  Restore(3, 811);
  Run({.items = {{.request = Id(3), .first = 811, .count = 39}}}, std::span(other).subspan(811));
  EXPECT_EQ(Next(3, 850, 7), computed);
}

INSTANTIATE_TEST_SUITE_P(KvTypes, WindowPagesTest,
                         testing::Values(kernels::KvType::kF16, kernels::KvType::kQ8_0));
INSTANTIATE_TEST_SUITE_P(KvTypes, StageWorkerPagesTest,
                         testing::Values(kernels::KvType::kF16, kernels::KvType::kQ8_0,
                                         kernels::KvType::kF32));

}  // namespace
}  // namespace exo::engine
