#include "sys/path_error.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

namespace exo::sys {
namespace {

// Where a symbolic link points; empty when the path is none.
std::string TargetOf(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t n = ::readlink(path.c_str(), target, sizeof(target));
  return n > 0 ? std::string(target, static_cast<size_t>(n)) : "";
}

}  // namespace

std::unexpected<Error> PathError(std::string_view doing, const std::string& path) {
  const int error = errno;
  if (error == ELOOP) {
    return Fail(ErrorCode::kNotFound, "cannot {} {}: its links lead in a circle", doing, path);
  }
  if (const std::string target = error == ENOENT ? TargetOf(path) : ""; !target.empty()) {
    return Fail(ErrorCode::kNotFound, "cannot {} {}: it is a link to {}, which does not exist",
                doing, path, target);
  }
  const bool none = error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG;
  return Fail(none ? ErrorCode::kNotFound : ErrorCode::kIo, "cannot {} {}: {}", doing, path,
              std::strerror(error));
}

std::string_view KindOf(unsigned mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a named pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace exo::sys
