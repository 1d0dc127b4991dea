// Tensors pulled from peers: one file each, named by content hash, in one folder with a budget.
//
// A file gets its name when all of its bytes have been hashed, and a file found under its name is
// hashed once per process before it is used. Two pulls of one tensor share the work. Files that no
// load is using go, the least recently used first, when the folder is over its budget; what one
// load needs at once may be over it for that long.
//
// Thread: any. Not shared between processes: the data folder is locked.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/mutex.h"
#include "base/result.h"
#include "store/manifest.h"
#include "sys/files.h"

namespace exo::store {

// Gets one piece of one tensor from a peer.
using FetchPiece = std::function<Result<std::vector<uint8_t>>(const std::string& tensor,
                                                              uint64_t offset, uint32_t bytes)>;

class TensorCache : public std::enable_shared_from_this<TensorCache> {
 public:
  // Takes over what is in `folder` (made when it is missing) and removes what broken-off pulls
  // left.
  static std::shared_ptr<TensorCache> Open(std::string folder, uint64_t budget);

  // Makes the tensors of a stage present, fetching what is missing. They stay until the source is
  // destroyed. Errors: those of `fetch`, kCorrupt (wrong hash), kIo (a full disk among them),
  // kCancelled.
  Result<std::unique_ptr<backend::TensorSource>> Pull(
      const Manifest& manifest, const backend::StageSpec& spec, const FetchPiece& fetch,
      const std::function<void(uint64_t done, uint64_t total)>& progress,
      const std::atomic<bool>* cancel);

  uint64_t bytes() const;

 private:
  friend class PulledSource;
  struct Entry {
    uint64_t bytes = 0;      // on disk; 0: not there
    int64_t last_used = 0;   // any increasing clock
    unsigned users = 0;      // sources that need it
    bool busy = false;       // being pulled or verified
    bool verified = false;   // by this process
    sys::FileStamp stamp{};  // when it was verified
  };
  struct Wanted {
    const model::TensorRef& tensor;
    Hash256 hash;
  };

  TensorCache(std::string folder, uint64_t budget) : folder_(std::move(folder)), budget_(budget) {}
  void Scan();
  std::string PathOf(const Hash256& hash) const { return folder_ + "/" + hash.Hex(); }
  Result<sys::FileStamp> Acquire(const Wanted& wanted, const FetchPiece& fetch,
                                 const std::function<void(uint64_t)>& advance,
                                 const std::atomic<bool>* cancel);
  // Waits until nobody works on the tensor. Its stamp when it is there and verified; else it is the
  // caller's to provide and to settle.
  Result<std::optional<sys::FileStamp>> Claim(const Wanted& wanted,
                                              const std::atomic<bool>* cancel);
  void Settle(const Hash256& hash, const Result<sys::FileStamp>& stamp);
  Result<sys::FileStamp> Provide(const Wanted& wanted, const FetchPiece& fetch,
                                 const std::function<void(uint64_t)>& advance,
                                 const std::atomic<bool>* cancel);
  void Release(const std::vector<Hash256>& hashes);
  void MakeRoom(uint64_t bytes) EXO_REQUIRES(mutex_);

  const std::string folder_;
  const uint64_t budget_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::map<Hash256, Entry> entries_ EXO_GUARDED_BY(mutex_);
  int64_t clock_ EXO_GUARDED_BY(mutex_) = 0;
};

}  // namespace exo::store
