// The manifest of a model: the head of each of its files and the SHA-256 of every tensor. Its own
// hash is the model's identity, so a name or a path never is, and every byte that a peer sends can
// be checked.
//
// Bytes: "exo-manifest-1\n", u32 parts, per part {u64 file bytes, u64 head bytes, head}, u32
// tensors, per tensor 32 bytes of hash in the order of the (joined) tensor table. Little-endian.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tensors.h"

namespace exo::store {

inline constexpr uint64_t kMaxManifestBytes = 256u << 20;

// A parsed manifest: everything about a model but its weights.
class Manifest {
 public:
  // Hashes the tensors of a model's files (one, or the parts of a split one, in order).
  // Cost: one pass over the files at about 1.5 GB/s. Errors: those of Gguf::Parse.
  // Not `identify`: nothing is hashed and the id is zero, for a process that shares the model with
  // nobody.
  static Result<std::shared_ptr<const Manifest>> FromFiles(
      std::span<const std::span<const std::byte>> files, bool identify = true);
  // Bytes from a peer or the cache. Errors: kCorrupt.
  static Result<std::shared_ptr<const Manifest>> FromBytes(std::vector<std::byte> bytes);

  const ModelId& id() const { return id_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  const model::Gguf& gguf() const { return gguf_; }
  const std::shared_ptr<const model::ModelConfig>& config() const { return config_; }
  const std::shared_ptr<const model::ModelTensors>& tensors() const { return tensors_; }
  uint64_t file_bytes() const { return file_bytes_; }
  // Errors: kNotFound.
  Result<Hash256> HashOf(std::string_view tensor) const;

 private:
  static Result<std::shared_ptr<Manifest>> Parse(std::vector<std::byte> bytes);

  std::vector<std::byte> bytes_;
  ModelId id_;
  uint64_t file_bytes_ = 0;
  model::Gguf gguf_;
  std::shared_ptr<const model::ModelConfig> config_;
  std::shared_ptr<const model::ModelTensors> tensors_;
  std::vector<Hash256> hashes_;
};

}  // namespace exo::store
