// Which values each shard of a group has of a sum, and the sum of all of them: what a collective
// needs to know beside how to move bytes.
//
// Thread: immutable, any thread.
#pragma once

#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/collective.h"
#include "model/config.h"

namespace exo::backend {

class SplitTrees {
 public:
  // Shards of the model with this config, in their order: all of a group, or for MostParts some.
  SplitTrees(const model::ModelConfig& config, std::span<const Shard> shards);

  // How many values the shard has of a sum (SplitSum::own).
  size_t ValuesOf(size_t shard, const SplitSum& sum) const;
  // Subtrees of one row that the shard gives in one exchange, at most.
  size_t MostParts(size_t shard) const;
  // values[i]: ValuesOf(i, sum) of shard i.
  void Combine(const SplitSum& sum, std::span<const std::span<const float>> values) const;

 private:
  // The subtrees of a shard's columns, of products that are divided by columns.
  const std::vector<LeafRange>& ColumnsOf(size_t shard, SplitProduct product) const;
  // Those of its experts in one row.
  std::vector<LeafRange> ExpertsOf(size_t shard, std::span<const uint32_t> chosen) const;
  void CombineColumns(const SplitSum& sum, std::span<const std::span<const float>> values) const;
  void CombineExperts(const SplitSum& sum, std::span<const std::span<const float>> values) const;

  struct Columns {
    std::vector<LeafRange> attention, ffn;
  };
  const size_t width_;
  const uint32_t used_;  // experts of a row
  const uint32_t attention_leaves_, ffn_leaves_;
  const std::vector<Shard> shards_;
  std::vector<Columns> columns_;  // of each shard
};

}  // namespace exo::backend
