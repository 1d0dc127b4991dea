// The real disk.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sys/files.h"
#include "sys/path_error.h"

namespace exo::sys {
namespace {

// A file that this user may not read is as little use as one that is no model: its owner can help,
// and trying again cannot.
std::unexpected<Error> SystemError(std::string_view doing, const std::string& path) {
  const bool denied = errno == EACCES || errno == EPERM;
  std::unexpected<Error> error = PathError(doing, path);
  if (!denied) return error;
  return Fail(ErrorCode::kInvalid,
              "{}; let the user that runs exo read it, and enter the folders above it",
              error.error().message);
}

int64_t Nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

Result<FileStamp> StampOf(const struct stat& info, const std::string& path) {
  if (!S_ISREG(info.st_mode)) {
    return Fail(ErrorCode::kInvalid, "{} is {}, not a regular file; give the path of a file", path,
                KindOf(info.st_mode));
  }
  return FileStamp{.bytes = static_cast<uint64_t>(info.st_size),
                   .modified_ns = Nanoseconds(info.st_mtim),
                   .changed_ns = Nanoseconds(info.st_ctim),
                   .inode = info.st_ino};
}

class RealFile final : public ReadableFile {
 public:
  RealFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~RealFile() override { ::close(fd_); }
  RealFile(const RealFile&) = delete;
  RealFile& operator=(const RealFile&) = delete;

  Result<void> Begin() {
    stamp_ = TRY(Now());
    return {};
  }
  const FileStamp& stamp() const override { return stamp_; }

  Result<void> Read(uint64_t offset, std::span<std::byte> out) const override {
    while (!out.empty()) {
      const ssize_t n = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return SystemError("read", path_);
      if (n == 0) {
        return Fail(ErrorCode::kCorrupt, "{} ends at byte {}; it had {} bytes: it was cut off",
                    path_, offset, stamp_.bytes);
      }
      offset += static_cast<uint64_t>(n);
      out = out.subspan(static_cast<size_t>(n));
    }
    const FileStamp now = TRY(Now());
    // A link more or less, or a rename, also moves changed_ns: the contents are what counts here.
    if (now.bytes != stamp_.bytes || now.modified_ns != stamp_.modified_ns) {
      return Fail(ErrorCode::kCorrupt, "{} was changed while it was in use", path_);
    }
    return {};
  }

 private:
  Result<FileStamp> Now() const {
    struct stat info{};
    if (::fstat(fd_, &info) != 0) return SystemError("look at", path_);
    return StampOf(info, path_);
  }

  const int fd_;
  const std::string path_;
  FileStamp stamp_;
};

class RealDiskImpl final : public Disk {
 public:
  Result<std::shared_ptr<const ReadableFile>> Open(const std::string& path) const override {
    TRY(Look(path));  // before opening, which can have effects on a device
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return SystemError("open", path);
    auto file = std::make_shared<RealFile>(fd, path);
    TRY(file->Begin());
    return file;
  }
  Result<FileStamp> Look(const std::string& path) const override {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) return SystemError("open", path);
    return StampOf(info, path);
  }
  Result<std::vector<std::string>> List(const std::string& folder) const override {
    DIR* opened = ::opendir(folder.c_str());
    if (opened == nullptr && errno == ENOTDIR)
      return Fail(ErrorCode::kInvalid, "{} is not a folder", folder);
    if (opened == nullptr) return PathError("list", folder);
    ::closedir(opened);
    return ListFolder(folder);
  }
  std::string Canonical(const std::string& path) const override { return CanonicalPath(path); }
};

}  // namespace

uint64_t DiskBytes(const std::string& path) {
  struct statvfs info{};
  if (::statvfs(path.c_str(), &info) != 0) return 0;
  return uint64_t{info.f_blocks} * info.f_frsize;
}

const Disk& RealDisk() {
  static const RealDiskImpl disk;
  return disk;
}

}  // namespace exo::sys
