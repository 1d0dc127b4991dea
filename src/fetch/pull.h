// A model from wherever its name says to a name on this device: found where it lies already, else
// downloaded, checked, and linked under its name in the folder of models.
//
// Thread: any; blocks. Two pulls of one model at a time are refused by the lock of its part file.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "fetch/download.h"
#include "fetch/reference.h"
#include "fetch/source.h"

namespace exo::fetch {

// What the place that `reference` names says of its model; nothing is downloaded yet.
// Errors: those of AskHub and AskRegistry; of a URL: kInvalid, kNotFound, kDisconnected.
Result<RemoteModel> Resolve(const Sources& sources, const Reference& reference,
                            const std::atomic<bool>* cancel);

struct FetchOptions {
  unsigned connections = 4;
  // Of one file of the model at a time.
  std::function<void(const RemoteFile& file, const Progress& progress)> progress =
      [](const RemoteFile&, const Progress&) {};
  const std::atomic<bool>* cancel = nullptr;
  // Those that an earlier pull of this reference made: they lead to what comes now.
  std::vector<std::string> links = {};
};

struct PulledFile {
  // NAME.gguf in the folder of models, which leads to where the file lies; of a split model
  // NAME-00001-of-00002.gguf and so on. NAME@OWNER where NAME is another file's.
  std::vector<std::string> links;
  // Files and links that were made for it: those that were there before are somebody else's.
  std::vector<std::string> owned = {};
  Hash256 content = {};  // as of RemoteModel
};
// Errors: those of Download, kIo.
Result<PulledFile> Fetch(const Sources& sources, const Reference& reference,
                         const RemoteModel& model, const FetchOptions& options);

// What is left of a pulled model, and why.
struct Forgotten {
  uint64_t bytes = 0;                          // of the files that were deleted
  std::vector<std::string> brought_by_others;  // these files were here before the pull
  std::vector<std::string> in_use;             // another model of the folder is in these
};
// Removes the links and what was made for it, but for what another link of the folder leads to.
// Errors: kNotFound (no such links), kIo.
Result<Forgotten> Forget(const Sources& sources, const PulledFile& pulled);

}  // namespace exo::fetch
