// The pulling half of store/tensor_cache.h: tensors from several holders at once.
#include <algorithm>
#include <optional>
#include <thread>

#include "base/sha256.h"
#include "base/thread.h"
#include "store/pull_queue.h"
#include "store/read_buffers.h"
#include "store/tensor_cache.h"
#include "wire/messages.h"

namespace exo::store {

Result<void> TensorCache::PullFile(const Wanted& wanted, const FetchPiece& fetch,
                                   const std::function<void(uint64_t)>& advance,
                                   const std::atomic<bool>* cancel) const {
  const auto out = TRY(sys::FileWriter::Create(PathOf(wanted.hash), 0600));
  Sha256 sum;
  for (uint64_t at = 0; at < wanted.bytes;) {
    if (cancel != nullptr && cancel->load())
      return Fail(ErrorCode::kCancelled, "pulling was canceled");
    const auto want =
        static_cast<uint32_t>(std::min<uint64_t>(wire::kMaxTensorPiece, wanted.bytes - at));
    const std::vector<uint8_t> piece = TRY(fetch(wanted.name, at, want));
    if (piece.size() != want) {
      return Fail(ErrorCode::kCorrupt, "a peer sent {} of {} bytes of {}", piece.size(), want,
                  wanted.name);
    }
    sum.Update(std::as_bytes(std::span(piece)));
    TRY(out->Append(std::as_bytes(std::span(piece))));
    at += want;
    advance(want);
  }
  if (sum.Finish() != wanted.hash) {
    return Fail(ErrorCode::kCorrupt, "tensor {} from a peer does not have the promised hash",
                wanted.name);
  }
  return out->Commit();
}

// Opens a tensor's file for each read: a stage has more tensors than a process may have open files.
class PulledSource final : public backend::TensorSource {
 public:
  PulledSource(std::shared_ptr<TensorCache> cache, sys::Caching caching)
      : cache_(std::move(cache)), buffers_(caching) {}
  ~PulledSource() override { cache_->Release(pins_); }
  PulledSource(const PulledSource&) = delete;
  PulledSource& operator=(const PulledSource&) = delete;

  void Add(const std::string& tensor, const Hash256& hash, const sys::FileStamp& stamp) {
    pins_.push_back(hash);
    files_[tensor] = {cache_->PathOf(hash), stamp};
  }

  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                          uint64_t bytes) override {
    const auto found = files_.find(tensor.name);
    if (found == files_.end())
      return Fail(ErrorCode::kNotFound, "tensor {} was not pulled", tensor.name);
    const auto& [path, stamp] = found->second;
    const auto file = TRY(sys::RealDisk().Open(path));
    if (file->stamp() != stamp)
      return Fail(ErrorCode::kCorrupt, "{} was changed since it was verified", path);
    return buffers_.Read(*file, 0, tensor.name, offset, bytes);
  }
  void Done(const model::TensorRef& tensor, uint64_t offset, uint64_t) override {
    buffers_.Done(tensor.name, offset);
  }

 private:
  const std::shared_ptr<TensorCache> cache_;
  std::vector<Hash256> pins_;
  std::map<std::string, std::pair<std::string, sys::FileStamp>> files_;
  ReadBuffers buffers_;
};

// One call of TensorCache::Pull: a thread for each holder, and a queue between them.
class TensorPull {
 public:
  TensorPull(TensorCache& cache, PulledSource& source,
             const std::function<void(uint64_t done, uint64_t total)>& progress,
             const std::atomic<bool>* cancel)
      : cache_(cache), source_(source), progress_(progress), cancel_(cancel) {}

  Result<void> Run(const Manifest& manifest, const std::vector<const model::TensorRef*>& tensors,
                   std::span<TensorHolder* const> holders) {
    for (const model::TensorRef* tensor : tensors) total_ += tensor->bytes;
    for (const model::TensorRef* tensor : tensors) TRY(TakeIfHere(manifest, *tensor));
    if (missing_.empty()) return {};
    std::vector<uint64_t> bytes;
    for (const Missing& one : missing_) bytes.push_back(one.wanted.bytes);
    PullQueue queue(std::move(bytes));
    std::vector<std::thread> threads;
    for (TensorHolder* holder : holders)
      threads.push_back(StartThread([this, &queue, holder] { Serve(queue, *holder); }));
    for (std::thread& thread : threads) thread.join();
    if (queue.finished()) return {};
    const MutexLock lock(mutex_);
    return std::unexpected(error_);
  }

 private:
  struct Missing {
    TensorCache::Wanted wanted;
    size_t index = 0;  // in the manifest
  };

  Result<void> TakeIfHere(const Manifest& manifest, const model::TensorRef& tensor) {
    const TensorCache::Wanted wanted{tensor.name, tensor.bytes, TRY(manifest.HashOf(tensor.name))};
    bool here = true;
    const auto nowhere = [&](auto&&...) -> Result<std::vector<uint8_t>> {
      here = false;
      return Fail(ErrorCode::kNotFound, "tensor {} is not here", tensor.name);
    };
    const auto stamp =
        cache_.Acquire(wanted, nowhere, [this](uint64_t count) { Advance(count); }, cancel_);
    if (stamp) {
      source_.Add(tensor.name, wanted.hash, *stamp);
    } else if (here) {
      return std::unexpected(stamp.error());
    } else {
      const auto& table = manifest.gguf().tensors();
      const auto at = std::ranges::find(table, tensor.name, &model::GgufTensor::name);
      missing_.push_back({wanted, static_cast<size_t>(at - table.begin())});
    }
    return {};
  }

  // On a thread of its own.
  void Serve(PullQueue& queue, TensorHolder& holder) {
    const auto held = holder.Open(cancel_);
    if (!held) return OnFailure(queue, held.error());
    std::vector<bool> has;
    for (const Missing& one : missing_)
      has.push_back(one.index >= held->size() || (*held)[one.index]);
    const size_t number = queue.Join(std::move(has));
    std::optional<size_t> at;
    while ((at = queue.Next(number))) {
      if (const auto got = Get(missing_[*at].wanted, holder); !got) {
        OnFailure(queue, got.error());
        break;
      }
      queue.Done(*at);
    }
    queue.Leave(number, at);
  }

  Result<void> Get(const TensorCache::Wanted& wanted, TensorHolder& holder) {
    const auto fetch = [&](const std::string& tensor, uint64_t offset, uint32_t bytes) {
      return holder.Fetch(tensor, offset, bytes, cancel_);
    };
    const sys::FileStamp stamp =
        TRY(cache_.Acquire(wanted, fetch, [this](uint64_t count) { Advance(count); }, cancel_));
    const MutexLock lock(mutex_);
    source_.Add(wanted.name, wanted.hash, stamp);
    return {};
  }

  // Another holder is no help against a full disk.
  void OnFailure(PullQueue& queue, const Error& error) {
    const bool ends = error.code == ErrorCode::kIo || error.code == ErrorCode::kCancelled;
    {
      const MutexLock lock(mutex_);
      // That a member has nothing of it explains less than what became of one that had it.
      const bool says_more = error.code != ErrorCode::kNotFound || error_.code == error.code;
      if (!ended_ && (ends || says_more)) error_ = error;
      ended_ = ended_ || ends;
    }
    if (ends) queue.Stop();
  }

  void Advance(uint64_t bytes) {
    const MutexLock lock(mutex_);
    done_ = std::min(done_ + bytes, total_);
    if (progress_) progress_(done_, total_);
  }

  TensorCache& cache_;
  PulledSource& source_;
  const std::function<void(uint64_t done, uint64_t total)>& progress_;
  const std::atomic<bool>* const cancel_;
  std::vector<Missing> missing_;  // not changed while there are threads
  uint64_t total_ = 0;            // likewise
  Mutex mutex_;                   // held for `source_` and `progress_`, too
  uint64_t done_ EXO_GUARDED_BY(mutex_) = 0;
  Error error_ EXO_GUARDED_BY(mutex_) = {ErrorCode::kNotFound,
                                         "no member that can be reached has the missing tensors"};
  bool ended_ EXO_GUARDED_BY(mutex_) = false;  // by an error that no other replaces
};

Result<std::unique_ptr<backend::TensorSource>> TensorCache::Pull(
    const Manifest& manifest, const std::vector<const model::TensorRef*>& tensors,
    std::span<TensorHolder* const> holders,
    const std::function<void(uint64_t done, uint64_t total)>& progress,
    const std::atomic<bool>* cancel, sys::Caching caching) {
  TRY(sys::MakeFolders(folder_));
  auto source = std::make_unique<PulledSource>(shared_from_this(), caching);
  TRY(TensorPull(*this, *source, progress, cancel).Run(manifest, tensors, holders));
  return source;
}

}  // namespace exo::store
