// The hash of a tensor: SHA-256 over the SHA-256 of each of its blocks. Who knows the hashes of all
// blocks, which the tensor's own hash proves, can check any run of them by itself: a run has the
// hash that a tensor of these bytes would have.
//
// Thread: one per object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/sha256.h"

namespace exo::store {

// Bytes of a block; the last one of a tensor may have fewer. Small enough that a shard's rows are
// not much less than the blocks that they lie in, large enough that the hashes of a tensor's blocks
// are 1/512 of it.
inline constexpr uint64_t kHashBlock = 16u << 10;

inline uint64_t BlocksOf(uint64_t bytes) {
  return (bytes + kHashBlock - 1) / kHashBlock;
}

Hash256 HashOfBlocks(std::span<const Hash256> blocks);

class BlockHash {
 public:
  void Update(std::span<const std::byte> bytes);
  // Either ends the computation; the object may not be used afterwards.
  Hash256 Finish();
  std::vector<Hash256> FinishBlocks();

 private:
  void EndBlock();

  std::vector<Hash256> blocks_;
  std::optional<Sha256> sum_{std::in_place};  // of the block that is not full yet
  uint64_t taken_ = 0;                        // bytes of it
};

}  // namespace exo::store
