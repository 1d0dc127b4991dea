// A disk in memory whose files can change, fail and hang in the middle of a test.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "sys/files.h"

namespace exo::sys {

class MemoryFile final : public ReadableFile {
 public:
  explicit MemoryFile(std::string bytes) : bytes_(std::move(bytes)) {
    stamp_.bytes = bytes_.size();
  }
  MemoryFile(std::string bytes, const FileStamp& stamp) : bytes_(std::move(bytes)), stamp_(stamp) {}

  const FileStamp& stamp() const override { return stamp_; }
  Result<void> Read(uint64_t offset, std::span<std::byte> out) const override {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset)
      return Fail(ErrorCode::kCorrupt, "the file ends at byte {}", bytes_.size());
    std::ranges::copy(std::as_bytes(std::span(bytes_)).subspan(offset, out.size()), out.begin());
    return {};
  }

 private:
  std::string bytes_;
  FileStamp stamp_;
};

// Thread: any.
class MemoryDisk final : public Disk {
 public:
  // Every write gives the file a new stamp, far in the past, so that it counts as at rest.
  void Write(const std::string& path, std::string bytes) {
    const MutexLock lock(mutex_);
    const int64_t time = ++clock_;
    const FileStamp stamp{
        .bytes = bytes.size(), .modified_ns = time, .changed_ns = time, .inode = 1};
    files_[path] = {std::move(bytes), stamp};
  }
  // The same, with the time of change that a program chose.
  void WriteAt(const std::string& path, std::string bytes, int64_t modified_ns) {
    Write(path, std::move(bytes));
    const MutexLock lock(mutex_);
    files_[path].stamp.modified_ns = modified_ns;
  }
  void Remove(const std::string& path) {
    const MutexLock lock(mutex_);
    files_.erase(path);
  }
  // Something that is no regular file, such as a pipe.
  void MakeOther(const std::string& path) {
    Write(path, {});
    const MutexLock lock(mutex_);
    files_[path].regular = false;
  }
  // Everything under `prefix` hangs until Answer.
  void Hang(const std::string& prefix) {
    const MutexLock lock(mutex_);
    hanging_.insert(prefix);
  }
  void Answer() {
    const MutexLock lock(mutex_);
    hanging_.clear();
    wake_.NotifyAll();
  }
  size_t opened(const std::string& path) const {
    const MutexLock lock(mutex_);
    const auto found = opened_.find(path);
    return found == opened_.end() ? 0 : found->second;
  }

  Result<std::shared_ptr<const ReadableFile>> Open(const std::string& path) const override {
    const MutexLock lock(mutex_);
    Wait(path);
    const Contents* found = TRY(Regular(path));
    ++opened_[path];
    return std::make_shared<MemoryFile>(found->bytes, found->stamp);
  }
  Result<FileStamp> Look(const std::string& path) const override {
    const MutexLock lock(mutex_);
    Wait(path);
    return TRY(Regular(path))->stamp;
  }
  Result<std::vector<std::string>> List(const std::string& folder) const override {
    const MutexLock lock(mutex_);
    Wait(folder + "/");
    std::vector<std::string> names;
    for (const auto& [path, unused] : files_) {
      if (path.starts_with(folder + "/")) names.push_back(path.substr(folder.size() + 1));
    }
    return names;
  }
  std::string Canonical(const std::string& path) const override { return path; }

 private:
  struct Contents {
    std::string bytes;
    FileStamp stamp;
    bool regular = true;
  };
  Result<const Contents*> Regular(const std::string& path) const EXO_REQUIRES(mutex_) {
    const auto found = files_.find(path);
    if (found == files_.end()) return Fail(ErrorCode::kNotFound, "cannot open {}", path);
    if (!found->second.regular) return Fail(ErrorCode::kInvalid, "{} is a pipe", path);
    return &found->second;
  }
  void Wait(const std::string& path) const EXO_REQUIRES(mutex_) {
    const auto holds = [&](const std::string& prefix) { return path.starts_with(prefix); };
    while (std::ranges::any_of(hanging_, holds)) wake_.Wait(mutex_);
  }

  mutable Mutex mutex_;
  mutable CondVar wake_;
  std::map<std::string, Contents> files_ EXO_GUARDED_BY(mutex_);
  mutable std::map<std::string, size_t> opened_ EXO_GUARDED_BY(mutex_);
  std::set<std::string> hanging_ EXO_GUARDED_BY(mutex_);
  int64_t clock_ EXO_GUARDED_BY(mutex_) = 0;
};

}  // namespace exo::sys
