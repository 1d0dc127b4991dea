// A prepared file: a model's matrices as one kernel layout packs them, ready to be mapped. A stage
// then computes from the mapping itself: a start takes milliseconds, processes share the pages, and
// the system can evict them.
//
// It belongs to one state of a GGUF file (KnownFile) and carries its manifest, so that
// nothing has to be hashed or packed again. It is made from that file and trusted like it: the
// header is verified by its hash, the panels are not read through at each start.
//
// Bytes (little-endian): "exo-prepared-3\n\0"; u64 header bytes H; header: u32 length and layout
// name; 32 bytes: the stamp of the source; u64 length and manifest; u32 count; per matrix {u32
// length and name, u64 offset, u64 bytes}; SHA-256 of everything before it. Panels begin at
// multiples of 4096.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "kernels/kernels.h"
#include "store/manifest.h"
#include "store/state.h"
#include "sys/mapped_file.h"
#include "sys/thread_pool.h"

namespace exo::store {

class PreparedFile final {
 public:
  // Errors: kNotFound (none was made), kInvalid (made from another state of the source), kCorrupt.
  static Result<std::shared_ptr<const PreparedFile>> Open(const std::string& path,
                                                          const KnownFile& source);

  const std::shared_ptr<const Manifest>& manifest() const { return manifest_; }
  const std::string& layout() const { return layout_; }
  // The panels of a tensor; empty when it has none here.
  std::span<const std::byte> Find(const std::string& tensor) const;
  uint64_t bytes() const { return file_->bytes().size(); }
  // Set once the file lost pages that were in use: what was computed since is worthless.
  const std::atomic<bool>& broken() const { return file_->broken(); }

 private:
  Result<void> ReadHeader(const KnownFile& source);
  struct Range {
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };

  std::unique_ptr<sys::MappedFile> file_;
  std::string layout_;
  std::shared_ptr<const Manifest> manifest_;
  std::map<std::string, Range> matrices_;
};

// Where the prepared file of a GGUF file lies.
std::string PreparedPath(const std::string& folder, const std::string& model_path);

struct PrepareJob {
  const Manifest& manifest;
  const KnownFile& source;
  backend::TensorSource& tensors;
  const kernels::Kernels& kernels;
  sys::ThreadPool& pool;
  std::function<void(uint64_t done, uint64_t total)> progress;
};
// Packs every matrix and writes the file; an older one is replaced only by a whole new one. Returns
// its size. Memory: two pieces of 16 MiB. Errors: those of the source, kIo.
Result<uint64_t> WritePrepared(const PrepareJob& job, const std::string& path);

}  // namespace exo::store
