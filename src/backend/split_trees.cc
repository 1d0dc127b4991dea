#include "backend/split_trees.h"

#include <algorithm>

#include "base/check.h"

namespace exo::backend {

SplitTrees::SplitTrees(const model::ModelConfig& config, std::span<const Shard> shards)
    : width_(config.width),
      used_(config.experts.used),
      attention_leaves_(LeavesOf(config.q_width())),
      ffn_leaves_(LeavesOf(config.ffn_width)),
      shards_(shards.begin(), shards.end()) {
  const uint64_t head = config.head_dim;
  for (const Shard& shard : shards_) {
    columns_.push_back(
        {ColumnSubtrees(config.q_width(), shard.head_begin * head, shard.head_end * head),
         ColumnSubtrees(config.ffn_width, shard.ffn_begin, shard.ffn_end)});
  }
}

const std::vector<LeafRange>& SplitTrees::ColumnsOf(size_t shard, SplitProduct product) const {
  return product == SplitProduct::kAttention ? columns_[shard].attention : columns_[shard].ffn;
}

std::vector<LeafRange> SplitTrees::ExpertsOf(size_t shard, std::span<const uint32_t> chosen) const {
  return CanonicalSubtrees(
      used_, ChosenLeaves(chosen, shards_[shard].expert_begin, shards_[shard].expert_end));
}

size_t SplitTrees::ValuesOf(size_t shard, const SplitSum& sum) const {
  if (sum.product != SplitProduct::kExperts)
    return ColumnsOf(shard, sum.product).size() * sum.sum.size();
  size_t subtrees = 0;
  for (size_t at = 0; at < sum.chosen.size(); at += used_)
    subtrees += ExpertsOf(shard, sum.chosen.subspan(at, used_)).size();
  return subtrees * width_;
}

size_t SplitTrees::MostParts(size_t shard) const {
  const uint32_t experts = shards_[shard].expert_end - shards_[shard].expert_begin;
  return std::max(columns_[shard].attention.size(),
                  columns_[shard].ffn.size() + std::min(MostSubtrees(used_), experts));
}

void SplitTrees::Combine(const SplitSum& sum,
                         std::span<const std::span<const float>> values) const {
  CHECK_EQ(values.size(), shards_.size());
  if (sum.product == SplitProduct::kExperts) {
    CombineExperts(sum, values);
  } else {
    CombineColumns(sum, values);
  }
}

void SplitTrees::CombineColumns(const SplitSum& sum,
                                std::span<const std::span<const float>> values) const {
  const size_t size = sum.sum.size();
  std::vector<Partial> all;
  for (size_t shard = 0; shard < shards_.size(); ++shard) {
    size_t at = 0;
    for (const LeafRange& range : ColumnsOf(shard, sum.product)) {
      all.push_back({.leaves = range, .values = values[shard].subspan(at, size)});
      at += size;
    }
  }
  const bool attention = sum.product == SplitProduct::kAttention;
  CombinePartials(attention ? attention_leaves_ : ffn_leaves_, all, sum.sum);
}

void SplitTrees::CombineExperts(const SplitSum& sum,
                                std::span<const std::span<const float>> values) const {
  std::vector<size_t> at(shards_.size(), 0);
  std::vector<Partial> all;
  for (size_t row = 0; row * width_ < sum.sum.size(); ++row) {
    all.clear();
    for (size_t shard = 0; shard < shards_.size(); ++shard) {
      for (const LeafRange& range : ExpertsOf(shard, sum.chosen.subspan(row * used_, used_))) {
        all.push_back({.leaves = range, .values = values[shard].subspan(at[shard], width_)});
        at[shard] += width_;
      }
    }
    CombinePartials(used_, all, sum.sum.subspan(row * width_, width_));
  }
}

}  // namespace exo::backend
