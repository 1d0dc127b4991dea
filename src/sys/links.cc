#include "sys/links.h"

#include <unistd.h>

#include <climits>

#include "sys/files.h"
#include "sys/path_error.h"

namespace exo::sys {

Result<void> MakeLink(const std::string& target, const std::string& path) {
  const std::string temporary = fmt::format("{}.new.{:016x}", path, RandomValue<uint64_t>());
  if (::symlink(target.c_str(), temporary.c_str()) != 0) return PathError("link", temporary);
  if (::rename(temporary.c_str(), path.c_str()) == 0) return {};
  const std::unexpected<Error> error = PathError("replace", path);
  ::unlink(temporary.c_str());
  return error;
}

std::string LinkTarget(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t n = ::readlink(path.c_str(), target, sizeof(target));
  return n > 0 ? std::string(target, static_cast<size_t>(n)) : "";
}

}  // namespace exo::sys
