// Tensors pulled from peers, and runs of blocks of tensors of which a shard reads a part: one file
// each, named by content hash and its kind, in one folder with a budget.
//
// A file gets its name when all of its bytes have been hashed, and a file found under its name is
// hashed once per process before it is used. Two pulls of one tensor share the work. Files that no
// load is using go, the least recently used first, when the folder is over its budget; what one
// load needs at once may be over it for that long.
//
// A model whose tensors are all here can be loaded and given out without its file, also after a
// restart (pulled_model.h). It is known for as long as all of them are here. Of other models the
// tensors that are here can be given out until the process ends.
//
// Thread: any. Not shared between processes: the data folder is locked.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/stage_pieces.h"
#include "base/mutex.h"
#include "base/result.h"
#include "store/manifest.h"
#include "store/pulled_model.h"
#include "store/tensor_holder.h"
#include "sys/files.h"

namespace exo::store {

class TensorCache : public std::enable_shared_from_this<TensorCache> {
 public:
  // Takes over what is in `folder` (made when it is missing) and removes what broken-off pulls
  // left, and what is named by hashes that no model has any more.
  static std::shared_ptr<TensorCache> Open(std::string folder, uint64_t budget);

  // Makes pieces of a model's, or an adapter's, tensors present: of a part of a tensor the blocks
  // that it lies in. What is missing comes from all holders at once, each tensor from one of them;
  // a holder that fails, or sends other bytes than the hash says, is not asked again. They stay
  // until the source is destroyed. `progress` is called by one thread at a time. Errors: those of
  // the last holder, kNotFound (no holder has it), kCorrupt (wrong hash), kIo (a full disk among
  // them), kCancelled.
  Result<std::unique_ptr<backend::TensorSource>> Pull(
      const Manifest& manifest, std::span<const backend::TensorPiece> pieces,
      std::span<TensorHolder* const> holders,
      const std::function<void(uint64_t done, uint64_t total)>& progress,
      const std::atomic<bool>* cancel, sys::Caching caching = sys::Caching::kKept);

  // The models whose tensors are all here, and a number that changes with them. Never waits for the
  // disk.
  std::vector<PulledModel> Models() const;
  // Those of which a part is here, or on its way.
  std::vector<std::shared_ptr<const Manifest>> Parts() const;
  // Which tensors of it are here, in the order of its table.
  std::vector<bool> Held(const Manifest& manifest) const;
  std::shared_ptr<const Manifest> FindModel(const ModelId& model) const;
  uint64_t models_version() const { return models_version_.load(); }
  // Before and after a pull: when all tensors of this model are here now, it is kept under `name`;
  // else what is here of it can be given out.
  void NoteModel(std::shared_ptr<const Manifest> manifest, std::string name);
  // Deletes what is here of a model, but for tensors that a load is using or another model here
  // has. The bytes that came free. Waits for the disk.
  uint64_t Remove(const ModelId& model);
  // Bytes of one tensor of a model that is here, for a peer that pulls it. Errors: kNotFound,
  // kInvalid (outside the tensor), kCorrupt, kIo.
  Result<std::vector<uint8_t>> TensorBytes(const Manifest& manifest, std::string_view name,
                                           uint64_t offset, uint64_t bytes);

  uint64_t bytes() const;

 private:
  friend class PulledSource;
  friend class TensorPull;
  // Gets one piece of one tensor from a peer.
  using FetchPiece = std::function<Result<std::vector<uint8_t>>(const std::string& tensor,
                                                                uint64_t offset, uint32_t bytes)>;
  struct Entry {
    uint64_t bytes = 0;      // on disk; 0: not there
    int64_t last_used = 0;   // any increasing clock
    unsigned users = 0;      // sources that need it
    bool busy = false;       // being pulled or verified
    bool verified = false;   // by this process
    sys::FileStamp stamp{};  // when it was verified
  };
  // Content: a tensor, or a run of blocks of one.
  struct Key {
    Hash256 hash;
    Hash256 of;  // the tensor's, of a run; zero: it is one
    static std::optional<Key> FromFileName(const std::string& file);
    std::string FileName() const;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Wanted {
    std::string name;
    uint64_t offset = 0;  // of a run
    uint64_t bytes = 0;
    Key key;
  };

  TensorCache(std::string folder, uint64_t budget) : folder_(std::move(folder)), budget_(budget) {}
  void Scan();
  void ScanModels(const std::vector<ModelId>& noted) EXO_REQUIRES(mutex_);
  bool Holds(const Manifest& manifest, size_t tensor) const EXO_REQUIRES(mutex_);
  bool HasAllOf(const Manifest& manifest) const EXO_REQUIRES(mutex_);
  // Deletes a file that nobody uses. The bytes that came free.
  uint64_t Evict(const Key& key) EXO_REQUIRES(mutex_);
  // The models that this tensor is part of are not here any more. Returns the bytes of their notes.
  uint64_t ForgetModelsOf(const Key& tensor) EXO_REQUIRES(mutex_);
  // On disk: tensors and notes.
  uint64_t Sum() const EXO_REQUIRES(mutex_);
  std::string PathOf(const Key& key) const { return folder_ + "/" + key.FileName(); }
  Result<sys::FileStamp> Acquire(const Wanted& wanted, const FetchPiece& fetch,
                                 const std::function<void(uint64_t)>& advance,
                                 const std::atomic<bool>* cancel);
  // Waits until nobody works on the tensor. Its stamp when it is there and verified; else it is the
  // caller's to provide and to settle.
  Result<std::optional<sys::FileStamp>> Claim(const Wanted& wanted,
                                              const std::atomic<bool>* cancel);
  void Settle(const Key& key, const Result<sys::FileStamp>& stamp);
  Result<sys::FileStamp> Provide(const Wanted& wanted, const FetchPiece& fetch,
                                 const std::function<void(uint64_t)>& advance,
                                 const std::atomic<bool>* cancel);
  Result<void> PullFile(const Wanted& wanted, const FetchPiece& fetch,
                        const std::function<void(uint64_t)>& advance,
                        const std::atomic<bool>* cancel) const;
  void Release(const std::vector<Key>& keys);
  void MakeRoom(uint64_t bytes) EXO_REQUIRES(mutex_);

  const std::string folder_;
  const uint64_t budget_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::map<Key, Entry> entries_ EXO_GUARDED_BY(mutex_);
  int64_t clock_ EXO_GUARDED_BY(mutex_) = 0;
  // Changed with `mutex_` held as well; this one is never held while the disk is at work.
  mutable Mutex models_mutex_;
  std::map<ModelId, PulledModel> models_ EXO_GUARDED_BY(models_mutex_);
  std::map<ModelId, std::shared_ptr<const Manifest>> parts_ EXO_GUARDED_BY(models_mutex_);
  std::atomic<uint64_t> models_version_{0};
};

}  // namespace exo::store
