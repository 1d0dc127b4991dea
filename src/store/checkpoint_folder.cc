#include "store/checkpoint_folder.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace exo::store {
namespace {

using checkpoint::Checkpoint;

constexpr std::string_view kConfig = "config.json";
constexpr std::string_view kIndex = "model.safetensors.index.json";
// What a checkpoint's answers depend on beside its weights.
constexpr std::array<std::string_view, 6> kDocuments = {kConfig,
                                                        "tokenizer.json",
                                                        "tokenizer_config.json",
                                                        "generation_config.json",
                                                        "chat_template.jinja",
                                                        kIndex};
constexpr uint64_t kMaxDocument = 64u << 20;  // the largest published tokenizer has half of it

bool IsWeights(std::string_view name) {
  return name.ends_with(".safetensors") && !name.starts_with('.');
}

bool IsPart(std::string_view name) {
  return IsWeights(name) || std::ranges::find(kDocuments, name) != kDocuments.end();
}

// Several files' states as one.
void AddStamp(const sys::FileStamp& one, sys::FileStamp& sum) {
  sum.bytes += one.bytes;
  sum.modified_ns = std::max(sum.modified_ns, one.modified_ns);
  sum.changed_ns = std::max(sum.changed_ns, one.changed_ns);
  sum.inode = sum.inode * 31 + one.inode;
}

Result<std::string> ReadDocument(const sys::ReadableFile& file, const std::string& name) {
  const uint64_t bytes = file.stamp().bytes;
  if (bytes > kMaxDocument) {
    return Fail(ErrorCode::kCorrupt, "{} has {} bytes (limit {})", name, bytes, kMaxDocument);
  }
  std::string text(bytes, '\0');
  TRY(file.Read(0, std::as_writable_bytes(std::span(text))));
  return text;
}

Result<checkpoint::WeightFile> ReadWeightHead(const sys::ReadableFile& file,
                                              const std::string& name) {
  checkpoint::WeightFile weights{.name = name, .bytes = file.stamp().bytes};
  std::array<std::byte, checkpoint::kSafetensorsPrefix> begin{};
  if (weights.bytes >= begin.size()) TRY(file.Read(0, begin));
  const auto bytes = checkpoint::SafetensorsHeadBytes(begin, weights.bytes);
  if (!bytes) return Wrap(bytes.error(), name);
  weights.head.resize(*bytes);
  TRY(file.Read(begin.size(), std::as_writable_bytes(std::span(weights.head))));
  return weights;
}

// The folder's files, read on behalf of whoever reads the GGUF file.
class CheckpointFile final : public sys::ReadableFile {
 public:
  CheckpointFile(std::shared_ptr<const Checkpoint> checkpoint, std::vector<OpenedFile> weights,
                 const sys::FileStamp& stamp)
      : checkpoint_(std::move(checkpoint)), weights_(std::move(weights)), stamp_(stamp) {
    stamp_.bytes = checkpoint_->bytes();
  }

  const sys::FileStamp& stamp() const override { return stamp_; }
  Result<void> Read(uint64_t offset, std::span<std::byte> out) const override {
    if (offset > stamp_.bytes || out.size() > stamp_.bytes - offset) {
      return Fail(ErrorCode::kCorrupt, "the model ends at byte {}, not at {}", stamp_.bytes,
                  offset + out.size());
    }
    return checkpoint_->Read(offset, out,
                             [&](uint32_t file, uint64_t at, std::span<std::byte> bytes) {
                               return weights_[file]->Read(at, bytes);
                             });
  }

 private:
  const std::shared_ptr<const Checkpoint> checkpoint_;
  const std::vector<OpenedFile> weights_;
  sys::FileStamp stamp_;
};

}  // namespace

// Files of the folder that are open, in the order of their names.
struct CheckpointFolder::Opened {
  std::vector<std::string> names;  // of weights
  std::vector<OpenedFile> weights;
  std::vector<std::pair<std::string, OpenedFile>> documents;
  sys::FileStamp stamp;

  Result<std::string> Document(std::string_view name) const {
    for (const auto& [own, file] : documents) {
      if (own == name) return ReadDocument(*file, own);
    }
    return std::string();
  }
};

Result<OpenedFile> CheckpointFolder::Open() {
  Opened opened;
  for (const std::string& name : TRY(disk_.List(path_))) {
    if (!IsPart(name)) continue;
    OpenedFile file = TRY(disk_.Open(path_ + "/" + name));
    AddStamp(file->stamp(), opened.stamp);
    if (IsWeights(name)) {
      opened.names.push_back(name);
      opened.weights.push_back(std::move(file));
    } else {
      opened.documents.emplace_back(name, std::move(file));
    }
  }
  const MutexLock lock(mutex_);
  if (checkpoint_ == nullptr || understood_ != opened.stamp) {
    checkpoint_ = TRY(Understand(opened));
    understood_ = opened.stamp;
  }
  return std::make_shared<CheckpointFile>(checkpoint_, std::move(opened.weights), opened.stamp);
}

Result<std::shared_ptr<const Checkpoint>> CheckpointFolder::Understand(const Opened& opened) {
  const checkpoint::Documents documents = {
      .config = TRY(opened.Document(kConfig)),
      .tokenizer = TRY(opened.Document("tokenizer.json")),
      .tokenizer_config = TRY(opened.Document("tokenizer_config.json")),
      .generation_config = TRY(opened.Document("generation_config.json")),
      .chat_template = TRY(opened.Document("chat_template.jinja"))};
  if (const std::string index = TRY(opened.Document(kIndex)); !index.empty()) {
    for (const std::string& name : TRY(checkpoint::WeightFilesOf(index))) {
      if (std::ranges::find(opened.names, name) != opened.names.end()) continue;
      return Fail(ErrorCode::kNotFound, "{} lacks {}, which its index names: fetch it too", path_,
                  name);
    }
  }
  std::vector<checkpoint::WeightFile> files;
  for (size_t i = 0; i < opened.names.size(); ++i)
    files.push_back(TRY(ReadWeightHead(*opened.weights[i], opened.names[i])));
  return Checkpoint::Make(documents, files,
                          [&](uint32_t file, uint64_t at, std::span<std::byte> bytes) {
                            return opened.weights[file]->Read(at, bytes);
                          });
}

bool IsCheckpoint(const sys::Disk& disk, const std::string& path) {
  if (!disk.Look(fmt::format("{}/{}", path, kConfig))) return false;
  const auto names = disk.List(path);
  return names && std::ranges::any_of(*names, IsWeights);
}

Result<void> CheckLeavesCheckpoint(const sys::Disk& disk, const std::string& folder,
                                   const std::string& target) {
  if (!IsCheckpoint(disk, folder)) return {};
  const size_t slash = target.rfind('/');
  const std::string place =
      slash == target.npos ? "." : target.substr(0, std::max<size_t>(1, slash));
  const std::string name = target.substr(slash == target.npos ? 0 : slash + 1);
  const bool beside = disk.Canonical(place) == disk.Canonical(folder);
  const bool replaced = beside && !name.ends_with(".gguf") && disk.Look(target).has_value();
  const std::string canonical = disk.Canonical(target);
  const bool linked = std::ranges::any_of(TRY(disk.List(folder)), [&](const std::string& own) {
    return IsPart(own) && disk.Canonical(folder + "/" + own) == canonical;
  });
  if (!linked && !replaced && !(beside && IsPart(name))) return {};
  return Fail(ErrorCode::kInvalid,
              "{} belongs to the model that is read, {}: choose another place or name", target,
              folder);
}

Result<sys::FileStamp> LookAtModel(const sys::Disk& disk, const std::string& path) {
  const auto file = disk.Look(path);
  if (file || file.error().code == ErrorCode::kIo) return file;
  const auto names = disk.List(path);
  if (!names) return file;
  if (!IsCheckpoint(disk, path)) {
    if (file.error().code == ErrorCode::kNotFound) return file;  // a fake disk has no folders
    return Fail(ErrorCode::kInvalid,
                "{} is a folder, not a regular file, and has no config.json with weights in "
                "*.safetensors; give the path of a GGUF file, or of a folder that has them",
                path);
  }
  sys::FileStamp sum;
  for (const std::string& name : *names) {
    if (IsPart(name)) AddStamp(TRY(disk.Look(path + "/" + name)), sum);
  }
  return sum;
}

Result<OpenedFile> OpenModelPart(const sys::Disk& disk, const std::string& path) {
  if (!disk.Look(path) && IsCheckpoint(disk, path)) return CheckpointFolder(disk, path).Open();
  return disk.Open(path);
}

}  // namespace exo::store
