#include "sys/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "sys/path_error.h"

namespace exo::sys {
namespace {

// Closes a descriptor at the end of a scope.
struct Fd {
  int fd = -1;
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
};

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

Result<void> WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return PathError("write", path);
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<std::string> ReadAll(const Fd& file, const std::string& path, size_t limit) {
  std::string bytes;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = ::read(file.fd, buffer, sizeof(buffer));
    if (n < 0) {
      if (errno == EINTR) continue;
      return PathError("read", path);
    }
    if (n == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(n));
    if (bytes.size() > limit) {
      return Fail(ErrorCode::kOverloaded, "{} is larger than the limit of {} bytes", path, limit);
    }
  }
}

}  // namespace

Result<std::string> ReadFile(const std::string& path, size_t limit) {
  const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return PathError("open", path);
  return ReadAll(file, path, limit);
}

Result<std::string> ReadPlainFile(const std::string& path, size_t limit) {
  const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  if (file.fd < 0 && errno == ENXIO)  // opening a socket
    return Fail(ErrorCode::kInvalid, "{} is a socket, not a regular file", path);
  if (file.fd < 0) return PathError("open", path);
  struct stat info{};
  if (::fstat(file.fd, &info) != 0) return PathError("look at", path);
  if (!S_ISREG(info.st_mode) && !S_ISCHR(info.st_mode))  // /dev/null is an empty file
    return Fail(ErrorCode::kInvalid, "{} is {}, not a regular file", path, KindOf(info.st_mode));
  return ReadAll(file, path, limit);
}

Result<void> WriteFileAtomically(const std::string& path, std::string_view bytes, unsigned mode) {
  const auto writer = TRY(FileWriter::Create(path, mode));
  TRY(writer->Append(std::as_bytes(std::span(bytes))));
  return writer->Commit();
}

Result<void> AppendToFile(const std::string& path, std::string_view bytes, unsigned mode) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, mode);
  if (fd < 0) return PathError("open", path);
  Result<void> written = WriteAll(fd, bytes, path);
  if (written && ::fsync(fd) != 0) written = PathError("write", path);
  ::close(fd);
  return written;
}

Result<std::unique_ptr<FileWriter>> FileWriter::Create(const std::string& path, unsigned mode) {
  // A rename would put a file in the place of /dev/null.
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return Fail(ErrorCode::kInvalid, "{} is {}, not a regular file: choose another name", path,
                KindOf(info.st_mode));
  }
  // Random and exclusive: two writers of one path never share a temporary file.
  std::string temporary = fmt::format("{}.new.{:016x}", path, RandomValue<uint64_t>());
  int fd = ::open(FolderOf(path).c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, mode);
  if (fd < 0) fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return PathError("create", temporary);
  return std::unique_ptr<FileWriter>(new FileWriter(fd, path, std::move(temporary)));
}

FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

Result<void> FileWriter::Append(std::span<const std::byte> bytes) {
  return WriteAll(fd_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, temporary_);
}

Result<void> FileWriter::Commit(Sync sync) {
  if (sync == Sync::kYes && ::fsync(fd_) != 0) return PathError("sync", temporary_);
  // EEXIST: the file system has no files without a name, so it has had this one from the start.
  const std::string unnamed = fmt::format("/proc/self/fd/{}", fd_);
  if (::linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) != 0 &&
      errno != EEXIST) {
    return PathError("name", temporary_);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return PathError("replace", path_);
  ::close(std::exchange(fd_, -1));
  if (sync == Sync::kNo) return {};
  Fd folder{::open(FolderOf(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.fd >= 0) ::fsync(folder.fd);
  return {};
}

Result<void> RemoveFile(const std::string& path) {
  if (::unlink(path.c_str()) != 0) return PathError("remove", path);
  return {};
}

Result<void> RenameFile(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return PathError("rename", from);
  return {};
}

Result<void> SetModified(const std::string& path, int64_t modified_ns) {
  constexpr int64_t kSecond = 1'000'000'000;
  timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                       {.tv_sec = modified_ns / kSecond, .tv_nsec = modified_ns % kSecond}};
  if (::utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) return PathError("set the time of", path);
  return {};
}

std::string CanonicalPath(const std::string& path) {
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return path;
  std::string text = resolved;
  std::free(resolved);
  return text;
}

Result<void> MakeFolders(const std::string& path, unsigned mode) {
  for (size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST)
      return PathError("create folder", part);
  }
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return PathError("look at", path);
  if (!S_ISDIR(info.st_mode))
    return Fail(ErrorCode::kInvalid, "{} exists and is not a folder", path);
  return {};
}

bool Exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

bool NameExists(const std::string& path) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0;
}

std::vector<std::string> ListFolder(const std::string& path) {
  std::vector<std::string> names;
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) return names;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(folder);
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::unique_ptr<FileLock>> FileLock::Acquire(const std::string& path,
                                                    std::string_view note) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return PathError("open", path);
  std::unique_ptr<FileLock> lock(new FileLock(fd));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return PathError("lock", path);
    char text[256] = {};
    const ssize_t n = ::pread(fd, text, sizeof(text) - 1, 0);
    return Fail(ErrorCode::kOverloaded, "{}",
                std::string_view(text, n > 0 ? static_cast<size_t>(n) : 0));
  }
  if (::ftruncate(fd, 0) != 0) return PathError("empty", path);
  (void)WriteAll(fd, note, path);  // the lock holds on a full disk too
  return lock;
}

FileLock::~FileLock() {
  ::close(fd_);
}

void FillRandom(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::getrandom(bytes.data(), bytes.size(), 0);
    if (n < 0) {
      CHECK_EQ(errno, EINTR);
      continue;
    }
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

}  // namespace exo::sys
