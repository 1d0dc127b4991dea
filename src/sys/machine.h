// What the operating system says of this machine's state, for whoever looks for what is wrong with
// it: disk, clock, limits, rights. Thread: any; a call may block as long as a disk does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace exo::sys {

struct DiskSpace {
  uint64_t total = 0;
  uint64_t free = 0;  // for this user
};
// Of the file system that `path` lies on. Errors: kNotFound, kIo.
Result<DiskSpace> ReadDiskSpace(const std::string& path);

struct PathRights {
  bool mine = false;             // this user owns it
  bool writable = false;         // files can be made in it, or it can be written
  unsigned mode = 0;             // permission bits, as chmod takes them
  int64_t modified_seconds = 0;  // since 1970
};
// Errors: kNotFound, kIo.
Result<PathRights> ReadRights(const std::string& path);

// Files and connections that this process may have open at once.
uint64_t OpenFileLimit();

// Whether something keeps the clock right; nothing: the system does not say.
std::optional<bool> ClockIsKept();

}  // namespace exo::sys
