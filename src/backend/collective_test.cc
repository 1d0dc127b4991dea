#include "backend/collective.h"

#include <gtest/gtest.h>

#include <bit>

#include "base/random.h"

namespace exo::backend {
namespace {

// The definition: rule 5 as it is written.
float TreeSum(std::span<const float> leaves) {
  if (leaves.size() == 1) return leaves[0];
  const size_t left = std::bit_floor(leaves.size() - 1);
  return TreeSum(leaves.first(left)) + TreeSum(leaves.subspan(left));
}

std::vector<float> RandomLeaves(uint32_t count) {
  Rng rng(count);
  std::vector<float> values;
  for (uint32_t i = 0; i < count; ++i)
    values.push_back(static_cast<float>((rng.Uniform() - 0.5) * (i % 3 == 0 ? 1e4 : 1)));
  return values;
}

TEST(CanonicalSubtreesTest, AreTheMaximalOnes) {
  using Ranges = std::vector<LeafRange>;
  EXPECT_EQ(CanonicalSubtrees(8, {0, 8}), (Ranges{{0, 8}}));
  EXPECT_EQ(CanonicalSubtrees(8, {0, 4}), (Ranges{{0, 4}}));
  EXPECT_EQ(CanonicalSubtrees(8, {1, 8}), (Ranges{{1, 2}, {2, 4}, {4, 8}}));
  EXPECT_EQ(CanonicalSubtrees(4, {1, 3}), (Ranges{{1, 2}, {2, 3}}));
  EXPECT_EQ(CanonicalSubtrees(7, {4, 7}), (Ranges{{4, 7}}));  // the right one is 4 + 3
  EXPECT_EQ(CanonicalSubtrees(7, {3, 6}), (Ranges{{3, 4}, {4, 6}}));
  EXPECT_TRUE(CanonicalSubtrees(7, {3, 3}).empty());
}

TEST(CombinePartialsTest, GivesTheBitsOfOneDeviceForEveryCut) {
  for (uint32_t leaves = 1; leaves <= 23; ++leaves) {
    const std::vector<float> values = RandomLeaves(leaves);
    const float expected = TreeSum(values);
    for (uint32_t first = 0; first <= leaves; ++first) {
      for (uint32_t second = first; second <= leaves; ++second) {
        std::vector<LeafRange> ranges;
        for (const LeafRange& own :
             {LeafRange{0, first}, LeafRange{first, second}, LeafRange{second, leaves}}) {
          const auto subtrees = CanonicalSubtrees(leaves, own);
          ranges.insert(ranges.end(), subtrees.begin(), subtrees.end());
        }
        std::vector<float> sums;
        for (const LeafRange& range : ranges)
          sums.push_back(TreeSum(std::span(values).subspan(range.begin, range.end - range.begin)));
        std::vector<Partial> partials;
        for (size_t i = 0; i < ranges.size(); ++i) partials.push_back({ranges[i], {&sums[i], 1}});
        float sum = 0;
        CombinePartials(leaves, partials, {&sum, 1});
        EXPECT_EQ(std::bit_cast<uint32_t>(sum), std::bit_cast<uint32_t>(expected))
            << leaves << " leaves cut at " << first << " and " << second;
      }
    }
  }
}

TEST(CombinePartialsTest, AnotherOrderWouldGiveOtherBits) {
  uint32_t different = 0;
  for (uint32_t leaves = 1; leaves <= 64; ++leaves) {
    const std::vector<float> values = RandomLeaves(leaves);
    float running = values[0];
    for (size_t i = 1; i < values.size(); ++i) running += values[i];
    if (running != TreeSum(values)) ++different;
  }
  EXPECT_GT(different, 10u);
}

}  // namespace
}  // namespace exo::backend
