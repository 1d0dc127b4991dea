#include "store/model.h"

#include <fmt/format.h>

#include <regex>

#include "base/log.h"
#include "base/units.h"

namespace exo::store {
namespace {

// Reads the mapped files of a ModelFile.
class FileSource final : public backend::TensorSource {
 public:
  FileSource(std::vector<std::shared_ptr<const sys::MappedFile>> files,
             std::shared_ptr<const PreparedFile> prepared)
      : files_(std::move(files)), prepared_(std::move(prepared)) {}

  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                          uint64_t bytes) override {
    files_[tensor.part]->Populate(tensor.offset + offset, bytes);
    return files_[tensor.part]->bytes().subspan(tensor.offset + offset, bytes);
  }
  void Done(const model::TensorRef& tensor, uint64_t offset, uint64_t bytes) override {
    files_[tensor.part]->DontNeed(tensor.offset + offset, bytes);
  }
  std::optional<Packed> FindPacked(const model::TensorRef& tensor,
                                   std::string_view layout) override {
    if (prepared_ == nullptr || prepared_->layout() != layout) return std::nullopt;
    const auto bytes = prepared_->Find(tensor.name);
    if (bytes.empty()) return std::nullopt;
    return Packed{.bytes = bytes, .owner = prepared_};
  }

 private:
  std::vector<std::shared_ptr<const sys::MappedFile>> files_;
  std::shared_ptr<const PreparedFile> prepared_;
};

}  // namespace

Result<SplitName> ParseModelPath(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  std::string stem = path.substr(folder.size());
  if (stem.ends_with(".gguf")) stem.resize(stem.size() - 5);
  static const std::regex kSplit("^(.*)-([0-9]{5})-of-([0-9]{5})$");
  std::smatch match;
  if (!std::regex_match(stem, match, kSplit)) return SplitName{.name = stem, .paths = {path}};
  SplitName split{.name = match[1]};
  const int count = std::stoi(match[3]);
  if (count < 1 || count > 1000)
    return Fail(ErrorCode::kInvalid, "{} claims to be one of {} parts", path, count);
  for (int i = 1; i <= count; ++i) {
    split.paths.push_back(fmt::format("{}{}-{:05}-of-{:05}.gguf", folder, split.name, i, count));
  }
  return split;
}

Result<std::shared_ptr<const ModelFile>> ModelFile::Open(const std::string& path,
                                                         const OpenOptions& options) {
  const SplitName split = TRY(ParseModelPath(path));
  auto file = std::make_shared<ModelFile>();
  file->path_ = path;
  file->name_ = split.name;
  file->known_.path = split.paths[0];
  for (const std::string& part : split.paths) {
    std::shared_ptr<const sys::MappedFile> mapped = TRY(sys::MappedFile::Open(part));
    file->known_.bytes += mapped->bytes().size();
    file->known_.modified_ns = std::max(file->known_.modified_ns, mapped->modified_ns());
    file->files_.push_back(std::move(mapped));
  }
  if (auto found = file->FindManifest(options); !found) return Wrap(found.error(), path);
  return file;
}

// From the prepared file, from the state, or by reading the whole model.
Result<void> ModelFile::FindManifest(const OpenOptions& options) {
  if (!options.prepared_folder.empty()) {
    const std::string path = PreparedPath(options.prepared_folder, known_.path);
    auto prepared = PreparedFile::Open(path, known_);
    if (prepared) {
      prepared_ = *std::move(prepared);
      manifest_ = prepared_->manifest();
      return {};
    }
    if (prepared.error().code != ErrorCode::kNotFound) {
      LOG(kWarning, "the prepared file is not used: {}; run exo prepare again",
          prepared.error().message);
    }
  }
  if (options.state != nullptr) {
    if (auto bytes = options.state->FindManifest(known_)) {
      if (auto manifest = Manifest::FromBytes(std::move(*bytes))) manifest_ = *manifest;
      if (manifest_ != nullptr) return {};
    }
  }
  std::vector<std::span<const std::byte>> views;
  for (const auto& mapped : files_) views.push_back(mapped->bytes());
  manifest_ = TRY(Manifest::FromFiles(views, options.identify));
  for (const auto& mapped : files_) mapped->DontNeed(0, mapped->bytes().size());
  if (options.state != nullptr && options.identify)
    TRY(options.state->SaveManifest(known_, manifest_->bytes()));
  return {};
}

std::unique_ptr<backend::TensorSource> ModelFile::MakeSource() const {
  return std::make_unique<FileSource>(files_, prepared_);
}

Result<std::span<const std::byte>> ModelFile::TensorBytes(std::string_view name, uint64_t offset,
                                                          uint64_t bytes) const {
  const model::GgufTensor* tensor = manifest_->gguf().FindTensor(name);
  if (tensor == nullptr)
    return Fail(ErrorCode::kNotFound, "model {} has no tensor {}", name_, name);
  if (offset > tensor->bytes || bytes > tensor->bytes - offset) {
    return Fail(ErrorCode::kInvalid, "bytes {}+{} are outside tensor {} of {}", offset, bytes, name,
                tensor->bytes);
  }
  return files_[tensor->part]->bytes().subspan(tensor->offset + offset, bytes);
}

}  // namespace exo::store
