#include "store/manifest.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/sha256.h"
#include "model/foreign_file.h"
#include "store/block_hash.h"
#include "store/bytes.h"

namespace exo::store {
namespace {

constexpr std::string_view kManifestMagic = "exo-manifest-2\n";
constexpr uint32_t kMaxParts = 1000;

constexpr uint64_t kFirstRead = 1u << 20;  // the head of a small model
constexpr size_t kHashPiece = 1u << 20;    // hashed between two looks at `cancel`

// Offset of the first tensor.
uint64_t HeadBytes(const model::Gguf& gguf, uint64_t file_bytes) {
  uint64_t head = file_bytes;
  for (const model::GgufTensor& tensor : gguf.tensors()) head = std::min(head, tensor.offset);
  return head;
}

Result<Hash256> HashOfRange(const sys::ReadableFile& file, uint64_t offset, uint64_t bytes,
                            const ManifestOptions& options) {
  BlockHash sum;
  std::vector<std::byte> piece(std::min<uint64_t>(bytes, kHashPiece));
  for (uint64_t done = 0; done < bytes;) {
    if (options.cancel != nullptr && options.cancel->load())
      return Fail(ErrorCode::kCancelled, "hashing was canceled");
    const auto part = std::span(piece).first(std::min<uint64_t>(piece.size(), bytes - done));
    TRY(file.Read(offset + done, part));
    sum.Update(part);
    done += part.size();
    if (options.hashed_bytes != nullptr) options.hashed_bytes->fetch_add(part.size());
  }
  return sum.Finish();
}

}  // namespace

Result<std::vector<std::byte>> ReadHead(const sys::ReadableFile& file) {
  const uint64_t file_bytes = file.stamp().bytes;
  std::vector<std::byte> bytes;
  // How long the head is stands nowhere: more of the file is read until it parses.
  for (uint64_t want = kFirstRead;; want *= 4) {
    const uint64_t had = bytes.size();
    bytes.resize(std::min({want, file_bytes, kMaxManifestBytes}));
    TRY(file.Read(had, std::span(bytes).subspan(had)));
    if (had == 0) {
      if (const std::string kind = model::DescribeForeignFile(bytes); !kind.empty())
        return Fail(ErrorCode::kInvalid, "this is {}", kind);
    }
    const bool all = bytes.size() == std::min(file_bytes, kMaxManifestBytes);
    const auto parsed = model::Gguf::ParseHead(bytes, file_bytes);
    if (!parsed) {
      if (!all) continue;
      return std::unexpected(parsed.error());
    }
    const uint64_t head = HeadBytes(*parsed, file_bytes);
    if (head > kMaxManifestBytes) {
      return Fail(ErrorCode::kCorrupt, "the first tensor begins at byte {} (limit {})", head,
                  kMaxManifestBytes);
    }
    const uint64_t read = bytes.size();
    bytes.resize(head);
    if (head > read) TRY(file.Read(read, std::span(bytes).subspan(read)));
    return bytes;
  }
}

Result<std::shared_ptr<const Manifest>> Manifest::FromFiles(std::span<const OpenedFile> files,
                                                            const ManifestOptions& options) {
  std::vector<std::byte> bytes;
  Append(bytes, std::as_bytes(std::span(kManifestMagic)));
  AppendInt(bytes, static_cast<uint32_t>(files.size()));
  std::vector<std::vector<std::byte>> heads;
  std::vector<model::Gguf> parts;
  for (const OpenedFile& file : files) {
    const auto& head = heads.emplace_back(TRY(ReadHead(*file)));
    parts.push_back(TRY(model::Gguf::ParseHead(head, file->stamp().bytes)));
    AppendInt<uint64_t>(bytes, file->stamp().bytes);
    AppendInt<uint64_t>(bytes, head.size());
    Append(bytes, head);
  }
  const model::Gguf joined =
      parts.size() == 1 ? std::move(parts[0]) : TRY(model::Gguf::JoinSplits(std::move(parts)));
  AppendInt(bytes, static_cast<uint32_t>(joined.tensors().size()));
  bytes.resize(bytes.size() + joined.tensors().size() * Hash256::kSize);
  auto manifest = TRY(Parse(std::move(bytes)));
  manifest->id_ = ModelId{};
  if (options.check) TRY(options.check(manifest->gguf()));
  if (options.identify) TRY(manifest->HashTensors(files, options));
  return manifest;
}

Result<void> Manifest::HashTensors(std::span<const OpenedFile> files,
                                   const ManifestOptions& options) {
  CHECK_EQ(hashes_.size(), gguf_.tensors().size());
  std::byte* place = bytes_.data() + bytes_.size() - hashes_.size() * Hash256::kSize;
  for (size_t i = 0; i < hashes_.size(); ++i) {
    const model::GgufTensor& tensor = gguf_.tensors()[i];
    CHECK_LT(tensor.part, files.size());
    hashes_[i] = TRY(HashOfRange(*files[tensor.part], tensor.offset, tensor.bytes, options));
    std::memcpy(place + i * Hash256::kSize, hashes_[i].bytes.data(), Hash256::kSize);
  }
  id_ = ModelId{Sha256Of(bytes_).bytes};
  return {};
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
  manifest->weights_ = model::CountWeights(manifest->gguf_);
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
  if (model::IsAdapter(manifest->gguf_)) {
    manifest->adapter_ = TRY(model::ReadAdapter(manifest->gguf_));
    return manifest;
  }
  manifest->config_ =
      std::make_shared<const model::ModelConfig>(TRY(model::ReadConfig(manifest->gguf_)));
  manifest->tensors_ = std::make_shared<const model::ModelTensors>(
      TRY(model::FindTensors(manifest->gguf_, *manifest->config_)));
  return manifest;
}

Result<void> Manifest::CheckIsModel() const {
  if (!adapter_) return {};
  return Fail(
      ErrorCode::kInvalid,
      "this is an adapter of a {} model, not a model: run the model with --lora and this file",
      adapter_->architecture);
}

Result<Hash256> Manifest::HashOf(std::string_view name) const {
  for (size_t i = 0; i < hashes_.size(); ++i) {
    if (gguf_.tensors()[i].name == name) return hashes_[i];
  }
  return Fail(ErrorCode::kNotFound, "the model has no tensor {}", name);
}

}  // namespace exo::store
