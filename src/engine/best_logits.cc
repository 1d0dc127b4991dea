#include "engine/best_logits.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

namespace exo::engine {

// NaN is what the sampler must see: a row that holds one is no row.
void AppendBest(std::span<const float> row, uint32_t first, uint32_t best,
                std::vector<float>& pairs) {
  std::vector<uint32_t> order(row.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto end = order.begin() + static_cast<ptrdiff_t>(BestCount(row.size(), best));
  std::partial_sort(order.begin(), end, order.end(), [&](uint32_t a, uint32_t b) {
    const bool a_is_none = std::isnan(row[a]), b_is_none = std::isnan(row[b]);
    if (a_is_none != b_is_none) return a_is_none;
    return a_is_none || row[a] == row[b] ? a < b : row[a] > row[b];
  });
  for (auto at = order.begin(); at != end; ++at) {
    pairs.push_back(row[*at]);
    pairs.push_back(std::bit_cast<float>(first + *at));
  }
}

Result<void> FillFromBest(std::span<const float> pairs, uint32_t first, std::span<float> row) {
  std::ranges::fill(row, -std::numeric_limits<float>::infinity());
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    const uint32_t token = std::bit_cast<uint32_t>(pairs[i + 1]);
    if (token < first || token - first >= row.size()) {
      return Fail(ErrorCode::kCorrupt, "a logit of token {}, where {} to {} are divided", token,
                  first, first + row.size());
    }
    row[token - first] = pairs[i];
  }
  return {};
}

}  // namespace exo::engine
