// A folder of its own under the system's temporary folder, gone with everything in it when this
// object is. For the demo's nodes and for tests.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace exo::sys {

class TemporaryFolder {
 public:
  // Named `prefix` and six random characters. Errors: kIo.
  static Result<std::unique_ptr<TemporaryFolder>> Create(std::string_view prefix);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

}  // namespace exo::sys
