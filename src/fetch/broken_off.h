// Downloads that were broken off and that nobody has gone on with: PATH.part and its note, in the
// places where downloads go.
//
// Thread: any; waits for the disk.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "fetch/source.h"

namespace exo::fetch {

struct BrokenOff {
  std::string path;      // of the part file
  uint64_t bytes = 0;    // its length: the room is taken from the start
  int64_t modified = 0;  // seconds since 1970
};
// Also those that are just being downloaded.
std::vector<BrokenOff> FindBrokenOff(const Sources& sources);
// Deletes it with its note. Errors: kOverloaded (it is just being downloaded), kIo.
Result<void> RemoveBrokenOff(const std::string& path);
// Those that nobody has gone on with for a week, by a clock that says `now` (seconds since 1970).
void RemoveOldBrokenOff(const Sources& sources, int64_t now);

}  // namespace exo::fetch
