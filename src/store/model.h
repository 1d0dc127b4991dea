// A model that this node can compute from: a manifest, and where its tensors' bytes are.
// Immutable and shared: several instances of one model read the same object.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "store/manifest.h"
#include "store/prepared.h"
#include "store/state.h"
#include "sys/files.h"

namespace exo::store {

// A GGUF model on this node's disk (one file or the parts of a split one).
struct OpenOptions {
  State* state = nullptr;       // where manifests are looked up and saved
  std::string prepared_folder;  // where a prepared file of it may lie; empty: nowhere
  bool identify = true;         // false: nothing is hashed, the manifest's id may be zero
};

class ModelFile final {
 public:
  // Opens `path` (of a split model: any part; all must be there).
  // Errors: kNotFound, kCorrupt, kUnsupported, each naming the file.
  static Result<std::shared_ptr<const ModelFile>> Open(const std::string& path,
                                                       const OpenOptions& options = {});

  const std::string& path() const { return path_; }
  // The name people use: file name without .gguf and split suffix.
  const std::string& name() const { return name_; }
  const Manifest& manifest() const { return *manifest_; }
  const std::shared_ptr<const Manifest>& shared_manifest() const { return manifest_; }
  int64_t created() const { return known_.modified_ns / 1'000'000'000; }
  const KnownFile& known() const { return known_; }
  const PreparedFile* prepared() const { return prepared_.get(); }  // null: none

  // Reads from the mapped files (pages are dropped as they are done with) and offers what is
  // prepared.
  std::unique_ptr<backend::TensorSource> MakeSource() const;
  // Bytes of one tensor, for a peer that pulls it. Errors: kNotFound, kInvalid (outside the
  // tensor).
  Result<std::span<const std::byte>> TensorBytes(std::string_view name, uint64_t offset,
                                                 uint64_t bytes) const;

 private:
  Result<void> FindManifest(const OpenOptions& options);

  std::string path_;
  std::string name_;
  KnownFile known_;
  std::vector<std::shared_ptr<const sys::MappedFile>> files_;
  std::shared_ptr<const PreparedFile> prepared_;
  std::shared_ptr<const Manifest> manifest_;
};

// Name and parts of a model by one of its paths: "x-00002-of-00003.gguf" -> x and three paths.
struct SplitName {
  std::string name;
  std::vector<std::string> paths;
};
Result<SplitName> ParseModelPath(const std::string& path);

// Gets one piece of one tensor from a peer.
using FetchPiece = std::function<Result<std::vector<uint8_t>>(const std::string& tensor,
                                                              uint64_t offset, uint32_t bytes)>;

// Makes the tensors of a stage present under `folder` (one file each, named by content hash),
// fetching what is missing. Every tensor's hash is checked before the file gets its name. Errors:
// those of `fetch`, kCorrupt (wrong hash), kIo, kCancelled.
Result<std::unique_ptr<backend::TensorSource>> PullTensors(
    const Manifest& manifest, const backend::StageSpec& spec, const std::string& folder,
    const FetchPiece& fetch, const std::function<void(uint64_t done, uint64_t total)>& progress,
    const std::atomic<bool>* cancel);

}  // namespace exo::store
