#include "store/manifest.h"

#include <algorithm>
#include <cstring>

#include "base/sha256.h"
#include "store/bytes.h"

namespace exo::store {
namespace {

constexpr std::string_view kManifestMagic = "exo-manifest-1\n";
constexpr uint32_t kMaxParts = 1000;

// Bytes of a file in front of its first tensor.
uint64_t HeadBytes(const model::Gguf& gguf, uint64_t file_bytes) {
  uint64_t head = file_bytes;
  for (const model::GgufTensor& tensor : gguf.tensors()) head = std::min(head, tensor.offset);
  return head;
}

}  // namespace

Result<std::shared_ptr<const Manifest>> Manifest::FromFiles(
    std::span<const std::span<const std::byte>> files, bool identify) {
  std::vector<std::byte> bytes;
  Append(bytes, std::as_bytes(std::span(kManifestMagic)));
  AppendInt(bytes, static_cast<uint32_t>(files.size()));
  std::vector<model::Gguf> parts;
  for (const auto file : files) {
    model::Gguf part = TRY(model::Gguf::Parse(file));
    const uint64_t head = HeadBytes(part, file.size());
    AppendInt<uint64_t>(bytes, file.size());
    AppendInt<uint64_t>(bytes, head);
    Append(bytes, file.first(head));
    parts.push_back(std::move(part));
  }
  const model::Gguf joined =
      parts.size() == 1 ? std::move(parts[0]) : TRY(model::Gguf::JoinSplits(std::move(parts)));
  AppendInt(bytes, static_cast<uint32_t>(joined.tensors().size()));
  for (const model::GgufTensor& tensor : joined.tensors()) {
    const auto content = files[tensor.part].subspan(tensor.offset, tensor.bytes);
    const Hash256 hash = identify ? Sha256Of(content) : Hash256{};
    Append(bytes, std::as_bytes(std::span(hash.bytes)));
  }
  auto manifest = TRY(Parse(std::move(bytes)));
  if (!identify) manifest->id_ = ModelId{};
  return manifest;
}

Result<std::shared_ptr<const Manifest>> Manifest::FromBytes(std::vector<std::byte> bytes) {
  return TRY(Parse(std::move(bytes)));
}

Result<std::shared_ptr<Manifest>> Manifest::Parse(std::vector<std::byte> bytes) {
  if (bytes.size() > kMaxManifestBytes) {
    return Fail(ErrorCode::kCorrupt, "a manifest of {} bytes is over the limit of {}", bytes.size(),
                kMaxManifestBytes);
  }
  auto manifest = std::make_shared<Manifest>();
  manifest->bytes_ = std::move(bytes);
  manifest->id_ = ModelId{Sha256Of(manifest->bytes_).bytes};
  ByteReader reader(manifest->bytes_, "the manifest");
  const auto magic = TRY(reader.Take(kManifestMagic.size()));
  if (std::memcmp(magic.data(), kManifestMagic.data(), kManifestMagic.size()) != 0) {
    return Fail(ErrorCode::kCorrupt, "this is not a model manifest");
  }
  const auto part_count = TRY(reader.TakeInt<uint32_t>());
  if (part_count == 0 || part_count > kMaxParts) {
    return Fail(ErrorCode::kCorrupt, "a manifest of {} parts (1 to {})", part_count, kMaxParts);
  }
  std::vector<model::Gguf> parts;
  for (uint32_t i = 0; i < part_count; ++i) {
    const auto file_bytes = TRY(reader.TakeInt<uint64_t>());
    const auto head_bytes = TRY(reader.TakeInt<uint64_t>());
    const auto head = TRY(reader.Take(head_bytes));
    parts.push_back(TRY(model::Gguf::ParseHead(head, file_bytes)));
    manifest->file_bytes_ += file_bytes;
  }
  manifest->gguf_ =
      parts.size() == 1 ? std::move(parts[0]) : TRY(model::Gguf::JoinSplits(std::move(parts)));
  const auto tensors = TRY(reader.TakeInt<uint32_t>());
  if (tensors != manifest->gguf_.tensors().size()) {
    return Fail(ErrorCode::kCorrupt, "a manifest with {} hashes for {} tensors", tensors,
                manifest->gguf_.tensors().size());
  }
  for (uint32_t i = 0; i < tensors; ++i) {
    const auto hash = TRY(reader.Take(Hash256::kSize));
    std::memcpy(manifest->hashes_.emplace_back().bytes.data(), hash.data(), hash.size());
  }
  if (!reader.done()) return Fail(ErrorCode::kCorrupt, "the manifest has bytes behind its end");
  manifest->config_ =
      std::make_shared<const model::ModelConfig>(TRY(model::ReadConfig(manifest->gguf_)));
  manifest->tensors_ = std::make_shared<const model::ModelTensors>(
      TRY(model::FindTensors(manifest->gguf_, *manifest->config_)));
  return manifest;
}

Result<Hash256> Manifest::HashOf(std::string_view name) const {
  for (size_t i = 0; i < hashes_.size(); ++i) {
    if (gguf_.tensors()[i].name == name) return hashes_[i];
  }
  return Fail(ErrorCode::kNotFound, "the model has no tensor {}", name);
}

}  // namespace exo::store
