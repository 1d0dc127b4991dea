// Tensors of a stage from a peer: content-addressed files, checked before they get their name.
#include <algorithm>
#include <map>

#include "base/sha256.h"
#include "store/model.h"
#include "wire/messages.h"

namespace exo::store {
namespace {

class PulledSource final : public backend::TensorSource {
 public:
  void Add(const std::string& tensor, std::unique_ptr<sys::MappedFile> file) {
    files_[tensor] = std::move(file);
  }
  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                          uint64_t bytes) override {
    const auto found = files_.find(tensor.name);
    if (found == files_.end() || found->second->bytes().size() != tensor.bytes) {
      return Fail(ErrorCode::kNotFound, "tensor {} was not pulled", tensor.name);
    }
    return found->second->bytes().subspan(offset, bytes);
  }
  void Done(const model::TensorRef& tensor, uint64_t offset, uint64_t bytes) override {
    files_.at(tensor.name)->DontNeed(offset, bytes);
  }

 private:
  std::map<std::string, std::unique_ptr<sys::MappedFile>> files_;
};

Result<void> PullOne(const model::TensorRef& tensor, const Hash256& hash, const std::string& path,
                     const FetchPiece& fetch, const std::function<void(uint64_t)>& progress,
                     const std::atomic<bool>* cancel) {
  const auto out = TRY(sys::FileWriter::Create(path, 0600));
  Sha256 sum;
  for (uint64_t at = 0; at < tensor.bytes;) {
    if (cancel != nullptr && cancel->load())
      return Fail(ErrorCode::kCancelled, "pulling was cancelled");
    const auto want =
        static_cast<uint32_t>(std::min<uint64_t>(wire::kMaxTensorPiece, tensor.bytes - at));
    const std::vector<uint8_t> piece = TRY(fetch(tensor.name, at, want));
    if (piece.size() != want) {
      return Fail(ErrorCode::kCorrupt, "a peer sent {} of {} bytes of {}", piece.size(), want,
                  tensor.name);
    }
    sum.Update(std::as_bytes(std::span(piece)));
    TRY(out->Append(std::as_bytes(std::span(piece))));
    at += want;
    progress(want);
  }
  if (sum.Finish() != hash) {
    return Fail(ErrorCode::kCorrupt, "tensor {} from a peer does not have the promised hash",
                tensor.name);
  }
  return out->Commit();
}

}  // namespace

Result<std::unique_ptr<backend::TensorSource>> PullTensors(
    const Manifest& manifest, const backend::StageSpec& spec, const std::string& folder,
    const FetchPiece& fetch, const std::function<void(uint64_t done, uint64_t total)>& progress,
    const std::atomic<bool>* cancel) {
  TRY(sys::MakeFolders(folder));
  const auto tensors = backend::StageTensors(spec);
  uint64_t total = 0, done = 0;
  for (const model::TensorRef* tensor : tensors) total += tensor->bytes;
  const auto advance = [&](uint64_t bytes) {
    done += bytes;
    if (progress) progress(done, total);
  };
  auto source = std::make_unique<PulledSource>();
  for (const model::TensorRef* tensor : tensors) {
    const Hash256 hash = TRY(manifest.HashOf(tensor->name));
    const std::string path = folder + "/" + hash.Hex();
    if (sys::Exists(path)) {
      advance(tensor->bytes);
    } else {
      TRY(PullOne(*tensor, hash, path, fetch, advance, cancel));
    }
    source->Add(tensor->name, TRY(sys::MappedFile::Open(path)));
  }
  return source;
}

}  // namespace exo::store
