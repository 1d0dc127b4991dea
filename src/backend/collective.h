// Sums over the shards of a tensor split (docs/arithmetic.md, rules 5 and 13). A product whose
// reduced dimension is divided among shards is a canonical tree over leaves of 128, a row of a
// mixture one over its chosen experts; a shard computes the values of the maximal subtrees that its
// leaves form, and all values together, added in tree order, are the bits of a single device.
// backend/split_trees.h knows which shard has which subtrees.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace exo::backend {

// Columns of a product's reduced dimension that one leaf holds.
inline constexpr uint32_t kLeafColumns = 128;

inline uint32_t LeavesOf(uint64_t columns) {
  return static_cast<uint32_t>((columns + kLeafColumns - 1) / kLeafColumns);
}

// Leaves [begin, end).
struct LeafRange {
  uint32_t begin = 0;
  uint32_t end = 0;
  friend bool operator==(const LeafRange&, const LeafRange&) = default;
};

// The maximal subtrees of the canonical tree over `leaves` leaves that lie within `own`, ascending.
// At most MostSubtrees(leaves) of them, about 2 log2(leaves).
std::vector<LeafRange> CanonicalSubtrees(uint32_t leaves, LeafRange own);
uint32_t MostSubtrees(uint32_t leaves);
// The same, of the tree over `columns` of which columns [begin, end) are cut between leaves.
std::vector<LeafRange> ColumnSubtrees(uint64_t columns, uint64_t begin, uint64_t end);

// The leaves of experts [begin, end) in the tree of a row that goes to `chosen`, ascending.
LeafRange ChosenLeaves(std::span<const uint32_t> chosen, uint32_t begin, uint32_t end);

// The values of one subtree: [rows][width] of a product, as many in every partial of it.
struct Partial {
  LeafRange leaves;
  std::span<const float> values;
};

// The sum of partials that cover all leaves, ascending, each a subtree: bit-equal to the product
// over all columns. sum [rows][width].
void CombinePartials(uint32_t leaves, std::span<const Partial> partials, std::span<float> sum);

// What of a layer is summed over shards.
enum class SplitProduct : uint8_t {
  kAttention,    // the product with attention's output matrix, whose columns are divided by heads
  kFeedForward,  // with the down matrix of the dense or shared block, divided by columns
  kExperts,      // the weighted results of each row's chosen experts, divided by expert
};

// One sum, and what this shard has of it.
struct SplitSum {
  SplitProduct product = SplitProduct::kAttention;
  // Of kExperts: [rows][used], the experts of each row, ascending. Every shard has computed them.
  std::span<const uint32_t> chosen = {};
  // The values of this shard's subtrees, ascending: [subtrees][rows][width]; of kExperts row after
  // row, [its subtrees][width].
  std::span<const float> own = {};
  std::span<float> sum = {};  // [rows][width]
};

// What a shard's layer loop calls between products. Every shard of a group calls it as often, with
// the same products and rows; the implementation moves the bytes.
class Collective {
 public:
  virtual ~Collective() = default;
  // Gives this shard's values in one exchange (those of each sum stand in memory behind those of
  // the one before) and blocks until every `sum` holds what the values of all shards add up to. An
  // error ends the step at this shard; the group must then end it at the others: whether a step is
  // cancelled is the group's decision, never one shard's.
  virtual Result<void> Sum(std::span<const SplitSum> sums) = 0;
  // Of the lead, behind the sums: the other shards begin to compute logits of outputs [first, first
  // + count), of which `best` of each row are wanted (zero: all), and then they are here, in the
  // columns of their parts of logits [count][vocab]. What is not wanted becomes -inf. `states`:
  // these outputs, [count][width] as they are behind the last layer, for shards that have not
  // computed them.
  virtual Result<void> AskLogits(size_t first, size_t count, uint32_t best,
                                 std::span<const float> states) = 0;
  virtual Result<void> TakeLogits(std::span<float> logits) = 0;
};

}  // namespace exo::backend
