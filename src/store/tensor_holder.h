// A member that gives out tensors of one model, over a connection of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace exo::store {

// Thread: one at a time. All calls block.
class TensorHolder {
 public:
  TensorHolder() = default;
  virtual ~TensorHolder() = default;
  TensorHolder(const TensorHolder&) = delete;
  TensorHolder& operator=(const TensorHolder&) = delete;

  // Before the first Fetch: which tensors it has, in the order of the manifest's table; shorter: it
  // has the rest as well. Errors: kDisconnected, kNotFound (none), kCorrupt, kCancelled.
  virtual Result<std::vector<bool>> Open(const std::atomic<bool>* cancel) = 0;
  // Errors: likewise.
  virtual Result<std::vector<uint8_t>> Fetch(const std::string& tensor, uint64_t offset,
                                             uint32_t bytes, const std::atomic<bool>* cancel) = 0;
  // The hashes of all blocks of a tensor of so many bytes (store/block_hash.h); not checked yet.
  // Errors: likewise.
  virtual Result<std::vector<Hash256>> Blocks(const std::string& tensor, uint64_t bytes,
                                              const std::atomic<bool>* cancel) = 0;
};

}  // namespace exo::store
