#include "sys/machine.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include "sys/path_error.h"

namespace exo::sys {

Result<DiskSpace> ReadDiskSpace(const std::string& path) {
  struct statvfs info{};
  if (::statvfs(path.c_str(), &info) != 0) return PathError("looking at the disk of", path);
  return DiskSpace{.total = uint64_t{info.f_blocks} * info.f_frsize,
                   .free = uint64_t{info.f_bavail} * info.f_frsize};
}

Result<PathRights> ReadRights(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return PathError("looking at", path);
  return PathRights{.mine = info.st_uid == ::geteuid(),
                    .writable = ::access(path.c_str(), W_OK) == 0,
                    .mode = info.st_mode & 07777,
                    .modified_seconds = info.st_mtim.tv_sec};
}

uint64_t OpenFileLimit() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

std::optional<bool> ClockIsKept() {
  timex state{};
  if (::adjtimex(&state) < 0) return std::nullopt;
  return (state.status & STA_UNSYNC) == 0;
}

}  // namespace exo::sys
