// The best of a row of logits, as a shard sends them: so many pairs of a logit and the index of its
// token, whose bits stand in a float.
//
// Thread: pure, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace exo::engine {

// More of a row are never asked for.
inline constexpr uint32_t kMostBest = 256;

// How many of a row of `logits` values are sent when `best` are wanted.
inline size_t BestCount(size_t logits, uint32_t best) {
  return logits < best ? logits : best;
}

// Appends the best of a row, NaN before all others: 2 * BestCount values. `first` is the token of
// row[0].
void AppendBest(std::span<const float> row, uint32_t first, uint32_t best,
                std::vector<float>& pairs);

// row = -inf but for the pairs, whose tokens must be [first, first + row.size()). Errors: kCorrupt.
Result<void> FillFromBest(std::span<const float> pairs, uint32_t first, std::span<float> row);

}  // namespace exo::engine
