#include "store/tensor_cache.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "store/block_hash.h"

namespace exo::store {
namespace {

// Of the name of a file that is named by the hash of its blocks (ADR 0034).
constexpr const char* kBlocksEnding = ".blocks";

bool Cancelled(const std::atomic<bool>* cancel) {
  return cancel != nullptr && cancel->load();
}

// Errors: kCorrupt (other bytes than the hash says), kIo, kCancelled.
Result<sys::FileStamp> VerifyFile(const std::string& path, uint64_t bytes, const Hash256& hash,
                                  const std::atomic<bool>* cancel) {
  const auto file = TRY(sys::RealDisk().Open(path));
  if (file->stamp().bytes != bytes) {
    return Fail(ErrorCode::kCorrupt, "{} has {} bytes instead of {}", path, file->stamp().bytes,
                bytes);
  }
  BlockHash sum;
  std::vector<std::byte> piece(std::min<uint64_t>(bytes, 1u << 20));
  for (uint64_t at = 0; at < bytes;) {
    if (Cancelled(cancel)) return Fail(ErrorCode::kCancelled, "pulling was canceled");
    const auto part = std::span(piece).first(std::min<uint64_t>(piece.size(), bytes - at));
    TRY(file->Read(at, part));
    sum.Update(part);
    at += part.size();
  }
  if (sum.Finish() != hash) return Fail(ErrorCode::kCorrupt, "{} is damaged", path);
  return file->stamp();
}

}  // namespace

std::string TensorCache::Key::FileName() const {
  return (of.IsZero() ? hash.Hex() : hash.Hex() + "-" + of.Hex()) + kBlocksEnding;
}

std::optional<TensorCache::Key> TensorCache::Key::FromFileName(const std::string& file) {
  if (!file.ends_with(kBlocksEnding)) return std::nullopt;
  const std::string name = file.substr(0, file.size() - std::strlen(kBlocksEnding));
  const size_t dash = std::min(name.find('-'), name.size());
  const auto hash = Hash256::FromHex(name.substr(0, dash));
  if (!hash) return std::nullopt;
  if (dash == name.size()) return Key{.hash = *hash, .of = {}};
  const auto of = Hash256::FromHex(name.substr(dash + 1));
  return of ? std::optional(Key{.hash = *hash, .of = *of}) : std::nullopt;
}

std::shared_ptr<TensorCache> TensorCache::Open(std::string folder, uint64_t budget) {
  std::shared_ptr<TensorCache> cache(new TensorCache(std::move(folder), budget));
  cache->Scan();
  return cache;
}

void TensorCache::Scan() {
  const MutexLock lock(mutex_);
  std::vector<ModelId> noted;
  for (const std::string& name : sys::ListFolder(folder_)) {
    const std::string path = folder_ + "/" + name;
    if (name.find(".new.") != std::string::npos) (void)sys::RemoveFile(path);
    if (const auto model = PulledModelId(name)) noted.push_back(*model);
    // Named by another kind of hash, as before ADR 0034: no manifest has it any more.
    if (Key::FromFileName(name + kBlocksEnding)) (void)sys::RemoveFile(path);
    const auto key = Key::FromFileName(name);
    if (!key) continue;
    const auto stamp = sys::RealDisk().Look(path);
    if (!stamp) continue;
    entries_[*key] = {.bytes = stamp->bytes, .last_used = stamp->modified_ns};
    clock_ = std::max(clock_, stamp->modified_ns);
  }
  ScanModels(noted);
  MakeRoom(0);
}

uint64_t TensorCache::Sum() const {
  uint64_t sum = 0;
  for (const auto& [unused, entry] : entries_) sum += entry.bytes;
  const MutexLock models(models_mutex_);
  for (const auto& [unused, model] : models_) sum += model.manifest->bytes().size();
  return sum;
}

uint64_t TensorCache::bytes() const {
  const MutexLock lock(mutex_);
  return Sum();
}

void TensorCache::MakeRoom(uint64_t bytes) {
  uint64_t sum = Sum() + bytes;
  std::vector<std::pair<int64_t, Key>> idle;
  for (const auto& [key, entry] : entries_) {
    if (entry.users == 0 && !entry.busy && entry.bytes > 0) idle.emplace_back(entry.last_used, key);
  }
  std::ranges::sort(idle);
  for (const auto& [unused, key] : idle) {
    if (sum <= budget_) return;
    sum -= Evict(key);
  }
}

uint64_t TensorCache::Evict(const Key& key) {
  if (auto removed = sys::RemoveFile(PathOf(key)); !removed)
    LOG(kWarning, "a pulled tensor stays: {}", removed.error().message);
  const uint64_t bytes = entries_[key].bytes;
  entries_.erase(key);
  return bytes + ForgetModelsOf(key);
}

void TensorCache::Release(const std::vector<Key>& keys) {
  const MutexLock lock(mutex_);
  for (const Key& key : keys) {
    Entry& entry = entries_.at(key);
    CHECK(entry.users > 0);
    --entry.users;
    entry.last_used = ++clock_;
  }
  MakeRoom(0);
}

// One caller at a time works on a tensor; the others wait for its result, and try themselves when
// it failed.
Result<sys::FileStamp> TensorCache::Acquire(const Wanted& wanted, const FetchPiece& fetch,
                                            const std::function<void(uint64_t)>& advance,
                                            const std::atomic<bool>* cancel) {
  if (const auto present = TRY(Claim(wanted, cancel))) {
    advance(wanted.bytes);
    return *present;
  }
  const auto stamp = Provide(wanted, fetch, advance, cancel);
  Settle(wanted.key, stamp);
  return stamp;
}

Result<std::optional<sys::FileStamp>> TensorCache::Claim(const Wanted& wanted,
                                                         const std::atomic<bool>* cancel) {
  const MutexLock lock(mutex_);
  while (entries_[wanted.key].busy) {
    if (Cancelled(cancel)) return Fail(ErrorCode::kCancelled, "pulling was canceled");
    changed_.WaitUntil(mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(50));
  }
  Entry& entry = entries_[wanted.key];
  if (entry.verified && sys::RealDisk().Look(PathOf(wanted.key)) == entry.stamp) {
    ++entry.users;
    return entry.stamp;
  }
  entry.busy = true;
  if (entry.bytes == 0) MakeRoom(wanted.bytes);
  return std::nullopt;
}

void TensorCache::Settle(const Key& key, const Result<sys::FileStamp>& stamp) {
  const MutexLock lock(mutex_);
  Entry& entry = entries_[key];
  CHECK(entry.busy);  // claimed by the caller
  entry.busy = false;
  entry.verified = stamp.has_value();
  if (stamp) {
    entry.bytes = stamp->bytes;
    entry.stamp = *stamp;
    entry.last_used = ++clock_;
    ++entry.users;
  } else if (!sys::Exists(PathOf(key))) {
    entry.bytes = 0;
    if (entry.users == 0) entries_.erase(key);
    ForgetModelsOf(key);
  }
  changed_.NotifyAll();
}

Result<sys::FileStamp> TensorCache::Provide(const Wanted& wanted, const FetchPiece& fetch,
                                            const std::function<void(uint64_t)>& advance,
                                            const std::atomic<bool>* cancel) {
  const std::string path = PathOf(wanted.key);
  const auto present = VerifyFile(path, wanted.bytes, wanted.key.hash, cancel);
  if (present || present.error().code == ErrorCode::kCancelled) {
    if (present) advance(wanted.bytes);
    return present;
  }
  if (present.error().code != ErrorCode::kNotFound)
    LOG(kWarning, "{}: pulling it again", present.error().message);
  // Whatever comes of the pull: what is damaged is not here.
  if (present.error().code == ErrorCode::kCorrupt) (void)sys::RemoveFile(path);
  TRY(PullFile(wanted, fetch, advance, cancel));
  return sys::RealDisk().Look(path);
}

}  // namespace exo::store
