// The room on disk that downloads may take (setting download_space): what makes room for the next
// one. What exo has not downloaded does not count, and never goes.
//
// Thread: PlanRoom pure; MakeRoom any, and waits for the disk.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "fetch/pull.h"
#include "fetch/source.h"

namespace exo::node {

// A model that was downloaded.
struct StoredDownload {
  std::string name;
  fetch::PulledFile file = {};
  int64_t used = 0;        // when it was loaded last, in seconds since 1970
  std::string stays = {};  // why it may not go: "is loaded"; empty: it may
  uint64_t bytes = 0;      // of the files that came with it; found by MakeRoom
};

struct RoomRequest {
  std::string name;                       // of the model that is to come
  uint64_t limit = 0;                     // bytes that downloads may take in all; 0: any number
  uint64_t needed = 0;                    // bytes that are to come
  uint64_t coming = 0;                    // of other downloads that run
  std::vector<std::string> running = {};  // part files of those, and of this one
  std::vector<StoredDownload> stored = {};
};

// Of `stored`, those that go, least recently used first, where `parts` bytes of downloads that were
// broken off go before. Errors: kOverloaded with the sums: it does not fit.
Result<std::vector<StoredDownload>> PlanRoom(const RoomRequest& request, uint64_t parts);

// Deletes what has to go, and downloads that were broken off long ago. The models that went.
// Errors: those of PlanRoom; kIo.
Result<std::vector<StoredDownload>> MakeRoom(const fetch::Sources& sources, RoomRequest request);

}  // namespace exo::node
