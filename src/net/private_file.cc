#include "net/private_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "sys/files.h"

namespace exo::net {

Result<std::string> ReadPrivateFile(const std::string& path) {
  std::string text = TRY(sys::ReadPlainFile(path, 64 << 10));
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) {
    return Fail(ErrorCode::kIo, "{}: {}", path, std::strerror(errno));
  }
  if ((info.st_mode & 077) != 0) {
    return Fail(ErrorCode::kInvalid,
                "{} can be read by others (mode {:04o}); run `chmod 600 {}`, and make a new one if "
                "somebody "
                "may have copied it",
                path, info.st_mode & 07777, path);
  }
  return text;
}

}  // namespace exo::net
