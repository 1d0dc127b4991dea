// What a shard sends of a row decides like the row.
#include "engine/best_logits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace exo::engine {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

std::vector<float> Sent(const std::vector<float>& row, uint32_t best) {
  std::vector<float> pairs, back(row.size());
  AppendBest(row, 16, best, pairs);
  EXPECT_EQ(pairs.size(), 2 * BestCount(row.size(), best));
  EXPECT_TRUE(FillFromBest(pairs, 16, back));
  return back;
}

TEST(BestLogitsTest, TheBestComeAndTiesGoToTheLowerIndex) {
  const std::vector<float> row = {1, 5, -2, 5, 4, kNone};
  EXPECT_EQ(Sent(row, 1), (std::vector<float>{kNone, 5, kNone, kNone, kNone, kNone}));
  EXPECT_EQ(Sent(row, 3), (std::vector<float>{kNone, 5, kNone, 5, 4, kNone}));
  EXPECT_EQ(Sent(row, 9), row);
}

TEST(BestLogitsTest, WhatIsNoNumberComesFirst) {
  EXPECT_TRUE(std::isnan(Sent({1, 5, NAN, 7}, 1)[2]));
}

TEST(BestLogitsTest, TokensOfOthersAreRefused) {
  std::vector<float> pairs, back(4);
  AppendBest(std::vector<float>{1, 2, 3, 4}, 16, 1, pairs);
  EXPECT_TRUE(FillFromBest(pairs, 16, back));
  EXPECT_EQ(FillFromBest(pairs, 0, back).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(FillFromBest(pairs, 20, back).error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace exo::engine
