#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "../tests/support/processor_time.h"
#include "backend/backend.h"
#include "base/random.h"
#include "engine/best_logits.h"

namespace exo::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

TokenId Must(std::vector<float> logits, const wire::SamplerSettings& settings,
             uint64_t position = 0, std::vector<TokenId> history = {}) {
  SamplerScratch scratch;
  return Sample(logits, history, settings, position, scratch).value();
}
std::vector<int> Count(const std::vector<float>& logits, const wire::SamplerSettings& settings,
                       int draws) {
  std::vector<int> counts(logits.size());
  SamplerScratch scratch;
  for (int i = 0; i < draws; ++i) {
    std::vector<float> copy = logits;
    ++counts[static_cast<size_t>(
        Sample(copy, {}, settings, static_cast<uint64_t>(i), scratch).value())];
  }
  return counts;
}

TEST(SamplerTest, GreedyTakesTheLargestAndTheLowerIndexOfATie) {
  EXPECT_EQ(Must({1, 3, 2}, {}), 1);
  EXPECT_EQ(Must({1, 3, 3, 2}, {}), 1);
  EXPECT_EQ(Must({-0.0f, 0.0f}, {}), 0);
  EXPECT_EQ(Must({-kInf, -5}, {}), 1);
}

TEST(SamplerTest, RefusesWhatIsNoLogit) {
  const std::vector<float> nan = {1, kNan}, inf = {kInf, 1}, none = {-kInf, -kInf};
  EXPECT_EQ(Argmax(nan).error().code, ErrorCode::kCorrupt);
  EXPECT_NE(Argmax(nan).error().message.find("token 1"), std::string::npos);
  EXPECT_EQ(Argmax(inf).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(Argmax(none).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(Argmax({}).error().code, ErrorCode::kInvalid);
  SamplerScratch scratch;
  std::vector<float> logits = {1, 2};
  EXPECT_EQ(Sample(logits, {}, {.temperature = kNan}, 0, scratch).error().code,
            ErrorCode::kInvalid);
  EXPECT_EQ(Sample(logits, {}, {.repeat_penalty = 0}, 0, scratch).error().code,
            ErrorCode::kInvalid);
  EXPECT_EQ(Sample(logits, {}, {.top_p = 1.5f}, 0, scratch).error().code, ErrorCode::kInvalid);
}

TEST(SamplerTest, FollowsTheDistribution) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f), -kInf};
  const auto counts = Count(logits, {.temperature = 1, .seed = 7}, 20000);
  EXPECT_NEAR(counts[0], 10000, 350);
  EXPECT_NEAR(counts[1], 6000, 350);
  EXPECT_NEAR(counts[2], 4000, 350);
  EXPECT_EQ(counts[3], 0);
  const auto sharp = Count(logits, {.temperature = 0.5f, .seed = 7}, 20000);  // squares: 25 : 9 : 4
  EXPECT_NEAR(sharp[0], 20000 * 25.0 / 38, 350);
}

TEST(SamplerTest, TopKTopPAndMinPCutTheTail) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.5f), std::log(0.1f),
                                     std::log(0.3f)};
  auto counts = Count(logits, {.temperature = 1, .top_k = 3, .seed = 1}, 4000);
  EXPECT_GT(counts[0], 0);  // of the tie the lower index stays
  EXPECT_EQ(counts[2], 0);
  counts = Count(logits, {.temperature = 1, .top_p = 0.7f, .seed = 1}, 4000);
  EXPECT_EQ(counts[0] + counts[2], 0);
  EXPECT_NEAR(counts[1], 2500, 150);
  counts = Count(logits, {.temperature = 1, .min_p = 0.5f, .seed = 1}, 4000);
  EXPECT_EQ(counts[0] + counts[2], 0);
  counts = Count(logits, {.temperature = 1, .top_p = 0, .seed = 1}, 100);
  EXPECT_EQ(counts[1], 100);
}

TEST(SamplerTest, PenaltiesByHand) {
  // Window [1, 1, 2]: token 1 twice, token 2 once; token 0 lies before the window.
  wire::SamplerSettings settings = {.repeat_penalty = 2,
                                    .presence_penalty = 0.25f,
                                    .frequency_penalty = 0.5f,
                                    .penalty_window = 3};
  std::vector<float> logits = {3, 4, -1, 0};
  const std::vector<TokenId> history = {0, 0, 1, 1, 2};
  SamplerScratch scratch;
  EXPECT_EQ(Sample(logits, history, settings, 0, scratch).value(), 0);
  EXPECT_EQ(logits, (std::vector<float>{3, 0.75f, -2.75f, 0}));
  EXPECT_EQ(Must({3, 4}, settings, 0, {-5, 99, 7}), 1);  // foreign tokens are ignored
}

TEST(SamplerTest, SameSeedAndPositionGiveTheSameToken) {
  std::vector<float> logits(1000);
  Rng rng(3);
  for (float& x : logits) x = static_cast<float>(rng.Uniform() * 4);
  const wire::SamplerSettings settings = {
      .temperature = 0.8f, .top_k = 50, .top_p = 0.9f, .seed = 42};
  int different = 0;
  for (uint64_t position = 0; position < 50; ++position) {
    const TokenId token = Must(logits, settings, position);
    EXPECT_EQ(token, Must(logits, settings, position));
    different += token != Must(logits, {.temperature = 0.8f, .seed = 43}, position);
  }
  EXPECT_GT(different, 25);
}

// Against a plain full sort: the partial selection may change nothing.
TEST(SamplerTest, PartialSelectionEqualsAFullSort) {
  Rng rng(9);
  for (int round = 0; round < 40; ++round) {
    std::vector<float> logits(2000);
    for (float& x : logits) x = static_cast<float>(rng.Below(40)) * 0.1f;  // many ties, flat
    const float top_p = 0.05f + 0.02f * static_cast<float>(round);
    std::vector<TokenId> order(logits.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<TokenId>(i);
    std::sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
      const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
      return x > y || (x == y && a < b);
    });
    const auto tokens = Count(logits, {.temperature = 1, .top_p = top_p, .seed = 5}, 200);
    size_t last = 0;
    for (size_t rank = 0; rank < order.size(); ++rank) {
      if (tokens[static_cast<size_t>(order[rank])] > 0) last = rank;
    }
    double mass = 0, total = 0;
    for (const float x : logits) total += std::exp(x);
    for (size_t rank = 0; rank + 1 <= last; ++rank)
      mass += std::exp(logits[static_cast<size_t>(order[rank])]);
    EXPECT_LT(mass / total, top_p + 1e-3) << round;
  }
}

// A row of which each of three parts gives its best logits, the others -inf.
TEST(SamplerTest, TheLogitsThatAreNeededDecide) {
  Rng rng(11);
  SamplerScratch scratch;
  int some = 0;
  for (uint64_t round = 0; round < 2000; ++round) {
    std::vector<float> logits(300);
    // Few values: many ties.
    for (float& logit : logits) logit = static_cast<float>(rng.Below(40)) / 4;
    wire::SamplerSettings settings{.temperature = static_cast<float>(rng.Below(3)),
                                   .top_k = static_cast<uint32_t>(rng.Below(6)),
                                   .top_p = rng.Below(2) == 0 ? 1.0f : 0.7f,
                                   .min_p = rng.Below(2) == 0 ? 0.0f : 0.2f,
                                   .seed = round};
    const uint32_t needed = LogitsNeeded(settings, nullptr);
    if (needed == backend::kAllLogits) continue;
    ++some;
    std::vector<float> some_logits(logits.size());
    const size_t ends[] = {0, 10, 128, 300};
    for (size_t i = 0; i < 3; ++i) {
      std::vector<float> pairs;
      const auto first = static_cast<uint32_t>(ends[i]);
      const size_t count = ends[i + 1] - ends[i];
      AppendBest(std::span(logits).subspan(first, count), first, needed, pairs);
      ASSERT_TRUE(FillFromBest(pairs, first, std::span(some_logits).subspan(first, count)));
    }
    EXPECT_EQ(Sample(logits, {}, settings, round, scratch).value(),
              Sample(some_logits, {}, settings, round, scratch).value());
  }
  EXPECT_GT(some, 500);
}

TEST(SamplerTest, AllLogitsAreNeededWhereOthersThanTheBestDecide) {
  EXPECT_EQ(LogitsNeeded({}, nullptr), 1u);
  EXPECT_EQ(LogitsNeeded({.temperature = 1, .top_k = 40}, nullptr), 40u);
  const wire::SamplerSettings settings[] = {{.temperature = 1},
                                            {.temperature = 1, .top_k = 5000},
                                            {.repeat_penalty = 1.1f},
                                            {.presence_penalty = 1},
                                            {.frequency_penalty = 1},
                                            {.temperature = 1, .top_k = 4, .typical_p = 0.5f},
                                            {.top_n_sigma = 1},
                                            {.temperature = 1, .top_k = 4, .xtc_probability = 1},
                                            {.dry_multiplier = 1},
                                            {.mirostat = true},
                                            {.order = {wire::SamplerStep::kTopK}},
                                            {.logit_bias = {{.token = 1, .bias = 1}}},
                                            {.logprobs = true}};
  for (const wire::SamplerSettings& one : settings)
    EXPECT_EQ(LogitsNeeded(one, nullptr), backend::kAllLogits) << &one - settings;
}

TEST(SamplerTest, ALargeVocabularyIsCheaperThanSortingIt) {
  Rng rng(1);
  std::vector<float> base(151936);
  for (float& x : base) x = static_cast<float>(rng.Uniform() + rng.Uniform() + rng.Uniform()) * 8;
  SamplerScratch scratch;
  std::vector<float> logits = base;
  const wire::SamplerSettings settings = {
      .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .seed = 1};
  (void)Sample(logits, {}, settings, 0, scratch);
  const auto* memory = scratch.candidates.data();
  const auto time = [&](const auto& work) {
    return testing::ProcessorSeconds([&] {
      for (uint64_t i = 0; i < 20; ++i) work(i);
    });
  };
  const auto sampled =
      time([&](uint64_t i) { EXPECT_TRUE(Sample(logits, {}, settings, i, scratch)); });
  EXPECT_EQ(memory, scratch.candidates.data());  // nothing allocated
  const auto sorted = time([&](uint64_t) {
    std::vector<float> copy = base;
    std::ranges::sort(copy);
  });
  EXPECT_LT(sampled, sorted) << "a sampler need not sort the vocabulary";
}

}  // namespace
}  // namespace exo::engine
