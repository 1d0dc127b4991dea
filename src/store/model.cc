#include "store/model.h"

#include <fmt/format.h>

#include <regex>

#include "base/units.h"

namespace exo::store {
namespace {

// Reads the mapped files of a ModelFile.
class FileSource final : public backend::TensorSource {
 public:
  explicit FileSource(std::vector<std::shared_ptr<const sys::MappedFile>> files) : files_(std::move(files)) {}

  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                          uint64_t bytes) override {
    return files_[tensor.part]->bytes().subspan(tensor.offset + offset, bytes);
  }
  void Done(const model::TensorRef& tensor, uint64_t offset, uint64_t bytes) override {
    files_[tensor.part]->DontNeed(tensor.offset + offset, bytes);
  }

 private:
  std::vector<std::shared_ptr<const sys::MappedFile>> files_;
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
  if (count < 1 || count > 1000) return Fail(ErrorCode::kInvalid, "{} claims to be one of {} parts", path, count);
  for (int i = 1; i <= count; ++i) {
    split.paths.push_back(fmt::format("{}{}-{:05}-of-{:05}.gguf", folder, split.name, i, count));
  }
  return split;
}

Result<std::shared_ptr<const ModelFile>> ModelFile::Open(const std::string& path, State* state) {
  const SplitName split = TRY(ParseModelPath(path));
  auto file = std::make_shared<ModelFile>();
  file->path_ = path;
  file->name_ = split.name;
  KnownFile known{.path = split.paths[0]};
  std::vector<std::span<const std::byte>> views;
  for (const std::string& part : split.paths) {
    std::shared_ptr<const sys::MappedFile> mapped = TRY(sys::MappedFile::Open(part));
    views.push_back(mapped->bytes());
    known.bytes += mapped->bytes().size();
    known.modified_ns = std::max(known.modified_ns, mapped->modified_ns());
    file->files_.push_back(std::move(mapped));
  }
  file->created_ = known.modified_ns / 1'000'000'000;
  if (state != nullptr) {
    if (auto bytes = state->FindManifest(known)) {
      if (auto manifest = Manifest::FromBytes(std::move(*bytes))) file->manifest_ = *manifest;
    }
  }
  if (file->manifest_ == nullptr) {
    auto manifest = Manifest::FromFiles(views);
    if (!manifest) return Wrap(manifest.error(), path);
    file->manifest_ = *manifest;
    for (size_t i = 0; i < views.size(); ++i) file->files_[i]->DontNeed(0, views[i].size());
    if (state != nullptr) TRY(state->SaveManifest(known, file->manifest_->bytes()));
  }
  return file;
}

std::unique_ptr<backend::TensorSource> ModelFile::MakeSource() const {
  return std::make_unique<FileSource>(files_);
}

Result<std::span<const std::byte>> ModelFile::TensorBytes(std::string_view name, uint64_t offset,
                                                          uint64_t bytes) const {
  const model::GgufTensor* tensor = manifest_->gguf().FindTensor(name);
  if (tensor == nullptr) return Fail(ErrorCode::kNotFound, "model {} has no tensor {}", name_, name);
  if (offset > tensor->bytes || bytes > tensor->bytes - offset) {
    return Fail(ErrorCode::kInvalid, "bytes {}+{} are outside tensor {} of {}", offset, bytes, name, tensor->bytes);
  }
  return files_[tensor->part]->bytes().subspan(tensor->offset + offset, bytes);
}

}  // namespace exo::store
