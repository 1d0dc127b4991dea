// A model that this node can compute from: a manifest, and where its tensors' bytes are.
// Immutable and shared: several instances of one model read the same object.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/mutex.h"
#include "base/result.h"
#include "store/checkpoint_folder.h"
#include "store/manifest.h"
#include "store/prepared.h"
#include "store/state.h"
#include "sys/files.h"

namespace exo::store {

struct OpenOptions {
  const sys::Disk* disk = nullptr;  // null: the real one
  State* state = nullptr;           // where manifests are looked up and saved
  std::string prepared_folder;      // where a prepared file of it may lie; empty: nowhere
  ManifestOptions manifest;         // for a file whose manifest is not known yet
  bool adapters = false;            // a low-rank adapter is opened too
};

// A model, or an adapter, on this node's disk: one GGUF file, the parts of a split one, or a folder
// of safetensors, which counts as one file. The files are closed between uses: each use opens them
// again and refuses files that are not the ones that were hashed.
class ModelFile final {
 public:
  // Opens `path` (of a split model: any part; all must be there; a folder of safetensors). Symbolic
  // links keep their names; the parts of a split model are looked for beside the link first.
  // Errors: those of Manifest::FromFiles, each naming the file; kCorrupt when it changed meanwhile;
  // kInvalid for an adapter where none is wanted.
  static Result<std::shared_ptr<const ModelFile>> Open(const std::string& path,
                                                       const OpenOptions& options = {});

  const std::string& path() const { return path_; }
  // The name people use: file name without .gguf and split suffix, or the folder's name.
  const std::string& name() const { return name_; }
  const Manifest& manifest() const { return *manifest_; }
  const std::shared_ptr<const Manifest>& shared_manifest() const { return manifest_; }
  int64_t created() const { return known_.modified_ns / 1'000'000'000; }
  const KnownFile& known() const { return known_; }
  // Of the first part when this model was opened.
  const sys::FileStamp& stamp() const { return stamps_[0]; }
  // As it is on disk now: it may have been cut off or made again since. Null: none of use.
  std::shared_ptr<const PreparedFile> OpenPrepared() const;

  // Reads the files and offers what is prepared now. Reads give kCorrupt when a file is cut off or
  // changed meanwhile. Errors: kNotFound, kCorrupt (not the files that were hashed), kIo.
  Result<std::unique_ptr<backend::TensorSource>> MakeSource(
      sys::Caching caching = sys::Caching::kKept) const;
  // Bytes of one tensor, for a peer that pulls it. Errors: kNotFound, kInvalid (outside the
  // tensor), those of MakeSource.
  Result<std::vector<uint8_t>> TensorBytes(std::string_view name, uint64_t offset,
                                           uint64_t bytes) const;

 private:
  Result<void> FindManifest(std::span<const OpenedFile> files, const OpenOptions& options);
  // Part `index` as it is now.
  Result<OpenedFile> OpenNow(size_t index) const;
  // Part `index`, if it is still the file that was hashed.
  Result<OpenedFile> OpenPart(size_t index) const;

  const sys::Disk* disk_ = nullptr;
  std::string path_;
  std::string name_;
  std::vector<std::string> parts_;
  std::unique_ptr<CheckpointFolder> folder_;  // null: GGUF files
  std::vector<sys::FileStamp> stamps_;
  KnownFile known_;
  std::string prepared_path_;  // empty: nowhere
  // What was opened last, and the stamp by which it is known to be on disk still: its header is
  // large.
  mutable Mutex prepared_mutex_;
  mutable std::shared_ptr<const PreparedFile> prepared_ EXO_GUARDED_BY(prepared_mutex_);
  mutable sys::FileStamp prepared_stamp_ EXO_GUARDED_BY(prepared_mutex_);
  std::shared_ptr<const Manifest> manifest_;
};

// Name and parts of a model by one of its paths: "x-00002-of-00003.gguf" -> x and three paths.
struct SplitName {
  std::string name;
  std::vector<std::string> paths;
};
Result<SplitName> ParseModelPath(const std::string& path);
// Whether writing to `target` would write over the model of `source`. Errors: kInvalid.
Result<void> CheckIsAnotherFile(const std::string& source, const std::string& target);
// The same with the parts that exist: those beside `path`, or, where `path` links to a part of a
// split model, those beside what it links to. The name is that of `path`.
Result<SplitName> FindParts(const sys::Disk& disk, const std::string& path);

}  // namespace exo::store
