#include "store/block_hash.h"

#include <algorithm>

namespace exo::store {

Hash256 HashOfBlocks(std::span<const Hash256> blocks) {
  Sha256 sum;
  for (const Hash256& block : blocks) sum.Update(std::as_bytes(std::span(block.bytes)));
  return sum.Finish();
}

void BlockHash::Update(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min<uint64_t>(bytes.size(), kHashBlock - taken_));
    sum_->Update(part);
    taken_ += part.size();
    bytes = bytes.subspan(part.size());
    if (taken_ == kHashBlock) EndBlock();
  }
}

void BlockHash::EndBlock() {
  blocks_.push_back(sum_->Finish());
  sum_.emplace();
  taken_ = 0;
}

std::vector<Hash256> BlockHash::FinishBlocks() {
  if (taken_ > 0) EndBlock();
  return std::move(blocks_);
}

Hash256 BlockHash::Finish() {
  return HashOfBlocks(FinishBlocks());
}

}  // namespace exo::store
