// Files and folders. Paths are UTF-8 strings; every error names the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/result.h"

namespace exo::sys {

// What tells one state of a file from another without reading it. Zero in a default object.
struct FileStamp {
  uint64_t bytes = 0;
  int64_t modified_ns = 0;  // of the contents: programs can set it
  int64_t changed_ns = 0;   // of contents or inode: only the system sets it
  uint64_t inode = 0;

  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

// Memory that a disk can write to by itself: begins at a page. Grows, and never shrinks.
class AlignedBytes {
 public:
  static constexpr size_t kAlignment = 4096;
  AlignedBytes() = default;
  AlignedBytes(AlignedBytes&& other) noexcept { *this = std::move(other); }
  AlignedBytes& operator=(AlignedBytes&& other) noexcept {
    bytes_ = std::move(other.bytes_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  // So many bytes, whose contents are whatever they are; earlier ones of it are gone.
  std::span<std::byte> Take(size_t bytes);

 private:
  struct Free {
    void operator()(std::byte* bytes) const;
  };
  std::unique_ptr<std::byte, Free> bytes_;
  size_t size_ = 0;
};

// Whether what is read of a file may stay in the system's memory.
enum class Caching : uint8_t { kKept, kNone };

// A regular file that is read in place, never mapped: whatever happens to it on disk is an error of
// a read and no signal. Thread: any.
class ReadableFile {
 public:
  virtual ~ReadableFile() = default;
  // Of the moment of opening.
  virtual const FileStamp& stamp() const = 0;
  // Fills `out` from `offset`. Errors: kIo; kCorrupt when the file was cut off or changed since it
  // was opened.
  virtual Result<void> Read(uint64_t offset, std::span<std::byte> out) const = 0;
  // `bytes` bytes from `offset`, in `buffer`: for what is larger than memory and read again and
  // again. Where the file system can do that, they come straight from the device; elsewhere the
  // system's cache is told to drop them. Errors: those of Read.
  virtual Result<std::span<const std::byte>> ReadUncached(uint64_t offset, uint64_t bytes,
                                                          AlignedBytes& buffer) const {
    const std::span<std::byte> room = buffer.Take(bytes);
    TRY(Read(offset, room));
    return room;
  }
};

// The files of a machine as the store sees them; tests have their own (sys/fake/disk.h). Every call
// may block for as long as the device behind the path does. Thread: any.
class Disk {
 public:
  virtual ~Disk() = default;
  // Never blocks on a pipe or a device. Errors: kNotFound, kIo, kInvalid (not a regular file, or
  // one that this user may not read).
  virtual Result<std::shared_ptr<const ReadableFile>> Open(const std::string& path) const = 0;
  // Errors: those of Open; the file is not opened.
  virtual Result<FileStamp> Look(const std::string& path) const = 0;
  // Names, sorted. Errors: kNotFound, kIo (also of a folder that may not be read), kInvalid (no
  // folder).
  virtual Result<std::vector<std::string>> List(const std::string& folder) const = 0;
  // Without symbolic links; `path` itself when there is no such file.
  virtual std::string Canonical(const std::string& path) const = 0;
};
const Disk& RealDisk();
// Size of the file system that `path` lies on; 0 when it cannot be told.
uint64_t DiskBytes(const std::string& path);

Result<std::string> ReadFile(const std::string& path, size_t limit = 64u << 20);
// The same of what must be there at once: kInvalid for a folder, a pipe or a socket, which ReadFile
// would wait for. Errors of a link say that it is one.
Result<std::string> ReadPlainFile(const std::string& path, size_t limit = 64u << 20);
// Writes another file beside `path`, fsyncs and renames: old or new, never half. mode e.g. 0600.
Result<void> WriteFileAtomically(const std::string& path, std::string_view bytes, unsigned mode);

// Adds to the end of a file, which is made when it is not there, and fsyncs. Errors: kIo.
Result<void> AppendToFile(const std::string& path, std::string_view bytes, unsigned mode);

// A file that grows beside `path` and gets its name when it is whole. Until then it has none, so
// that nothing is left of it however this process ends; on file systems that must name it (NFS,
// FAT) it is PATH.new.NUMBER, which a killed process leaves behind.
class FileWriter {
 public:
  // Errors: kNotFound (no such folder), kIo, kInvalid (there is something that is no regular file).
  static Result<std::unique_ptr<FileWriter>> Create(const std::string& path, unsigned mode);
  ~FileWriter();  // not committed: nothing is left
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  // Errors: kIo (a full disk among them), naming the file.
  Result<void> Append(std::span<const std::byte> bytes);
  enum class Sync : uint8_t { kYes, kNo };
  // fsyncs and renames; no other call may follow. Without the fsync the file may be damaged when
  // the power fails.
  Result<void> Commit(Sync sync = Sync::kYes);

 private:
  FileWriter(int fd, std::string path, std::string temporary)
      : fd_(fd), path_(std::move(path)), temporary_(std::move(temporary)) {}
  int fd_;
  std::string path_;
  std::string temporary_;
};
Result<void> RemoveFile(const std::string& path);
// Within one file system; a file `to` is replaced.
Result<void> RenameFile(const std::string& from, const std::string& to);
// FileStamp::modified_ns.
Result<void> SetModified(const std::string& path, int64_t modified_ns);
// An absolute path without symbolic links; `path` itself when there is no such file.
std::string CanonicalPath(const std::string& path);
Result<void> MakeFolders(const std::string& path, unsigned mode = 0700);
bool Exists(const std::string& path);
// True for a link that leads nowhere, too.
bool NameExists(const std::string& path);
// Names in a folder, sorted; empty when it does not exist.
std::vector<std::string> ListFolder(const std::string& path);

// An exclusive advisory lock on a file, held until destroyed. Errors: kOverloaded with what the
// holder wrote (its process id; nothing where its disk was full) when another process has it.
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
