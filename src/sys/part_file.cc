#include "sys/part_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/units.h"
#include "sys/path_error.h"

namespace exo::sys {
namespace {

std::string FolderOfPath(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

std::unexpected<Error> NoRoom(const std::string& path, uint64_t bytes) {
  return Fail(ErrorCode::kIo,
              "the disk is full: {} needs {}, and {} are free; make room and try again", path,
              FormatSize(bytes), FormatSize(FreeDiskBytes(path)));
}

}  // namespace

Result<std::unique_ptr<PartFile>> PartFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
  if (fd < 0) return PathError("create", path);
  std::unique_ptr<PartFile> part(new PartFile(fd, path));
  struct stat info{};
  if (::fstat(fd, &info) != 0) return PathError("look at", path);
  if (!S_ISREG(info.st_mode))
    return Fail(ErrorCode::kInvalid, "{} is {}, not a regular file", path, KindOf(info.st_mode));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return PathError("lock", path);
    return Fail(ErrorCode::kOverloaded, "{} is being downloaded already; wait for that", path);
  }
  return part;
}

PartFile::~PartFile() {
  if (fd_ >= 0) ::close(fd_);
}

Result<uint64_t> PartFile::Size() const {
  struct stat info{};
  if (::fstat(fd_, &info) != 0) return PathError("look at", path_);
  return static_cast<uint64_t>(info.st_size);
}

Result<void> PartFile::Reserve(uint64_t bytes) {
  struct stat info{};
  if (::fstat(fd_, &info) != 0) return PathError("look at", path_);
  if (static_cast<uint64_t>(info.st_size) == bytes) return {};
  const auto taken = static_cast<uint64_t>(info.st_blocks) * 512;
  const uint64_t free = FreeDiskBytes(path_);
  if (free > 0 && bytes > taken && bytes - taken > free) return NoRoom(path_, bytes);
  if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) return PathError("make room for", path_);
  if (bytes == 0 || ::fallocate(fd_, 0, 0, static_cast<off_t>(bytes)) == 0) return {};
  if (errno == EOPNOTSUPP || errno == ENOSYS) return {};  // it fills up while it is written
  const bool full = errno == ENOSPC || errno == EDQUOT;
  const std::unexpected<Error> error =
      full ? NoRoom(path_, bytes) : PathError("make room for", path_);
  (void)!::ftruncate(fd_, 0);  // what was taken is given back
  return error;
}

Result<void> PartFile::Write(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == ENOSPC || errno == EDQUOT)) return NoRoom(path_, bytes.size());
    if (n < 0) return PathError("write", path_);
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Result<void> PartFile::Read(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return PathError("read", path_);
    if (n == 0) return Fail(ErrorCode::kIo, "{} ends at byte {}", path_, offset);
    out = out.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Result<void> PartFile::Commit(const std::string& path) {
  if (::fsync(fd_) != 0) return PathError("sync", path_);
  if (::rename(path_.c_str(), path.c_str()) != 0) return PathError("replace", path);
  ::close(std::exchange(fd_, -1));
  const int folder = ::open(FolderOfPath(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return {};
  ::fsync(folder);
  ::close(folder);
  return {};
}

void PartFile::Discard() {
  ::unlink(path_.c_str());
  ::close(std::exchange(fd_, -1));
}

uint64_t FreeDiskBytes(const std::string& path) {
  struct statvfs info{};
  if (::statvfs(path.c_str(), &info) != 0) return 0;
  return uint64_t{info.f_bavail} * info.f_frsize;
}

}  // namespace exo::sys
