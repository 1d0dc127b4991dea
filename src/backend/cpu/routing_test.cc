#include "backend/cpu/routing.h"

#include <gtest/gtest.h>

#include <cmath>

namespace exo::backend {
namespace {

using Indexes = std::vector<uint32_t>;

struct Choice {
  Indexes chosen;
  std::vector<float> weights;
};

Choice Choose(const std::vector<float>& weights, size_t used, bool renormalize = false) {
  Choice choice{Indexes(used), std::vector<float>(used)};
  ChooseExperts(weights, renormalize, choice.chosen, choice.weights);
  return choice;
}

TEST(ChooseExpertsTest, TakesTheLargestInAscendingOrder) {
  const Choice choice = Choose({0.1f, 0.4f, 0.05f, 0.3f, 0.15f}, 3);
  EXPECT_EQ(choice.chosen, (Indexes{1, 3, 4}));
  EXPECT_EQ(choice.weights, (std::vector<float>{0.4f, 0.3f, 0.15f}));
}

TEST(ChooseExpertsTest, EqualWeightsGoToTheLowerIndex) {
  EXPECT_EQ(Choose({0.25f, 0.25f, 0.25f, 0.25f}, 2).chosen, (Indexes{0, 1}));
  EXPECT_EQ(Choose({0.1f, 0.2f, 0.5f, 0.2f}, 2).chosen, (Indexes{1, 2}));
  EXPECT_EQ(Choose({0, 0, 0, 1}, 3).chosen, (Indexes{0, 1, 3}));
}

TEST(ChooseExpertsTest, RenormalizesByTheSum) {
  EXPECT_EQ(Choose({0.125f, 0.5f, 0.125f, 0.25f}, 2, true).weights,
            (std::vector<float>{0.5f / 0.75f, 0.25f / 0.75f}));
}

TEST(ChooseExpertsTest, NanStaysNan) {
  const Choice choice = Choose(std::vector<float>(5, std::nanf("")), 2, true);
  EXPECT_EQ(choice.chosen, (Indexes{0, 1}));
  for (const float weight : choice.weights) EXPECT_TRUE(std::isnan(weight));
}

TEST(RoutingTest, GroupsRowsByExpert) {
  Routing routing;
  routing.Resize(3, 2);
  routing.chosen = {1, 3, 0, 1, 1, 3};
  routing.Group(4);
  EXPECT_EQ(routing.begin, (Indexes{0, 1, 4, 4, 6}));
  EXPECT_EQ(routing.row_of, (Indexes{1, 0, 1, 2, 0, 2}));
  EXPECT_EQ(routing.expert_of, (Indexes{0, 1, 1, 1, 3, 3}));
  EXPECT_EQ(routing.slot, (Indexes{1, 4, 0, 2, 3, 5}));
  EXPECT_EQ(routing.SlotsOf(1), 3u);
  EXPECT_EQ(routing.SlotsOf(2), 0u);
}

}  // namespace
}  // namespace exo::backend
