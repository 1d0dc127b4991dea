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

// Element i of the subtree `tree`; takes its partials from the front of `partials`.
float SumOf(LeafRange tree, size_t i, std::span<const Partial>& partials) {
  CHECK(!partials.empty());
  if (partials.front().leaves == tree) {
    const float value = partials.front().values[i];
    partials = partials.subspan(1);
    return value;
  }
  CHECK_GT(tree.end - tree.begin, 1u);
  const uint32_t middle = tree.begin + LeftOf(tree.end - tree.begin);
  const float left = SumOf({tree.begin, middle}, i, partials);
  return left + SumOf({middle, tree.end}, i, partials);
}

}  // namespace

std::vector<LeafRange> CanonicalSubtrees(uint32_t leaves, LeafRange own) {
  CHECK_LE(own.end, leaves);
  std::vector<LeafRange> found;
  Collect({0, leaves}, own, found);
  return found;
}

void CombinePartials(uint32_t leaves, std::span<const Partial> partials, std::span<float> sum) {
  for (size_t i = 0; i < sum.size(); ++i) {
    std::span<const Partial> rest = partials;
    sum[i] = SumOf({0, leaves}, i, rest);
    CHECK(rest.empty());
  }
}

}  // namespace exo::backend
