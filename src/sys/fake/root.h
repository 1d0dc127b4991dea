// A root folder with files like those of /proc and /sys, for tests.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "sys/files.h"
#include "sys/temporary_folder.h"

namespace exo::sys {

class FakeRoot {
 public:
  std::string path() const { return folder_->path() + "/"; }
  // `file` without the root, such as "proc/stat".
  void Write(const std::string& file, std::string_view text) const {
    ASSERT_TRUE(MakeFolders(path() + file.substr(0, file.rfind('/'))));
    std::ofstream(path() + file, std::ios::binary) << text;
  }

 private:
  std::unique_ptr<TemporaryFolder> folder_ = TemporaryFolder::Create("exo-root-").value();
};

}  // namespace exo::sys
