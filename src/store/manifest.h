// The manifest of a model or an adapter: the head of each of its files and the hash of every tensor
// (store/block_hash.h). Its own hash is the model's identity, so a name or a path never is, and
// every byte that a peer sends can be checked.
//
// Bytes: "exo-manifest-2\n", u32 parts, per part {u64 file bytes, u64 head bytes, head}, u32
// tensors, per tensor 32 bytes of hash in the order of the (joined) tensor table. Little-endian.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "model/adapter.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tensors.h"
#include "sys/files.h"

namespace exo::store {

inline constexpr uint64_t kMaxManifestBytes = 256u << 20;

using OpenedFile = std::shared_ptr<const sys::ReadableFile>;

struct ManifestOptions {
  // False: nothing is hashed and the id is zero, for a process that shares the model with nobody.
  bool identify = true;
  // More checks of a new model, before it is hashed.
  std::function<Result<void>(const model::Gguf&)> check;
  const std::atomic<bool>* cancel = nullptr;      // looked at between pieces
  std::atomic<uint64_t>* hashed_bytes = nullptr;  // progress
};

// The bytes in front of a GGUF file's first tensor. Errors: as FromFiles.
Result<std::vector<std::byte>> ReadHead(const sys::ReadableFile& file);

// A parsed manifest: everything about a model, or about a low-rank adapter of one, but its weights.
class Manifest {
 public:
  // Reads and checks the heads of a model's files (one, or the parts of a split one, in order),
  // then hashes their tensors. Cost: one pass over the files at about 1.5 GB/s. Errors: those of
  // Gguf::ParseHead, ReadConfig, FindTensors, ReadAdapter, `check` and the files, all but the last
  // before anything is hashed; kInvalid for a file that is not a GGUF file, saying what it is;
  // kCancelled.
  static Result<std::shared_ptr<const Manifest>> FromFiles(std::span<const OpenedFile> files,
                                                           const ManifestOptions& options = {});
  // Bytes from a peer or the cache. Errors: kCorrupt.
  static Result<std::shared_ptr<const Manifest>> FromBytes(std::vector<std::byte> bytes);

  const ModelId& id() const { return id_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  const model::Gguf& gguf() const { return gguf_; }
  // Of an adapter: it has no configuration and no tensors of a model. Null: a model.
  const model::AdapterConfig* adapter() const { return adapter_ ? &*adapter_ : nullptr; }
  // Of a model.
  const std::shared_ptr<const model::ModelConfig>& config() const { return config_; }
  const std::shared_ptr<const model::ModelTensors>& tensors() const { return tensors_; }
  uint64_t file_bytes() const { return file_bytes_; }
  const model::WeightCount& weights() const { return weights_; }
  // Of all tensors, in the order of the tensor table.
  const std::vector<Hash256>& hashes() const { return hashes_; }
  // Errors: kInvalid for an adapter, saying what to do with it.
  Result<void> CheckIsModel() const;
  // Errors: kNotFound.
  Result<Hash256> HashOf(std::string_view tensor) const;

 private:
  static Result<std::shared_ptr<Manifest>> Parse(std::vector<std::byte> bytes);
  Result<void> HashTensors(std::span<const OpenedFile> files, const ManifestOptions& options);

  std::vector<std::byte> bytes_;
  ModelId id_;
  uint64_t file_bytes_ = 0;
  std::optional<model::AdapterConfig> adapter_;
  model::Gguf gguf_;
  model::WeightCount weights_;
  std::shared_ptr<const model::ModelConfig> config_;
  std::shared_ptr<const model::ModelTensors> tensors_;
  std::vector<Hash256> hashes_;
};

}  // namespace exo::store
