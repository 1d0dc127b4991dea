// The sampler's steps beyond temperature, top-k, top-p and min-p: exact cases and properties. That
// they are llama.cpp's is compared with that library itself (tests/peer).
#include "engine/sampler_steps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "base/random.h"
#include "kernels/elementary.h"

namespace exo::engine {
namespace {

using wire::SamplerSettings;
using wire::SamplerStep;

constexpr float kInf = std::numeric_limits<float>::infinity();

Sampled Next(std::vector<float> logits, const SamplerSettings& settings, uint64_t position = 0,
             std::vector<TokenId> history = {}, const wire::SamplerState& state = {},
             const TokenMask* mask = nullptr) {
  SamplerScratch scratch;
  return SampleNext(logits,
                    {.history = history,
                     .settings = settings,
                     .position = position,
                     .state = state,
                     .mask = mask},
                    scratch)
      .value();
}
// Which tokens come in so many draws.
std::set<TokenId> Drawn(const std::vector<float>& logits, const SamplerSettings& settings,
                        int draws = 2000) {
  std::set<TokenId> tokens;
  for (int i = 0; i < draws; ++i)
    tokens.insert(Next(logits, settings, static_cast<uint64_t>(i)).token);
  return tokens;
}
std::vector<float> RandomLogits(Rng& rng, size_t vocab, double spread = 12) {
  std::vector<float> logits(vocab);
  for (float& x : logits)
    x = static_cast<float>((rng.Uniform() + rng.Uniform() + rng.Uniform() - 1.5) * spread);
  return logits;
}
std::vector<float> LogsOf(std::vector<double> probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}
const std::vector<SamplerStep> kUsual = {
    SamplerStep::kPenalties,   SamplerStep::kDry,  SamplerStep::kTopNSigma,
    SamplerStep::kTemperature, SamplerStep::kTopK, SamplerStep::kTypicalP,
    SamplerStep::kTopP,        SamplerStep::kMinP, SamplerStep::kXtc};
const std::vector<SamplerStep> kLlama = {
    SamplerStep::kPenalties, SamplerStep::kDry,      SamplerStep::kTopNSigma,
    SamplerStep::kTopK,      SamplerStep::kTypicalP, SamplerStep::kTopP,
    SamplerStep::kMinP,      SamplerStep::kXtc,      SamplerStep::kTemperature};

// The quick way for the usual settings and the chain of steps are the same function.
TEST(SamplerStepsTest, TheUsualOrderSpelledOutGivesTheSameTokens) {
  Rng rng(21);
  for (int round = 0; round < 400; ++round) {
    const auto logits = RandomLogits(rng, 1 + rng.Below(700), 3 + rng.Uniform() * 60);
    SamplerSettings settings = {
        .temperature = rng.Below(6) == 0 ? 0 : static_cast<float>(0.1 + rng.Uniform() * 2),
        .top_k = static_cast<uint32_t>(rng.Below(3) * rng.Below(60)),
        .top_p = rng.Below(2) == 0 ? 1 : static_cast<float>(rng.Uniform()),
        .min_p = rng.Below(2) == 0 ? 0 : static_cast<float>(rng.Uniform() * 0.3),
        .repeat_penalty = 1.2f,
        .presence_penalty = 0.3f,
        .frequency_penalty = 0.2f,
        .seed = rng.Next(),
        .top_n_sigma = rng.Below(2) == 0 ? 0 : static_cast<float>(rng.Uniform() * 3),
        .dry_multiplier = rng.Below(2) == 0 ? 0 : 0.8f};
    std::vector<TokenId> history(40);
    for (TokenId& token : history) token = static_cast<TokenId>(rng.Below(9));
    const TokenId usual = Next(logits, settings, 7, history).token;
    settings.order = kUsual;
    EXPECT_EQ(Next(logits, settings, 7, history).token, usual) << round;
  }
}

TEST(SamplerStepsTest, LogprobsAreOfTheModelWhateverTheSettings) {
  Rng rng(5);
  const auto logits = RandomLogits(rng, 3000);
  SamplerSettings plain = {.temperature = 1, .seed = 3, .logprobs = true, .top_logprobs = 5};
  SamplerSettings bent = plain;
  bent.temperature = 0.3f;
  bent.repeat_penalty = 2;
  bent.logit_bias = {{4, 100}, {5, -kInf}};
  const Sampled a = Next(logits, plain, 9, {1, 2, 3}), b = Next(logits, bent, 9, {1, 2, 3});
  EXPECT_EQ(b.token, 4);
  EXPECT_EQ(a.logprobs.top, b.logprobs.top);
  const float best = *std::max_element(logits.begin(), logits.end());
  const float log_sum = kernels::LogSumExp(logits.data(), logits.size(), best);
  EXPECT_EQ(a.logprobs.sampled[0], (logits[static_cast<size_t>(a.token)] - best) - log_sum);
  EXPECT_EQ(b.logprobs.sampled[0], (logits[4] - best) - log_sum);
  // The alternatives are a full sort's first ones.
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](TokenId x, TokenId y) {
    const float a_logit = logits[static_cast<size_t>(x)], b_logit = logits[static_cast<size_t>(y)];
    return a_logit > b_logit || (a_logit == b_logit && x < y);
  });
  ASSERT_EQ(a.logprobs.top.size(), 5u);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(a.logprobs.top[i].token, order[i]);
  double total = 0;
  for (const float x : logits) total += std::exp(double{x} - best);
  EXPECT_NEAR(a.logprobs.top[0].logprob, -std::log(total), 1e-5);
}

TEST(SamplerStepsTest, LogprobsOfImpossibleTokensAndSmallVocabularies) {
  const Sampled some = Next({-kInf, 0, 0, -kInf}, {.logprobs = true, .top_logprobs = 20});
  EXPECT_EQ(some.token, 1);
  ASSERT_EQ(some.logprobs.top.size(), 4u);
  EXPECT_EQ(some.logprobs.top[1].token, 2);
  EXPECT_EQ(some.logprobs.top[1].logprob, -kernels::Log(2));
  EXPECT_EQ(some.logprobs.top[3].logprob, -kInf);
  EXPECT_TRUE(Next({1, 2}, {}).logprobs.sampled.empty());
}

TEST(SamplerStepsTest, BiasesAddAndBan) {
  EXPECT_EQ(Next({1, 2, 3}, {.logit_bias = {{0, 2.5f}}}).token, 0);
  EXPECT_EQ(Next({1, 2, 3}, {.logit_bias = {{2, -kInf}}}).token, 1);
  EXPECT_EQ(Next({1, 2, 3}, {.logit_bias = {{-1, 9}, {3, 9}, {INT32_MAX, 9}}}).token, 2);
  SamplerScratch scratch;
  std::vector<float> logits = {1, 2};
  const SamplerSettings none = {.logit_bias = {{0, -kInf}, {1, -kInf}}};
  EXPECT_EQ(Sample(logits, {}, none, 0, scratch).error().code, ErrorCode::kCorrupt);
}

TEST(SamplerStepsTest, TopNSigmaByHand) {
  // Mean 2, variance (4 + 0 + 4) / 3: the deviation is 1.633.
  std::vector<float> logits = {0, 2, 4, -kInf};
  CutBySigma(logits, 1.2f);  // from 4 - 1.96 on
  EXPECT_EQ(logits, (std::vector<float>{-kInf, -kInf, 4, -kInf}));
  logits = {0, 2, 4, -kInf};
  CutBySigma(logits, 1.3f);
  EXPECT_EQ(logits, (std::vector<float>{-kInf, 2, 4, -kInf}));
  CutBySigma(logits, 0);
  EXPECT_EQ(logits, (std::vector<float>{-kInf, 2, 4, -kInf}));
  EXPECT_EQ(Drawn({0, 2, 4}, {.temperature = 2, .top_n_sigma = 1.3f}), (std::set<TokenId>{1, 2}));
}

TEST(SamplerStepsTest, TypicalPDropsWhatIsTooLikelyToo) {
  // Entropy 1.213 nats; surprises 0.693, 1.386, 2.079, 2.079: token 1 is nearest, then token 0.
  const auto logits = LogsOf({0.5, 0.25, 0.125, 0.125});
  const auto with = [](float p) { return SamplerSettings{.temperature = 1, .typical_p = p}; };
  EXPECT_EQ(Drawn(logits, with(0.2f)), (std::set<TokenId>{1}));
  EXPECT_EQ(Drawn(logits, with(0.3f)), (std::set<TokenId>{0, 1}));
  EXPECT_EQ(Drawn(logits, with(0.99f)), (std::set<TokenId>{0, 1, 2, 3}));
}

TEST(SamplerStepsTest, XtcTakesAllLikelyOnesButTheLast) {
  const auto logits = LogsOf({0.05, 0.4, 0.25, 0.3});
  SamplerSettings settings = {.temperature = 1, .xtc_probability = 1, .xtc_threshold = 0.2f};
  EXPECT_EQ(Drawn(logits, settings), (std::set<TokenId>{0, 2}));
  settings.xtc_threshold = 0.35f;  // one alone is kept
  EXPECT_EQ(Drawn(logits, settings), (std::set<TokenId>{0, 1, 2, 3}));
  settings.xtc_threshold = 0.6f;  // more than one half: off
  EXPECT_EQ(Drawn(logits, settings), (std::set<TokenId>{0, 1, 2, 3}));
  settings = {.temperature = 1, .xtc_probability = 0.25f, .xtc_threshold = 0.2f};
  int without = 0;
  for (uint64_t i = 0; i < 20000; ++i) without += Next(logits, settings, i).token == 1;
  EXPECT_NEAR(without, 20000 * 0.75 * 0.4, 250);  // its own draw decides, not the token's
}

TEST(SamplerStepsTest, GreedyWithoutTheBestOneInLlamasOrder) {
  const auto logits = LogsOf({0.05, 0.4, 0.25, 0.3});
  SamplerSettings settings = {.xtc_probability = 1, .xtc_threshold = 0.2f};
  EXPECT_EQ(Next(logits, settings).token, 1);  // temperature 0 leaves one before XTC
  settings.order = kLlama;
  EXPECT_EQ(Next(logits, settings).token, 2);
}

// The same steps in another order are another distribution: min-p before temperature sees the
// model's own.
TEST(SamplerStepsTest, TheOrderCounts) {
  const auto logits = LogsOf({0.6, 0.3, 0.1});
  SamplerSettings settings = {.temperature = 2, .min_p = 0.3f};
  EXPECT_EQ(Drawn(logits, settings), (std::set<TokenId>{0, 1, 2}));  // sqrt(1/6) is above 0.3
  settings.order = kLlama;
  EXPECT_EQ(Drawn(logits, settings), (std::set<TokenId>{0, 1}));
  settings.order = {SamplerStep::kMinP};  // and no temperature at all
  int first = 0;
  for (uint64_t i = 0; i < 9000; ++i) first += Next(logits, settings, i).token == 0;
  EXPECT_NEAR(first, 6000, 200);
}

TEST(SamplerStepsTest, PenaltiesBehindACutSeeOnlyWhatIsLeft) {
  SamplerSettings settings = {
      .temperature = 1, .top_k = 2, .presence_penalty = 50, .penalty_window = 4};
  settings.order = {SamplerStep::kTopK, SamplerStep::kTemperature, SamplerStep::kPenalties};
  EXPECT_EQ(Drawn({5, 4, 3, 2}, settings), (std::set<TokenId>{0, 1}));
  SamplerScratch scratch;
  for (uint64_t i = 0; i < 50; ++i)
    EXPECT_EQ(Next({5, 4, 3, 2}, settings, i, {0}).token, 1);  // 0 is penalized, 2 is gone
}

// ---- DRY

// Logits of zero after DRY: what it took from each token.
std::vector<float> Dry(const std::vector<TokenId>& history, SamplerSettings settings,
                       size_t vocab = 10) {
  std::vector<float> logits(vocab, 0.0f);
  SamplerScratch scratch;
  settings.dry_multiplier = 1;
  settings.dry_base = 2;
  const wire::SamplerState state;
  PenalizeRepetition(logits, {.history = history, .settings = settings, .state = state}, scratch);
  return logits;
}

TEST(DryTest, TheLongerTheRepetitionTheMore) {
  // ... 1 2 3 4 ... 1 2 3: 4 would go on with three tokens: 2^(3 - 2).
  auto taken = Dry({1, 2, 3, 4, 9, 1, 2, 3}, {});
  EXPECT_EQ(taken, (std::vector<float>{0, 0, 0, 0, -2, 0, 0, 0, 0, 0}));
  taken = Dry({2, 3, 5, 1, 2, 3, 4, 9, 1, 2, 3}, {});  // 5 came after two, 4 after three
  EXPECT_EQ(taken[5], -1);
  EXPECT_EQ(taken[4], -2);
  taken = Dry({1, 2, 3, 4, 9, 1, 2, 3}, {.dry_allowed_length = 4});
  EXPECT_EQ(taken[4], 0);
  taken = Dry({1, 2, 3, 4, 9, 1, 2, 3}, {.dry_window = 7});  // the 1 is out of sight
  EXPECT_EQ(taken[4], -1);
  taken = Dry({7, 7, 7, 7, 7}, {});  // overlaps itself: four before, and one more
  EXPECT_EQ(taken[7], -4);
}

TEST(DryTest, BreakersEndARepetition) {
  const std::vector<TokenId> history = {1, 2, 3, 4, 5, 9, 1, 2, 3, 4};
  EXPECT_EQ(Dry(history, {})[5], -4);
  EXPECT_EQ(Dry(history, {.dry_break_tokens = {2}})[5], -1);  // only 3 4 count
  EXPECT_EQ(Dry(history, {.dry_break_tokens = {3}})[5], 0);
  EXPECT_EQ(Dry(history, {.dry_break_tokens = {5}})[5], 0);  // a breaker is never penalized
  EXPECT_EQ(Dry(history, {.dry_break_sequences = {1, 2, -1, 8, 8, -1}})[5], -1);
  EXPECT_EQ(Dry(history, {.dry_break_sequences = {1, 3, -1}})[5], -4);
  EXPECT_EQ(Dry(history, {.dry_break_sequences = {2, 3}})[5], 0);  // its end may be missing
  EXPECT_EQ(Dry(history, {.dry_break_sequences = {-1, -1, 4, 9, -1}})[5], -4);
}

// Against the definition, without its cleverness.
TEST(DryTest, EqualsComparingEveryPosition) {
  Rng rng(31);
  for (int round = 0; round < 300; ++round) {
    std::vector<TokenId> history(2 + rng.Below(60));
    for (TokenId& token : history) token = static_cast<TokenId>(rng.Below(3));
    SamplerSettings settings = {.dry_allowed_length = static_cast<uint32_t>(1 + rng.Below(4)),
                                .dry_window = static_cast<uint32_t>(2 + rng.Below(60))};
    if (rng.Below(2) == 0) settings.dry_break_tokens = {2};
    const size_t size = std::min<size_t>(history.size(), settings.dry_window);
    const auto at = [&](size_t back) { return history[history.size() - 1 - back]; };
    size_t limit = size;
    for (size_t i = 0; i < size && limit == size; ++i) {
      if (!settings.dry_break_tokens.empty() && at(i) == 2) limit = i;
    }
    std::vector<float> expected(10, 0.0f);
    for (size_t k = 1; k < size; ++k) {
      size_t n = 0;
      while (k + n < size && n < limit && at(n) == at(k + n)) ++n;
      const auto token = static_cast<size_t>(at(k - 1));
      const bool breaks = token == 2 && !settings.dry_break_tokens.empty();
      if (n < settings.dry_allowed_length || limit < settings.dry_allowed_length || breaks)
        continue;
      expected[token] = std::min(
          expected[token],
          -static_cast<float>(std::exp2(static_cast<double>(n) - settings.dry_allowed_length)));
    }
    if (size <= settings.dry_allowed_length) std::fill(expected.begin(), expected.end(), 0.0f);
    EXPECT_EQ(Dry(history, settings), expected) << round;
  }
}

TEST(DryTest, ALongRepetitionIsFiniteAndQuick) {
  const std::vector<TokenId> history(131072, 7);
  const auto taken = Dry(history, {});
  EXPECT_TRUE(std::isfinite(taken[7]));
  EXPECT_LT(taken[7], -1e38f);
  EXPECT_EQ(taken[6], 0);
}

// ---- Mirostat 2

TEST(MirostatTest, MuFollowsTheSurprise) {
  const auto logits = LogsOf({0.5, 0.25, 0.125, 0.125});  // 1, 2, 3, 3 bits
  const SamplerSettings settings = {
      .temperature = 1, .seed = 4, .mirostat = true, .mirostat_tau = 1.25f, .mirostat_eta = 0.5f};
  // mu begins at 2.5: two tokens are left, of 2/3 and 1/3, surprising by 0.585 and 1.585 bits.
  for (uint64_t position = 0; position < 20; ++position) {
    const Sampled first = Next(logits, settings, position);
    ASSERT_LT(first.token, 2);
    EXPECT_TRUE(first.state.begun);
    const double surprise = first.token == 0 ? std::log2(1.5) : std::log2(3);
    EXPECT_NEAR(first.state.mirostat_mu, 2.5 - 0.5 * (surprise - 1.25), 1e-5);
    // With a mu below every surprise the best one stays.
    const Sampled low = Next(logits, settings, position, {}, {.begun = true, .mirostat_mu = -3});
    EXPECT_EQ(low.token, 0);
    EXPECT_NEAR(low.state.mirostat_mu, -3 + 0.5 * 1.25, 1e-5);
  }
}

TEST(MirostatTest, KeepsItsTargetOnAverage) {
  Rng rng(8);
  const SamplerSettings settings = {.temperature = 1,
                                    .seed = 11,
                                    .mirostat = true,
                                    .mirostat_tau = 3,
                                    .mirostat_eta = 0.1f,
                                    .logprobs = true};
  wire::SamplerState state;
  float mu = 0, mean = 0;
  for (uint64_t position = 0; position < 600; ++position) {
    const Sampled next = Next(RandomLogits(rng, 500), settings, position, {}, state);
    state = next.state;
    if (position >= 100) mean += (mu - state.mirostat_mu) / 0.1f + 3;
    mu = state.mirostat_mu;
  }
  EXPECT_NEAR(mean / 500, 3, 0.1);
}

// ---- randomness, masks, bounds

TEST(SamplerStepsTest, ChoicesDrawForThemselvesAndTheFirstIsAsEver) {
  const std::vector<float> logits(50, 0.0f);
  int same = 0;
  for (uint64_t position = 0; position < 500; ++position) {
    const TokenId first = Next(logits, {.temperature = 1, .seed = 6}, position).token;
    const float expected = UniformFloat(6, position) * 50;
    EXPECT_EQ(first, static_cast<TokenId>(expected));
    same += first == Next(logits, {.temperature = 1, .seed = 6, .choice = 1}, position).token;
  }
  EXPECT_LT(same, 30);  // 10 by chance
}

// Every second token may come, beginning where the last one said; its state counts tokens.
class Alternating final : public TokenMask {
 public:
  void Allow(std::span<const uint8_t> state, std::span<uint64_t> allowed) const override {
    const bool odd = !state.empty() && state[0] % 2 == 1;
    for (uint64_t& word : allowed) word = odd ? 0xAAAAAAAAAAAAAAAA : 0x5555555555555555;
  }
  std::vector<uint8_t> Next(std::span<const uint8_t> state, TokenId) const override {
    return {static_cast<uint8_t>(state.empty() ? 1 : state[0] + 1)};
  }
};

TEST(SamplerStepsTest, AMaskDecidesWhatMayComeAndItsStateGoesAlong) {
  const Alternating mask;
  Rng rng(2);
  for (const float temperature : {0.0f, 1.0f}) {
    wire::SamplerState state;
    for (uint64_t position = 0; position < 40; ++position) {
      const Sampled next =
          Next(RandomLogits(rng, 129), {.temperature = temperature}, position, {}, state, &mask);
      EXPECT_EQ(next.token % 2, static_cast<TokenId>(position % 2));
      state = next.state;
      EXPECT_EQ(state.grammar, std::vector<uint8_t>{static_cast<uint8_t>(position + 1)});
    }
  }
}

TEST(SamplerStepsTest, SettingsOutsideTheirRangesAreRefused) {
  const std::vector<SamplerSettings> bad = {{.typical_p = 1.1f},
                                            {.top_n_sigma = -1},
                                            {.xtc_probability = 2},
                                            {.xtc_threshold = -0.1f},
                                            {.dry_multiplier = -1},
                                            {.dry_multiplier = 1, .dry_base = 0.5f},
                                            {.dry_multiplier = 1, .dry_break_tokens = {5, 4}},
                                            {.mirostat = true, .mirostat_tau = 1e30f},
                                            {.mirostat = true, .mirostat_eta = -1}};
  for (const SamplerSettings& settings : bad) {
    SamplerScratch scratch;
    std::vector<float> logits = {1, 2};
    EXPECT_EQ(Sample(logits, {}, settings, 0, scratch).error().code, ErrorCode::kInvalid);
  }
}

// Whatever a peer may send: an error or a token of the vocabulary, and never anything else.
TEST(SamplerStepsTest, HostileSettingsNeverLeaveTheVocabulary) {
  Rng rng(77);
  const float odd[] = {0, 1, -1, 0.5f, 1e-30f, 3e38f, -3e38f, 1e20f, 2};
  const auto pick = [&] { return odd[rng.Below(std::size(odd))]; };
  const float fine[] = {0, 1, 0.5f, 1e-30f};  // for what most settings allow
  const auto part = [&] { return rng.Below(20) == 0 ? pick() : fine[rng.Below(std::size(fine))]; };
  int tokens = 0;
  for (int round = 0; round < 20000; ++round) {
    SamplerSettings s = {.temperature = pick(),
                         .top_k = static_cast<uint32_t>(rng.Below(4)),
                         .top_p = part(),
                         .min_p = part(),
                         .repeat_penalty = pick(),
                         .presence_penalty = pick(),
                         .frequency_penalty = pick(),
                         .typical_p = part(),
                         .top_n_sigma = pick(),
                         .xtc_probability = part(),
                         .xtc_threshold = part(),
                         .dry_multiplier = pick(),
                         .dry_base = pick(),
                         .mirostat = rng.Below(4) == 0,
                         .mirostat_tau = pick(),
                         .mirostat_eta = pick(),
                         .logprobs = rng.Below(2) == 0,
                         .top_logprobs = 3};
    for (uint64_t i = rng.Below(12); i > 0; --i)
      s.order.push_back(static_cast<SamplerStep>(rng.Below(9)));
    for (uint64_t i = rng.Below(3); i > 0; --i)
      s.logit_bias.push_back({static_cast<TokenId>(rng.Below(6)) - 1, pick()});
    std::vector<float> logits(1 + rng.Below(8));
    for (float& x : logits) x = rng.Below(9) == 0 ? -kInf : pick();
    std::vector<TokenId> history(rng.Below(20));
    for (TokenId& token : history) token = static_cast<TokenId>(rng.Below(10)) - 1;
    const wire::SamplerState state = {.begun = rng.Below(2) == 0, .mirostat_mu = pick()};
    SamplerScratch scratch;
    const auto next = SampleNext(
        logits, {.history = history, .settings = s, .position = 3, .state = state}, scratch);
    if (!next) continue;
    ++tokens;
    ASSERT_GE(next->token, 0);
    ASSERT_LT(static_cast<size_t>(next->token), logits.size());
  }
  EXPECT_GT(tokens, 300);
}

}  // namespace
}  // namespace exo::engine
