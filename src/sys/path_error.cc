#include "sys/path_error.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "sys/links.h"

namespace exo::sys {

std::unexpected<Error> PathError(std::string_view doing, const std::string& path) {
  const int error = errno;
  if (error == ELOOP) {
    return Fail(ErrorCode::kNotFound, "cannot {} {}: its links lead in a circle", doing, path);
  }
  if (const std::string target = error == ENOENT ? LinkTarget(path) : ""; !target.empty()) {
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
