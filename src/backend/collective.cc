#include "backend/collective.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace exo::backend {
namespace {

// Leaves of the left subtree: the largest power of two smaller than `leaves`.
uint32_t LeftOf(uint32_t leaves) {
  return std::bit_floor(leaves - 1);
}

void Collect(LeafRange tree, LeafRange own, std::vector<LeafRange>& found) {
  if (own.end <= tree.begin || tree.end <= own.begin) return;
  if (own.begin <= tree.begin && tree.end <= own.end) return found.push_back(tree);
  const uint32_t middle = tree.begin + LeftOf(tree.end - tree.begin);
  Collect({tree.begin, middle}, own, found);
  Collect({middle, tree.end}, own, found);
}

// sum = the value of the subtree `tree`; takes its partials from the front of `partials`.
void SumOf(LeafRange tree, std::span<const Partial>& partials, std::span<float> sum) {
  CHECK(!partials.empty());
  if (partials.front().leaves == tree) {
    CHECK_EQ(partials.front().values.size(), sum.size());
    std::ranges::copy(partials.front().values, sum.begin());
    partials = partials.subspan(1);
    return;
  }
  CHECK_GT(tree.end - tree.begin, 1u);
  const uint32_t middle = tree.begin + LeftOf(tree.end - tree.begin);
  std::vector<float> right(sum.size());
  SumOf({tree.begin, middle}, partials, sum);
  SumOf({middle, tree.end}, partials, right);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] = sum[i] + right[i];
}

}  // namespace

std::vector<LeafRange> CanonicalSubtrees(uint32_t leaves, LeafRange own) {
  CHECK_LE(own.end, leaves);
  std::vector<LeafRange> found;
  Collect({0, leaves}, own, found);
  return found;
}

uint32_t MostSubtrees(uint32_t leaves) {
  return std::min(leaves, 2 * static_cast<uint32_t>(std::bit_width(leaves)));
}

std::vector<LeafRange> ColumnSubtrees(uint64_t columns, uint64_t begin, uint64_t end) {
  return CanonicalSubtrees(LeavesOf(columns), {LeavesOf(begin), LeavesOf(end)});
}

LeafRange ChosenLeaves(std::span<const uint32_t> chosen, uint32_t begin, uint32_t end) {
  const auto leaf = [&](uint32_t expert) {
    return static_cast<uint32_t>(std::ranges::lower_bound(chosen, expert) - chosen.begin());
  };
  return {leaf(begin), leaf(end)};
}

void CombinePartials(uint32_t leaves, std::span<const Partial> partials, std::span<float> sum) {
  SumOf({0, leaves}, partials, sum);
  CHECK(partials.empty());
}

}  // namespace exo::backend
