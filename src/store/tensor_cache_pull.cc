// The pulling half of store/tensor_cache.h: tensors from several holders at once.
#include <algorithm>
#include <optional>
#include <thread>

#include "base/check.h"
#include "base/thread.h"
#include "store/block_hash.h"
#include "store/pull_queue.h"
#include "store/read_buffers.h"
#include "store/tensor_cache.h"
#include "wire/messages.h"

namespace exo::store {

Result<void> TensorCache::PullFile(const Wanted& wanted, const FetchPiece& fetch,
                                   const std::function<void(uint64_t)>& advance,
                                   const std::atomic<bool>* cancel) const {
  const auto out = TRY(sys::FileWriter::Create(PathOf(wanted.key), 0600));
  BlockHash sum;
  for (uint64_t at = 0; at < wanted.bytes;) {
    if (cancel != nullptr && cancel->load())
      return Fail(ErrorCode::kCancelled, "pulling was canceled");
    const auto want =
        static_cast<uint32_t>(std::min<uint64_t>(wire::kMaxTensorPiece, wanted.bytes - at));
    const std::vector<uint8_t> piece = TRY(fetch(wanted.name, wanted.offset + at, want));
    if (piece.size() != want) {
      return Fail(ErrorCode::kCorrupt, "a peer sent {} of {} bytes of {}", piece.size(), want,
                  wanted.name);
    }
    sum.Update(std::as_bytes(std::span(piece)));
    TRY(out->Append(std::as_bytes(std::span(piece))));
    at += want;
    advance(want);
  }
  if (sum.Finish() != wanted.key.hash) {
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

  void Add(const TensorCache::Wanted& wanted, const sys::FileStamp& stamp) {
    pins_.push_back(wanted.key);
    files_[wanted.name] = {cache_->PathOf(wanted.key), stamp, wanted.offset, wanted.bytes};
  }

  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                          uint64_t bytes) override {
    const auto found = files_.find(tensor.name);
    if (found == files_.end())
      return Fail(ErrorCode::kNotFound, "tensor {} was not pulled", tensor.name);
    const Piece& piece = found->second;
    if (offset < piece.begin || offset + bytes > piece.begin + piece.bytes) {
      return Fail(ErrorCode::kNotFound, "bytes {}+{} of tensor {} were not pulled: {}+{} were",
                  offset, bytes, tensor.name, piece.begin, piece.bytes);
    }
    const auto file = TRY(sys::RealDisk().Open(piece.path));
    if (file->stamp() != piece.stamp)
      return Fail(ErrorCode::kCorrupt, "{} was changed since it was verified", piece.path);
    return buffers_.Read(*file, 0, tensor.name, offset - piece.begin, bytes);
  }
  void Done(const model::TensorRef& tensor, uint64_t offset, uint64_t) override {
    if (const auto found = files_.find(tensor.name); found != files_.end())
      buffers_.Done(tensor.name, offset - found->second.begin);
  }

 private:
  // The part of a tensor that a file holds.
  struct Piece {
    std::string path;
    sys::FileStamp stamp;
    uint64_t begin = 0;
    uint64_t bytes = 0;
  };
  const std::shared_ptr<TensorCache> cache_;
  std::vector<TensorCache::Key> pins_;
  std::map<std::string, Piece> files_;  // by tensor
  ReadBuffers buffers_;
};

// One call of TensorCache::Pull: a thread for each holder, and a queue between them.
class TensorPull {
 public:
  TensorPull(TensorCache& cache, PulledSource& source,
             const std::function<void(uint64_t done, uint64_t total)>& progress,
             const std::atomic<bool>* cancel)
      : cache_(cache), source_(source), progress_(progress), cancel_(cancel) {}

  Result<void> Run(const Manifest& manifest, std::span<const backend::TensorPiece> pieces,
                   std::span<TensorHolder* const> holders) {
    std::vector<Missing> all;
    for (const backend::TensorPiece& piece : pieces) all.push_back(TRY(Look(manifest, piece)));
    for (const Missing& one : all) total_ += one.bytes();
    const std::vector<bool> held = cache_.Held(manifest);
    for (const Missing& one : all) {
      if (one.whole() || held[one.index]) {
        TRY(TakeIfHere(one));
      } else {
        missing_.push_back(one);
      }
    }
    if (missing_.empty()) return {};
    std::vector<uint64_t> bytes;
    for (const Missing& one : missing_) bytes.push_back(one.bytes());
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
  using Wanted = TensorCache::Wanted;
  // Blocks [begin, end) of a tensor that are wanted.
  struct Missing {
    Wanted tensor;
    uint64_t begin = 0, end = 0;
    size_t index = 0;  // in the manifest

    bool whole() const { return begin == 0 && end == BlocksOf(tensor.bytes); }
    uint64_t bytes() const { return std::min(tensor.bytes, end * kHashBlock) - begin * kHashBlock; }
  };

  static Result<Missing> Look(const Manifest& manifest, const backend::TensorPiece& piece) {
    const auto& table = manifest.gguf().tensors();
    const auto at = std::ranges::find(table, piece.tensor, &model::GgufTensor::name);
    const Hash256 hash = TRY(manifest.HashOf(piece.tensor));
    CHECK(piece.begin < piece.end && piece.end <= at->bytes);
    return Missing{
        .tensor = {.name = piece.tensor, .bytes = at->bytes, .key = {.hash = hash, .of = {}}},
        .begin = piece.begin / kHashBlock,
        .end = BlocksOf(piece.end),
        .index = static_cast<size_t>(at - table.begin())};
  }

  // A whole tensor serves whoever wants a part of it.
  Result<void> TakeIfHere(const Missing& one) {
    bool here = true;
    const auto nowhere = [&](auto&&...) -> Result<std::vector<uint8_t>> {
      here = false;
      return Fail(ErrorCode::kNotFound, "tensor {} is not here", one.tensor.name);
    };
    const auto stamp =
        cache_.Acquire(one.tensor, nowhere, [&](uint64_t) { Advance(one.bytes()); }, cancel_);
    if (stamp) {
      source_.Add(one.tensor, *stamp);
    } else if (here) {
      return std::unexpected(stamp.error());
    } else {
      missing_.push_back(one);
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
      if (const auto got = Get(missing_[*at], holder); !got) {
        OnFailure(queue, got.error());
        break;
      }
      queue.Done(*at);
    }
    queue.Leave(number, at);
  }

  Result<void> Get(const Missing& one, TensorHolder& holder) {
    const Wanted wanted = one.whole() ? one.tensor : TRY(RunOf(one, holder));
    const auto fetch = [&](const std::string& tensor, uint64_t offset, uint32_t bytes) {
      return holder.Fetch(tensor, offset, bytes, cancel_);
    };
    const sys::FileStamp stamp =
        TRY(cache_.Acquire(wanted, fetch, [this](uint64_t count) { Advance(count); }, cancel_));
    const MutexLock lock(mutex_);
    source_.Add(wanted, stamp);
    return {};
  }

  // The tensor's own hash proves those of its blocks, and these the run's.
  Result<Wanted> RunOf(const Missing& one, TensorHolder& holder) {
    const Wanted& tensor = one.tensor;
    const std::vector<Hash256> blocks = TRY(holder.Blocks(tensor.name, tensor.bytes, cancel_));
    if (blocks.size() != BlocksOf(tensor.bytes) || HashOfBlocks(blocks) != tensor.key.hash) {
      return Fail(ErrorCode::kCorrupt,
                  "the hashes of blocks of tensor {} from a peer do not have the promised hash",
                  tensor.name);
    }
    const auto run = std::span(blocks).subspan(one.begin, one.end - one.begin);
    return Wanted{.name = tensor.name,
                  .offset = one.begin * kHashBlock,
                  .bytes = one.bytes(),
                  .key = {.hash = HashOfBlocks(run), .of = tensor.key.hash}};
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
    const Manifest& manifest, std::span<const backend::TensorPiece> pieces,
    std::span<TensorHolder* const> holders,
    const std::function<void(uint64_t done, uint64_t total)>& progress,
    const std::atomic<bool>* cancel, sys::Caching caching) {
  TRY(sys::MakeFolders(folder_));
  auto source = std::make_unique<PulledSource>(shared_from_this(), caching);
  TRY(TensorPull(*this, *source, progress, cancel).Run(manifest, pieces, holders));
  return source;
}

}  // namespace exo::store
