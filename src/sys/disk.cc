// The real disk.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>

#include "base/units.h"
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
  ~RealFile() override {
    ::close(fd_);
    if (direct_ >= 0) ::close(direct_);
  }
  RealFile(const RealFile&) = delete;
  RealFile& operator=(const RealFile&) = delete;

  Result<void> Begin() {
    stamp_ = TRY(Now());
    return {};
  }
  const FileStamp& stamp() const override { return stamp_; }

  Result<void> Read(uint64_t offset, std::span<std::byte> out) const override {
    TRY(Fill(offset, out));
    return CheckUnchanged();
  }

  Result<std::span<const std::byte>> ReadUncached(uint64_t offset, uint64_t bytes,
                                                  AlignedBytes& buffer) const override {
    const uint64_t begin = offset - offset % AlignedBytes::kAlignment;
    const uint64_t skip = offset - begin, wanted = skip + bytes;
    const std::span<std::byte> room = buffer.Take(RoundUp(wanted, AlignedBytes::kAlignment));
    const uint64_t had = TRY(FillDirectly(begin, room));
    if (had < wanted) {
      const auto rest = static_cast<off_t>(begin + had);
      const auto length = static_cast<off_t>(wanted - had);
      ::posix_fadvise(fd_, rest, length, POSIX_FADV_DONTNEED);
      TRY(Fill(begin + had, room.subspan(had, wanted - had)));
      ::posix_fadvise(fd_, rest, length, POSIX_FADV_DONTNEED);
    }
    TRY(CheckUnchanged());
    return room.subspan(skip, bytes);
  }

 private:
  // The same open file once more, read past the cache; -1 where the file system has no such thing.
  int Direct() const {
    std::call_once(direct_opened_, [this] {
      char name[32];
      std::snprintf(name, sizeof(name), "/proc/self/fd/%d", fd_);
      direct_ = ::open(name, O_RDONLY | O_CLOEXEC | O_DIRECT);
    });
    return direct_;
  }

  // How many bytes came that way: fewer than wanted where it is not possible, and at the end of the
  // file.
  Result<uint64_t> FillDirectly(uint64_t offset, std::span<std::byte> out) const {
    uint64_t had = 0;
    while (had < out.size() && had % AlignedBytes::kAlignment == 0 && Direct() >= 0) {
      const ssize_t n =
          ::pread(Direct(), out.data() + had, out.size() - had, static_cast<off_t>(offset + had));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EINVAL) break;
      if (n < 0) return SystemError("read", path_);
      if (n == 0) break;
      had += static_cast<uint64_t>(n);
    }
    return had;
  }

  Result<void> Fill(uint64_t offset, std::span<std::byte> out) const {
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
    return {};
  }

  Result<void> CheckUnchanged() const {
    const FileStamp now = TRY(Now());
    // A link more or less, or a rename, also moves changed_ns: the contents are what counts here.
    if (now.bytes != stamp_.bytes || now.modified_ns != stamp_.modified_ns) {
      return Fail(ErrorCode::kCorrupt, "{} was changed while it was in use", path_);
    }
    return {};
  }

  Result<FileStamp> Now() const {
    struct stat info{};
    if (::fstat(fd_, &info) != 0) return SystemError("look at", path_);
    return StampOf(info, path_);
  }

  const int fd_;
  const std::string path_;
  FileStamp stamp_;
  mutable std::once_flag direct_opened_;
  mutable int direct_ = -1;
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

void AlignedBytes::Free::operator()(std::byte* bytes) const {
  ::operator delete(bytes, std::align_val_t{kAlignment});
}

std::span<std::byte> AlignedBytes::Take(size_t bytes) {
  if (size_ < bytes) {
    bytes_.reset();  // before: never two at once
    bytes_.reset(static_cast<std::byte*>(::operator new(bytes, std::align_val_t{kAlignment})));
    size_ = bytes;
  }
  return {bytes_.get(), bytes};
}

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
