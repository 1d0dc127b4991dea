// Where models come from, and what a place says of one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "fetch/web.h"

namespace exo::fetch {

// What this device's user configured; clients of the API have no say in it.
struct Sources {
  std::string hub = "https://huggingface.co";  // HF_ENDPOINT, without a slash at the end
  std::string hub_token = {};                  // HF_TOKEN; empty: none
  std::string hub_folder = {};                 // cache of hub files, shared with other programs
  std::string registry = "https://registry.ollama.ai";
  std::vector<std::string> ollama_folders = {};  // stores of Ollama, which are read only
  std::string folder = {};                       // DATA/models: links with names, and blobs/
  WebOptions web = {};
};

struct RemoteFile {
  std::string name;  // in its repository, safe to use below a folder
  Target target;
  uint64_t bytes = 0;
  std::string sha256 = {};  // lower-case hexadecimal; empty: not told
  std::string path = {};    // where it belongs on this device
  bool here = false;        // it is there already, at `path`
  std::string prefix = {};  // its first bytes, which have been read already
};

// Another quantization of a repository.
struct Alternative {
  std::string quantization;
  uint64_t bytes = 0;  // of all its files
};

// A model's GGUF files, parts in order.
struct RemoteModel {
  std::string name;   // that it gets here
  std::string owner;  // distinguishes it from another of this name
  std::vector<RemoteFile> files;
  std::string revision = {};                   // of the hub: the commit
  std::vector<Alternative> alternatives = {};  // likewise: what else the repository has

  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const RemoteFile& file : files) sum += file.bytes;
    return sum;
  }
  bool here() const {
    return std::ranges::all_of(files, [](const RemoteFile& file) { return file.here; });
  }
  // SHA-256 of the announced SHA-256 of all files, in order: the same model, wherever it is from.
  // Zero: one is not told.
  Hash256 content() const;
};

}  // namespace exo::fetch
