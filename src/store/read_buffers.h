// Memory for the pieces of files that a loading stage has at hand: each is read into a buffer of
// its own and the buffer is used again when the piece is done with. Thread: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "sys/files.h"

namespace exo::store {

class ReadBuffers {
 public:
  // Bytes [offset, offset + bytes) of `tensor`, which begins at `start` of `file`; valid until Done
  // or destruction. Errors: the file's.
  Result<std::span<const std::byte>> Read(const sys::ReadableFile& file, uint64_t start,
                                          const std::string& tensor, uint64_t offset,
                                          uint64_t bytes) {
    std::vector<std::byte> buffer = Take();
    // Not resized upward: that would copy, and take up to twice the bytes.
    if (buffer.capacity() < bytes) buffer = std::vector<std::byte>(bytes);
    buffer.resize(bytes);
    TRY(file.Read(start + offset, buffer));
    const MutexLock lock(mutex_);
    return std::span<const std::byte>(
        used_.emplace(std::pair(tensor, offset), std::move(buffer))->second);
  }
  void Done(const std::string& tensor, uint64_t offset) {
    const MutexLock lock(mutex_);
    const auto found = used_.find({tensor, offset});
    if (found == used_.end()) return;
    free_.push_back(std::move(found->second));
    used_.erase(found);
  }

 private:
  std::vector<std::byte> Take() {
    const MutexLock lock(mutex_);
    if (free_.empty()) return {};
    std::vector<std::byte> buffer = std::move(free_.back());
    free_.pop_back();
    return buffer;
  }

  Mutex mutex_;
  std::multimap<std::pair<std::string, uint64_t>, std::vector<std::byte>> used_
      EXO_GUARDED_BY(mutex_);
  std::vector<std::vector<std::byte>> free_ EXO_GUARDED_BY(mutex_);
};

}  // namespace exo::store
