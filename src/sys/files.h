// Files and folders. Paths are UTF-8 strings; every error names the path and the system's reason.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace exo::sys {

// A read-only mapping of a whole file. A file that shrinks while mapped can fault: files of the
// model store are never changed in place.
class MappedFile {
 public:
  static Result<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Tells the kernel that a range was read for the last time (its pages need not stay resident).
  void DontNeed(size_t offset, size_t size) const;
  // Reads a range into memory at once, ahead of its use: one call instead of a fault for every few
  // pages.
  void Populate(size_t offset, size_t size) const;
  // Asks the system to read the whole file ahead, in the background.
  void WillNeed() const;
  int64_t modified_ns() const { return modified_ns_; }

 private:
  MappedFile(const std::byte* data, size_t size, int64_t modified_ns)
      : data_(data), size_(size), modified_ns_(modified_ns) {}
  const std::byte* data_;
  size_t size_;
  int64_t modified_ns_;
};

Result<std::string> ReadFile(const std::string& path, size_t limit = 64u << 20);
// Writes a temporary file beside `path`, fsyncs and renames: old or new, never half. mode e.g.
// 0600.
Result<void> WriteFileAtomically(const std::string& path, std::string_view bytes, unsigned mode);

// A file that grows under a temporary name beside `path` and gets its name when it is whole.
class FileWriter {
 public:
  static Result<std::unique_ptr<FileWriter>> Create(const std::string& path, unsigned mode);
  ~FileWriter();  // not committed: nothing is left
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  // Errors: kIo (a full disk among them), naming the file.
  Result<void> Append(std::span<const std::byte> bytes);
  // fsyncs and renames; no other call may follow.
  Result<void> Commit();

 private:
  FileWriter(int fd, std::string path, std::string temporary)
      : fd_(fd), path_(std::move(path)), temporary_(std::move(temporary)) {}
  int fd_;
  std::string path_;
  std::string temporary_;
};
Result<void> RemoveFile(const std::string& path);
// An absolute path without symbolic links; `path` itself when there is no such file.
std::string CanonicalPath(const std::string& path);
Result<void> MakeFolders(const std::string& path, unsigned mode = 0700);
bool Exists(const std::string& path);
// Names in a folder, sorted; empty when it does not exist.
std::vector<std::string> ListFolder(const std::string& path);

// An exclusive advisory lock on a file, held until destroyed. Errors: kOverloaded with what the
// holder wrote (its process id) when another process has it.
class FileLock {
 public:
  static Result<std::unique_ptr<FileLock>> Acquire(const std::string& path, std::string_view note);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

// Cryptographically secure random bytes from the system.
void FillRandom(std::span<std::byte> bytes);

// A value whose bytes are all from FillRandom.
template <class T>
  requires std::is_trivially_copyable_v<T>
T RandomValue() {
  T value;
  FillRandom(std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

}  // namespace exo::sys
