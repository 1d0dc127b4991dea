#include "engine/best_logits.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace exo::engine {

// NaN is what the sampler must see: a row that holds one is no row.
void AppendBest(std::span<const float> row, uint32_t first, uint32_t best,
                std::vector<float>& pairs) {
  const auto better = [&](uint32_t a, uint32_t b) {
    const bool a_is_none = std::isnan(row[a]), b_is_none = std::isnan(row[b]);
    if (a_is_none != b_is_none) return a_is_none;
    return a_is_none || row[a] == row[b] ? a < b : row[a] > row[b];
  };
  const size_t count = BestCount(row.size(), best);
  std::vector<uint32_t> kept;  // a heap, the worst of them first
  for (uint32_t i = 0; i < row.size() && count > 0; ++i) {
    if (kept.size() == count) {
      if (!better(i, kept.front())) continue;
      std::ranges::pop_heap(kept, better);
      kept.pop_back();
    }
    kept.push_back(i);
    std::ranges::push_heap(kept, better);
  }
  std::ranges::sort_heap(kept, better);
  for (const uint32_t i : kept) {
    pairs.push_back(row[i]);
    pairs.push_back(std::bit_cast<float>(first + i));
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
