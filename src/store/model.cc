#include "store/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>

#include "base/log.h"
#include "base/sha256.h"
#include "store/read_buffers.h"

namespace exo::store {
namespace {

constexpr uint64_t kSampleBytes = 4096;
constexpr uint64_t kSamples = 16;

class FileSource final : public backend::TensorSource {
 public:
  FileSource(std::vector<OpenedFile> files, std::shared_ptr<const PreparedFile> prepared,
             sys::Caching caching)
      : files_(std::move(files)), prepared_(std::move(prepared)), buffers_(caching) {}

  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                          uint64_t bytes) override {
    return buffers_.Read(*files_[tensor.part], tensor.offset, tensor.name, offset, bytes);
  }
  void Done(const model::TensorRef& tensor, uint64_t offset, uint64_t) override {
    buffers_.Done(tensor.name, offset);
  }
  std::optional<Packed> FindPacked(const model::TensorRef& tensor,
                                   std::string_view layout) override {
    if (prepared_ == nullptr || prepared_->layout() != layout) return std::nullopt;
    const auto bytes = prepared_->Find(tensor.name);
    if (bytes.empty()) return std::nullopt;
    return Packed{.bytes = bytes, .owner = prepared_, .broken = &prepared_->broken()};
  }

 private:
  std::vector<OpenedFile> files_;
  std::shared_ptr<const PreparedFile> prepared_;
  ReadBuffers buffers_;
};

// What the time stamps cannot tell (in images all of them are 1): pieces from all over the file.
Result<void> AddSamples(const sys::ReadableFile& file, Sha256& sum) {
  const uint64_t bytes = file.stamp().bytes;
  const uint64_t step = std::max(bytes / kSamples, kSampleBytes);
  std::vector<std::byte> piece;
  for (uint64_t at = 0; at < bytes; at += step) {
    piece.resize(std::min(kSampleBytes, bytes - at));
    TRY(file.Read(at, piece));
    sum.Update(piece);
  }
  return {};
}

Result<KnownFile> Identify(const std::string& path, std::span<const OpenedFile> files) {
  KnownFile known{.path = path};
  Sha256 sum;
  for (const OpenedFile& file : files) {
    const sys::FileStamp& stamp = file->stamp();
    known.bytes += stamp.bytes;
    known.modified_ns = std::max(known.modified_ns, stamp.modified_ns);
    sum.UpdateU64(stamp.bytes).UpdateU64(static_cast<uint64_t>(stamp.modified_ns));
    sum.UpdateU64(static_cast<uint64_t>(stamp.changed_ns));
    TRY(AddSamples(*file, sum));
  }
  known.stamp = sum.Finish();
  return known;
}

bool AllExist(const sys::Disk& disk, const std::vector<std::string>& paths) {
  return std::ranges::all_of(paths,
                             [&](const std::string& path) { return disk.Look(path).has_value(); });
}

}  // namespace

Result<SplitName> ParseModelPath(const std::string& given) {
  std::string path = given;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();  // of a folder
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

Result<void> CheckIsAnotherFile(const std::string& source, const std::string& target) {
  const std::string canonical = sys::CanonicalPath(target);
  TRY(CheckLeavesCheckpoint(sys::RealDisk(), source, target));
  for (const std::string& part : TRY(ParseModelPath(source)).paths) {
    if (sys::CanonicalPath(part) == canonical) {
      return Fail(ErrorCode::kInvalid, "{} is the model that is read: choose another name", target);
    }
  }
  return {};
}

Result<SplitName> FindParts(const sys::Disk& disk, const std::string& path) {
  SplitName beside = TRY(ParseModelPath(path));
  const std::string target = disk.Canonical(path);
  if (target == path || (beside.paths.size() > 1 && AllExist(disk, beside.paths))) return beside;
  const auto linked = ParseModelPath(target);
  if (linked && linked->paths.size() > 1) beside.paths = linked->paths;
  return beside;
}

Result<std::shared_ptr<const ModelFile>> ModelFile::Open(const std::string& path,
                                                         const OpenOptions& options) {
  const sys::Disk& disk = options.disk == nullptr ? sys::RealDisk() : *options.disk;
  SplitName split = TRY(FindParts(disk, path));
  auto file = std::make_shared<ModelFile>();
  file->disk_ = &disk;
  file->path_ = path;
  file->name_ = std::move(split.name);
  file->parts_ = std::move(split.paths);
  std::vector<OpenedFile> files;
  if (!disk.Look(file->parts_[0]) && IsCheckpoint(disk, file->parts_[0]))
    file->folder_ = std::make_unique<CheckpointFolder>(disk, file->parts_[0]);
  for (size_t i = 0; i < file->parts_.size(); ++i) {
    auto part = file->OpenNow(i);
    if (!part && file->folder_ != nullptr) return Wrap(part.error(), path);
    files.push_back(TRY(std::move(part)));
    file->stamps_.push_back(files.back()->stamp());
  }
  auto known = Identify(file->parts_[0], files);
  if (!known) return Wrap(known.error(), path);
  file->known_ = *std::move(known);
  if (auto found = file->FindManifest(files, options); !found) return Wrap(found.error(), path);
  if (!options.adapters) {
    if (auto is_model = file->manifest_->CheckIsModel(); !is_model)
      return Wrap(is_model.error(), path);
  }
  return file;
}

// From the prepared file, from the state, or by reading the whole model.
Result<void> ModelFile::FindManifest(std::span<const OpenedFile> files,
                                     const OpenOptions& options) {
  if (!options.prepared_folder.empty())
    prepared_path_ = PreparedPath(options.prepared_folder, known_.path);
  if (const auto prepared = OpenPrepared()) {
    manifest_ = prepared->manifest();
    return {};
  }
  if (options.state != nullptr) {
    const auto bytes = options.state->FindManifest(known_);
    if (bytes && *bytes) {
      if (auto manifest = Manifest::FromBytes(**bytes)) manifest_ = *manifest;
      if (manifest_ != nullptr) return {};
    }
  }
  manifest_ = TRY(Manifest::FromFiles(files, options.manifest));
  if (options.state != nullptr && options.manifest.identify) {
    // The model is as good without: it is hashed again at the next start.
    if (auto saved = options.state->SaveManifest(known_, manifest_->bytes()); !saved)
      LOG(kWarning, "cannot remember the hashes of {}: {}", path_, saved.error().message);
  }
  return {};
}

std::shared_ptr<const PreparedFile> ModelFile::OpenPrepared() const {
  if (prepared_path_.empty()) return nullptr;
  const auto stamp = sys::RealDisk().Look(prepared_path_);
  if (stamp) {
    MutexLock lock(prepared_mutex_);
    if (prepared_ != nullptr && prepared_stamp_ == *stamp && !prepared_->broken()) return prepared_;
  }
  auto prepared = PreparedFile::Open(prepared_path_, known_);
  MutexLock lock(prepared_mutex_);
  prepared_ = prepared ? *prepared : nullptr;
  prepared_stamp_ = stamp.value_or(sys::FileStamp{});
  if (prepared) return prepared_;
  if (prepared.error().code != ErrorCode::kNotFound) {
    LOG(kWarning, "the prepared file is not used: {}; run exo prepare again",
        prepared.error().message);
  }
  return nullptr;
}

Result<OpenedFile> ModelFile::OpenNow(size_t index) const {
  return folder_ == nullptr ? disk_->Open(parts_[index]) : folder_->Open();
}

Result<OpenedFile> ModelFile::OpenPart(size_t index) const {
  OpenedFile file = TRY(OpenNow(index));
  if (file->stamp() == stamps_[index]) return file;
  return Fail(ErrorCode::kCorrupt, "{} is not the file that it was when the model was added",
              parts_[index]);
}

Result<std::unique_ptr<backend::TensorSource>> ModelFile::MakeSource(sys::Caching caching) const {
  std::vector<OpenedFile> files;
  for (size_t i = 0; i < parts_.size(); ++i) files.push_back(TRY(OpenPart(i)));
  return std::make_unique<FileSource>(std::move(files), OpenPrepared(), caching);
}

Result<std::vector<uint8_t>> ModelFile::TensorBytes(std::string_view name, uint64_t offset,
                                                    uint64_t bytes) const {
  const model::GgufTensor* tensor = manifest_->gguf().FindTensor(name);
  if (tensor == nullptr)
    return Fail(ErrorCode::kNotFound, "model {} has no tensor {}", name_, name);
  if (offset > tensor->bytes || bytes > tensor->bytes - offset) {
    return Fail(ErrorCode::kInvalid, "bytes {}+{} are outside tensor {} of {}", offset, bytes, name,
                tensor->bytes);
  }
  const OpenedFile file = TRY(OpenPart(tensor->part));
  std::vector<uint8_t> piece(bytes);
  TRY(file->Read(tensor->offset + offset, std::as_writable_bytes(std::span(piece))));
  return piece;
}

}  // namespace exo::store
