// Test data outside the repository: found by EXO_SHARED, by default ../shared. A test that needs
// absent data is skipped with a message; under CI=true that is a failure.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

namespace exo::testing {

inline std::string SharedPath(const std::string& relative) {
  const char* root = std::getenv("EXO_SHARED");
  return (root != nullptr && *root != 0 ? std::string(root)
                                        : std::string(EXO_SOURCE_DIR "/../shared")) +
         "/" + relative;
}

inline bool InCi() {
  const char* ci = std::getenv("CI");
  return ci != nullptr && std::string(ci) == "true";
}

inline std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// The bytes of an .xz file.
inline std::string ReadXz(const std::string& path) {
  std::string bytes;
  const std::string command = "xz -dc '" + path + "'";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"),
                                                             ::pclose);
  char buffer[1 << 16];
  for (size_t n; (n = std::fread(buffer, 1, sizeof(buffer), pipe.get())) > 0;)
    bytes.append(buffer, n);
  return bytes;
}

}  // namespace exo::testing

// In a test: skips it (fails it in CI) when the shared file or folder is absent.
#define EXO_NEED_SHARED(relative)                                                       \
  do {                                                                                  \
    if (!std::filesystem::exists(::exo::testing::SharedPath(relative))) {               \
      const std::string missing_ = ::exo::testing::SharedPath(relative) + " is absent"; \
      if (::exo::testing::InCi()) FAIL() << missing_ << ": may not be skipped in CI";   \
      GTEST_SKIP() << missing_;                                                         \
    }                                                                                   \
  } while (false)
