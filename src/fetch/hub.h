// The Hugging Face hub, and the cache that its other clients (huggingface_hub, llama.cpp, vLLM)
// share: models--OWNER--REPO/{refs, blobs/SHA256, snapshots/COMMIT/FILE -> blob}.
//
// Thread: any; blocks.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "base/result.h"
#include "fetch/reference.h"
#include "fetch/source.h"

namespace exo::fetch {

// What the hub says of a model; of its cache, where the hub cannot be reached.
// Errors: kNotFound (repository, revision, quantization), kInvalid (gated or private: says what to
// do), kDisconnected, kOverloaded, kCorrupt (an answer that is none of the hub), kCancelled.
Result<RemoteModel> AskHub(const Sources& sources, const Reference& reference,
                           const std::atomic<bool>* cancel);

// Gives a downloaded model its names in the cache: a path for each file. Errors: kIo.
Result<std::vector<std::string>> PlaceInHubCache(const Sources& sources, const Reference& reference,
                                                 const RemoteModel& model);

// What the hub answers about a repository at a revision.
struct HubListing {
  std::string commit;
  std::vector<ListedFile> files;  // names as they come: ChooseFiles leaves out what is not safe
};
// `host`: for messages. Errors: kCorrupt. Thread: pure.
Result<HubListing> ParseHubListing(const std::string& body, const std::string& host);

// Of a repository, in the cache.
std::string HubFolderOf(const Sources& sources, const std::string& repository);

}  // namespace exo::fetch
