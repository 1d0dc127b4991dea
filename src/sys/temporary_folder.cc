#include "sys/temporary_folder.h"

#include <stdlib.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace exo::sys {

Result<std::unique_ptr<TemporaryFolder>> TemporaryFolder::Create(std::string_view prefix) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::temp_directory_path(error);
  if (error) return Fail(ErrorCode::kIo, "there is no folder for temporary files: set TMPDIR");
  std::string path = (parent / fmt::format("{}-XXXXXX", prefix)).string();
  if (::mkdtemp(path.data()) == nullptr)
    return Fail(ErrorCode::kIo, "cannot create a folder {}: {}", path, std::strerror(errno));
  return std::unique_ptr<TemporaryFolder>(new TemporaryFolder(path));
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace exo::sys
