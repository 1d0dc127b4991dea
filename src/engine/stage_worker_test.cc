// Steps of protocol 2 on the real backend: fork, truncate, several outputs, cancelled steps and a
// new plan give, to the bit, what one undisturbed run gives.
#include "engine/stage_worker.h"

#include <gtest/gtest.h>

#include "backend/devices.h"
#include "backend/test_model.h"
#include "engine/local.h"
#include "engine/test_ids.h"

namespace exo::engine {
namespace {

using backend::DType;
using backend::Kind;
using backend::TestModel;

constexpr size_t kVocab = TestModel::kVocab;

std::vector<TokenId> Tokens(size_t n, int seed = 0) {
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < n; ++i)
    tokens.push_back(static_cast<TokenId>((i * i + 3 * i + static_cast<size_t>(seed) * 17) % 300));
  return tokens;
}

wire::StepItem Item(uint8_t request, uint32_t first, size_t count, uint32_t outputs = 0) {
  const auto rows = static_cast<uint32_t>(count);
  return {.request = Id(request),
          .first = first,
          .count = rows,
          .output_first = outputs == 0 ? 0 : rows - outputs,
          .output_count = outputs};
}

// A model of one or two stages, driven step by step as the loops do.
class StageWorkerTest : public testing::TestWithParam<Kind> {
 protected:
  StageWorkerTest() : model_(DType::kQ4_0, DType::kQ8_0, GetParam()) {
    plan_ = {.layers = 5, .context = 64, .kv_pages = 4, .chunk = 32};
    for (const auto& [begin, end] : {std::pair(0u, 2u), std::pair(2u, 5u)}) {
      auto compute = backend_->Load({.config = model_.config,
                                     .tensors = model_.tensors,
                                     .layer_begin = begin,
                                     .layer_end = end,
                                     .lead = begin == 0,
                                     .chunk = 32},
                                    model_.source, {}, nullptr);
      EXPECT_TRUE(compute) << compute.error().message;
      stages_.push_back(std::make_unique<StageWorker>(model_.config, std::move(*compute)));
      stages_.back()->Bind(plan_);
    }
  }

  // Logits [rows][vocab] of the step's requested output rows; the step as the last stage sends it.
  std::vector<float> Run(wire::Step& step, const std::vector<TokenId>& tokens) {
    step.step = next_++;
    step.plan = plan_.id;
    for (size_t i = 0; i < 2; ++i) {
      StageWorker::Input input{
          .tokens = i == 0 ? std::span(tokens) : std::span<const TokenId>{},
          .hidden = i == 0 ? std::span<const float>{} : stages_[0]->hidden(),
          .wanted = i == 0 ? backend::Wanted::kHidden : backend::Wanted::kOutput};
      const auto done = stages_[i]->Run(step, input, cancelled_[i]);
      EXPECT_TRUE(done) << done.error().message;
    }
    const std::span<const float> rows = stages_[1]->hidden();
    if (rows.empty()) return {};
    std::vector<uint32_t> all;
    for (uint32_t i = 0; i < rows.size() / model_.config->width; ++i) all.push_back(i);
    const auto running = stages_[0]->compute().Run(
        {.hidden = rows, .output_rows = all, .wanted = backend::Wanted::kLogits});
    EXPECT_TRUE(running && (*running)->Wait());
    std::vector<float> logits;
    for (size_t i = 0; i < all.size(); ++i) {
      const auto row = (*running)->Logits(i, 1, backend::kAllLogits);
      logits.insert(logits.end(), row->begin(), row->end());
    }
    return logits;
  }
  std::vector<float> Run(wire::Step&& step, const std::vector<TokenId>& tokens) {
    return Run(step, tokens);
  }

  // Logits of the last `outputs` positions, by a model of one stage that runs undisturbed.
  std::vector<float> Expected(const std::vector<TokenId>& tokens, size_t outputs) {
    auto local = LocalModel::Load(*backend_, model_.config, model_.tensors, model_.source, {});
    EXPECT_TRUE(local && (*local)->Open(1, 64));
    std::vector<float> logits(outputs * kVocab);
    EXPECT_TRUE((*local)->Append(1, 0, tokens, outputs, logits));
    return logits;
  }

  TestModel model_;
  std::unique_ptr<backend::Backend> backend_ = backend::MakeBackend({.threads = 2}).value();
  wire::Plan plan_;
  std::vector<std::unique_ptr<StageWorker>> stages_;
  CancellationSet cancelled_[2];
  uint64_t next_ = 1;
};

TEST_P(StageWorkerTest, SeveralOutputsOfAnItemAreThoseOfOneByOne) {
  const auto tokens = Tokens(9);
  const auto together = Run({.items = {Item(1, 0, 9, 4)}}, tokens);
  ASSERT_EQ(together.size(), 4 * kVocab);
  EXPECT_EQ(together, Expected(tokens, 4));
  Run({.items = {Item(2, 0, 5)}}, Tokens(5));
  std::vector<float> one_by_one;
  for (uint32_t i = 5; i < 9; ++i) {
    const auto row = Run({.items = {Item(2, i, 1, 1)}}, {tokens[i]});
    one_by_one.insert(one_by_one.end(), row.begin(), row.end());
  }
  EXPECT_EQ(one_by_one, together);
  // A range in the middle.
  wire::Step step{.items = {Item(3, 0, 9)}};
  step.items[0].output_first = 5;
  step.items[0].output_count = 2;
  const auto middle = Run(step, tokens);
  EXPECT_EQ(middle, std::vector<float>(together.begin(), together.begin() + 2 * kVocab));
}

TEST_P(StageWorkerTest, ForksContinueAsIfEachHadComputedThePrefix) {
  const auto prefix = Tokens(20);
  Run({.items = {Item(1, 0, 20)}}, prefix);
  auto left = prefix, right = std::vector<TokenId>(prefix.begin(), prefix.begin() + 13);
  for (const TokenId token : Tokens(6, 1)) left.push_back(token);
  for (const TokenId token : Tokens(6, 2)) right.push_back(token);
  std::vector<TokenId> both = Tokens(6, 1);
  const auto tail = Tokens(6, 2);
  both.insert(both.end(), tail.begin(), tail.end());
  const auto logits =
      Run({.items = {Item(1, 20, 6, 1), Item(2, 13, 6, 1)}, .fork = {{Id(1), Id(2), 13}}}, both);
  auto expected = Expected(left, 1);
  const auto other = Expected(right, 1);
  expected.insert(expected.end(), other.begin(), other.end());
  EXPECT_EQ(logits, expected);
  EXPECT_NE(Expected(left, 1), other);
}

TEST_P(StageWorkerTest, RejectedDraftsLeaveNoTrace) {
  const auto tokens = Tokens(14);
  Run({.items = {Item(1, 0, 10)}}, Tokens(10));
  Run({.items = {Item(1, 10, 4, 4)}}, {tokens[10], tokens[11], 298, 299});
  const auto logits =
      Run({.items = {Item(1, 12, 2, 1)}, .truncate = {{Id(1), 12}}}, {tokens[12], tokens[13]});
  EXPECT_EQ(logits, Expected(tokens, 1));
}

TEST_P(StageWorkerTest, ACancelledStepIsForgottenAndItsRequestGoesOnFromBefore) {
  const auto tokens = Tokens(16);
  Run({.items = {Item(1, 0, 10)}}, Tokens(10));
  for (CancellationSet& set : cancelled_) set.Add(Id(1));
  wire::Step step{.items = {Item(1, 10, 4)}};
  EXPECT_TRUE(Run(step, {1, 2, 3, 4}).empty());
  EXPECT_TRUE(step.items[0].cancelled);
  for (const auto& stage : stages_) {
    EXPECT_TRUE(stage->machine().IsDirty(Id(1)));
    EXPECT_EQ(stage->machine().Length(Id(1)), 10u);
  }
  // A step that continues it, beside another request: only that one is computed.
  std::vector<TokenId> mixed = {5, 6};
  const auto other = Tokens(7, 3);
  mixed.insert(mixed.end(), other.begin(), other.end());
  step = {.items = {Item(1, 14, 2, 1), Item(2, 0, 7, 1)}};
  EXPECT_EQ(Run(step, mixed), Expected(other, 1));
  EXPECT_TRUE(step.items[0].cancelled);
  EXPECT_FALSE(step.items[1].cancelled);
  for (CancellationSet& set : cancelled_) set.Forget(Id(1));
  const std::vector<TokenId> rest(tokens.begin() + 10, tokens.end());
  EXPECT_EQ(Run({.items = {Item(1, 10, 6, 1)}, .truncate = {{Id(1), 10}}}, rest),
            Expected(tokens, 1));
}

TEST_P(StageWorkerTest, AStageBehindDoesNotComputeWhatAnEarlierOneGaveUp) {
  Run({.items = {Item(1, 0, 10)}}, Tokens(10));
  cancelled_[0].Add(Id(1));  // the second stage has not heard of it
  wire::Step step{.items = {Item(1, 10, 4, 1)}};
  EXPECT_TRUE(Run(step, {1, 2, 3, 4}).empty());
  EXPECT_TRUE(stages_[1]->machine().IsDirty(Id(1)));
  EXPECT_EQ(stages_[1]->machine().Length(Id(1)), 10u);
}

TEST_P(StageWorkerTest, ARequestGoesOnUnderTheNextPlanWithTheKvItHas) {
  const auto tokens = Tokens(22);
  Run({.items = {Item(1, 0, 15)}}, Tokens(15));
  plan_.id.bytes[0] = 7;
  for (const auto& stage : stages_) stage->Bind(plan_);
  next_ = 1;
  const std::vector<TokenId> rest(tokens.begin() + 15, tokens.end());
  EXPECT_EQ(Run({.items = {Item(1, 15, 7, 1)}}, rest), Expected(tokens, 1));
}

INSTANTIATE_TEST_SUITE_P(Kinds, StageWorkerTest,
                         testing::Values(Kind::kLlama, Kind::kGemma, Kind::kExperts));

}  // namespace
}  // namespace exo::engine
