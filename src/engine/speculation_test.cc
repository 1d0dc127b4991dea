#include "engine/speculation.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "base/random.h"

namespace exo::engine {
namespace {

using Tokens = std::vector<TokenId>;

TEST(PromptLookupTest, DraftsWhatFollowedTheLastTime) {
  PromptLookup lookup;
  const Tokens text = {1, 2, 3, 4, 5, 6, 9, 2, 3, 4};
  const auto guess = lookup.Find(text, {}, 3);
  EXPECT_EQ(guess.tokens, (Tokens{5, 6, 9}));
  EXPECT_EQ(guess.match, 3u);
}

TEST(PromptLookupTest, TheMostRecentPlaceCounts) {
  PromptLookup lookup;
  EXPECT_EQ(lookup.Find(Tokens{1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3}, {}, 1).tokens, Tokens{5});
}

TEST(PromptLookupTest, KnowsTheTextAsItGrows) {
  PromptLookup lookup;
  Tokens text = {1, 2, 3, 4, 5};
  EXPECT_TRUE(lookup.Find(text, {}, 4).tokens.empty());
  for (const TokenId token : {7, 1, 2, 3}) text.push_back(token);
  EXPECT_EQ(lookup.Find(text, {}, 2).tokens, (Tokens{4, 5}));
  text.push_back(4);
  const auto guess = lookup.Find(text, {}, 2);
  EXPECT_EQ(guess.tokens, (Tokens{5, 7}));
  EXPECT_EQ(guess.match, 4u);
}

TEST(PromptLookupTest, GoesOnBehindWhatIsGuessed) {
  PromptLookup lookup;
  const Tokens text = {1, 2, 3, 4, 5, 6, 9, 2, 3, 4};
  const auto guess = lookup.Find(text, Tokens{5, 6}, 2);
  EXPECT_EQ(guess.tokens, (Tokens{9, 2}));
  EXPECT_EQ(guess.match, 5u);
  EXPECT_EQ(lookup.Find(text, {}, 3).tokens, (Tokens{5, 6, 9})) << "guesses are not remembered";
}

TEST(PromptLookupTest, AShortPeriodGoesOn) {
  PromptLookup lookup;
  EXPECT_EQ(lookup.Find(Tokens{8, 5, 6, 5, 6, 5, 6}, {}, 5).tokens, (Tokens{5, 6, 5, 6, 5}));
  PromptLookup same;
  EXPECT_EQ(same.Find(Tokens(6, 7), {}, 4).tokens, Tokens(4, 7));
}

TEST(PromptLookupTest, TextsTooShortToMatchDraftNothing) {
  for (size_t length = 0; length < 4; ++length) {
    PromptLookup lookup;
    Tokens text(length);
    std::iota(text.begin(), text.end(), 1);
    EXPECT_TRUE(lookup.Find(text, {}, 8).tokens.empty()) << length;
  }
}

// Tokens per unit of time over a text in which a draft of `match` tokens stands with `chance` each.
double Rate(DraftPayoff& payoff, double chance, double cost, int tokens, uint64_t seed) {
  Rng rng(seed);
  double time = 0;
  int done = 0;
  while (done < tokens) {
    const uint32_t window = payoff.Window(20, cost);
    time += 1 + window * cost;
    if (window == 0) {
      payoff.OnPlain();
      ++done;
      continue;
    }
    uint32_t accepted = 0;
    while (accepted < window && rng.Uniform() < chance) ++accepted;
    payoff.Spend(window * cost);
    payoff.OnDrafted(20, window, accepted);
    done += static_cast<int>(accepted) + 1;
  }
  return done / time;
}

TEST(DraftPayoffTest, ATextThatRepeatsIsTwiceAsFast) {
  DraftPayoff payoff;
  EXPECT_GT(Rate(payoff, 0.97, 0.2, 500, 1), 2.0);
}

TEST(DraftPayoffTest, UselessDraftsCostTheAllowanceAtMost) {
  for (const double cost : {0.02, 0.1, 0.25, 1.0, 3.0}) {
    DraftPayoff payoff;
    EXPECT_GT(Rate(payoff, 0, cost, 1000, 2), 0.985) << cost;
  }
}

TEST(DraftPayoffTest, DraftsAgainWhenTheTextBeginsToRepeat) {
  DraftPayoff payoff;
  (void)Rate(payoff, 0, 0.2, 1000, 3);
  EXPECT_GT(Rate(payoff, 1, 0.2, 1000, 3), 1.8);
}

TEST(DraftPayoffTest, AWindowAheadMustBeLikelyToCount) {
  DraftPayoff payoff;
  for (int i = 0; i < 60; ++i) payoff.OnDrafted(20, 5, 5);
  const uint32_t near = payoff.WindowAhead(20, 5, 0.1, 0.05);
  EXPECT_GT(near, 8u);
  EXPECT_LE(near, DraftPayoff::kMost + 1);
  EXPECT_LE(payoff.WindowAhead(20, 60, 0.1, 0.05), near);
  EXPECT_EQ(payoff.WindowAhead(20, 600, 0.1, 0.05), 0u) << "some draft before it will be wrong";
  EXPECT_EQ(payoff.WindowAhead(20, 5, 20, 0.05), 0u) << "a visit costs more than it brings";
  payoff.Spend(100);
  EXPECT_EQ(payoff.WindowAhead(20, 5, 0.1, 0.05), 0u) << "the account is empty";
}

TEST(DraftPayoffTest, NothingIsDraftedWhereARowCostsAStep) {
  const DraftPayoff payoff;
  EXPECT_EQ(payoff.Window(20, 1.0), 0u);
  EXPECT_LE(payoff.Window(20, 0.01), DraftPayoff::kMost);
  EXPECT_GT(payoff.Window(20, 0.01), payoff.Window(3, 0.01));
}

}  // namespace
}  // namespace exo::engine
