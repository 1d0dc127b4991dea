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
  explicit ReadBuffers(sys::Caching caching = sys::Caching::kKept) : caching_(caching) {}

  // Bytes [offset, offset + bytes) of `tensor`, which begins at `start` of `file`; valid until Done
  // or destruction. Errors: the file's.
  Result<std::span<const std::byte>> Read(const sys::ReadableFile& file, uint64_t start,
                                          const std::string& tensor, uint64_t offset,
                                          uint64_t bytes) {
    sys::AlignedBytes buffer = Take();
    std::span<const std::byte> piece;
    if (caching_ == sys::Caching::kNone) {
      piece = TRY(file.ReadUncached(start + offset, bytes, buffer));
    } else {
      const std::span<std::byte> room = buffer.Take(bytes);
      TRY(file.Read(start + offset, room));
      piece = room;
    }
    const MutexLock lock(mutex_);
    used_.emplace(std::pair(tensor, offset), std::move(buffer));
    return piece;
  }
  void Done(const std::string& tensor, uint64_t offset) {
    const MutexLock lock(mutex_);
    const auto found = used_.find({tensor, offset});
    if (found == used_.end()) return;
    free_.push_back(std::move(found->second));
    used_.erase(found);
  }

 private:
  sys::AlignedBytes Take() {
    const MutexLock lock(mutex_);
    if (free_.empty()) return {};
    sys::AlignedBytes buffer = std::move(free_.back());
    free_.pop_back();
    return buffer;
  }

  const sys::Caching caching_;
  Mutex mutex_;
  std::multimap<std::pair<std::string, uint64_t>, sys::AlignedBytes> used_ EXO_GUARDED_BY(mutex_);
  std::vector<sys::AlignedBytes> free_ EXO_GUARDED_BY(mutex_);
};

}  // namespace exo::store
