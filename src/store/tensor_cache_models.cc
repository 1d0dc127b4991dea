// The models half of store/tensor_cache.h: whose tensors are all here.
#include <algorithm>
#include <set>

#include "base/log.h"
#include "store/tensor_cache.h"

namespace exo::store {

void TensorCache::ScanModels(const std::vector<ModelId>& noted) {
  for (const ModelId& id : noted) {
    auto model = ReadPulledModel(folder_, id);
    if (model && HasAllOf(*model->manifest)) {
      const MutexLock models(models_mutex_);
      models_[id] = *std::move(model);
      ++models_version_;
      continue;
    }
    if (!model) LOG(kWarning, "a pulled model is forgotten: {}", model.error().message);
    RemovePulledModel(folder_, id);
  }
}

bool TensorCache::Holds(const Manifest& manifest, size_t tensor) const {
  const auto entry = entries_.find({.hash = manifest.hashes()[tensor], .of = {}});
  return entry != entries_.end() && entry->second.bytes == manifest.gguf().tensors()[tensor].bytes;
}

bool TensorCache::HasAllOf(const Manifest& manifest) const {
  for (size_t i = 0; i < manifest.hashes().size(); ++i)
    if (!Holds(manifest, i)) return false;
  return true;
}

std::vector<bool> TensorCache::Held(const Manifest& manifest) const {
  const MutexLock lock(mutex_);
  std::vector<bool> held;
  for (size_t i = 0; i < manifest.hashes().size(); ++i) held.push_back(Holds(manifest, i));
  return held;
}

uint64_t TensorCache::ForgetModelsOf(const Key& tensor) {
  if (!tensor.of.IsZero()) return 0;  // no model needs a part of a tensor to be whole
  uint64_t bytes = 0;
  std::vector<ModelId> forgotten;
  {
    const MutexLock models(models_mutex_);
    for (const auto& [id, model] : models_) {
      const auto& hashes = model.manifest->hashes();
      if (std::ranges::find(hashes, tensor.hash) == hashes.end()) continue;
      forgotten.push_back(id);
      bytes += model.manifest->bytes().size();
    }
    for (const ModelId& id : forgotten) models_.erase(id);
    if (!forgotten.empty()) ++models_version_;
  }
  for (const ModelId& id : forgotten) RemovePulledModel(folder_, id);
  return bytes;
}

void TensorCache::NoteModel(std::shared_ptr<const Manifest> manifest, std::string name) {
  const ModelId id = manifest->id();
  const PulledModel model = {std::move(name), std::move(manifest)};
  {
    const MutexLock lock(mutex_);
    const bool whole = HasAllOf(*model.manifest);
    const MutexLock models(models_mutex_);
    const bool is_new = whole ? models_.try_emplace(id, model).second
                              : parts_.try_emplace(id, model.manifest).second;
    if (is_new) ++models_version_;
    if (!whole || !is_new) return;
    parts_.erase(id);
  }
  if (auto written = WritePulledModel(folder_, model); !written)
    LOG(kWarning, "a pulled model will be forgotten: {}", written.error().message);
  // One of its tensors may have gone meanwhile, and with it the note that was not there yet.
  const MutexLock lock(mutex_);
  if (FindModel(id) == nullptr) RemovePulledModel(folder_, id);
}

uint64_t TensorCache::Remove(const ModelId& model) {
  const MutexLock lock(mutex_);
  std::set<Hash256> own, others;
  {
    const MutexLock models(models_mutex_);
    const auto sort = [&](const ModelId& id, const Manifest& manifest) {
      (id == model ? own : others).insert(manifest.hashes().begin(), manifest.hashes().end());
    };
    for (const auto& [id, one] : models_) sort(id, *one.manifest);
    for (const auto& [id, manifest] : parts_) sort(id, *manifest);
    parts_.erase(model);
    ++models_version_;
  }
  uint64_t bytes = 0;
  std::vector<Key> idle;
  for (const auto& [key, entry] : entries_) {
    const Hash256& tensor = key.of.IsZero() ? key.hash : key.of;
    if (!own.contains(tensor) || others.contains(tensor)) continue;
    if (entry.users == 0 && !entry.busy && entry.bytes > 0) idle.push_back(key);
  }
  for (const Key& key : idle) bytes += Evict(key);
  return bytes;
}

std::vector<PulledModel> TensorCache::Models() const {
  const MutexLock models(models_mutex_);
  std::vector<PulledModel> all;
  for (const auto& [unused, model] : models_) all.push_back(model);
  return all;
}

std::vector<std::shared_ptr<const Manifest>> TensorCache::Parts() const {
  const MutexLock models(models_mutex_);
  std::vector<std::shared_ptr<const Manifest>> parts;
  for (const auto& [id, manifest] : parts_)
    if (!models_.contains(id)) parts.push_back(manifest);
  return parts;
}

std::shared_ptr<const Manifest> TensorCache::FindModel(const ModelId& model) const {
  const MutexLock models(models_mutex_);
  const auto found = models_.find(model);
  return found == models_.end() ? nullptr : found->second.manifest;
}

Result<std::vector<uint8_t>> TensorCache::TensorBytes(const Manifest& manifest,
                                                      std::string_view name, uint64_t offset,
                                                      uint64_t bytes) {
  const model::GgufTensor* tensor = manifest.gguf().FindTensor(name);
  if (tensor == nullptr) return Fail(ErrorCode::kNotFound, "the model has no tensor {}", name);
  if (offset > tensor->bytes || bytes > tensor->bytes - offset) {
    return Fail(ErrorCode::kInvalid, "bytes {}+{} are outside tensor {} of {}", offset, bytes, name,
                tensor->bytes);
  }
  const FetchPiece nowhere = [](const std::string& missing, uint64_t,
                                uint32_t) -> Result<std::vector<uint8_t>> {
    return Fail(ErrorCode::kNotFound, "tensor {} is not here any more", missing);
  };
  const Wanted wanted{.name = tensor->name,
                      .bytes = tensor->bytes,
                      .key = {.hash = TRY(manifest.HashOf(name)), .of = {}}};
  const sys::FileStamp stamp = TRY(Acquire(wanted, nowhere, [](uint64_t) {}, nullptr));
  const auto read = [&]() -> Result<std::vector<uint8_t>> {
    const auto file = TRY(sys::RealDisk().Open(PathOf(wanted.key)));
    if (file->stamp() != stamp)
      return Fail(ErrorCode::kCorrupt, "tensor {} was changed since it was verified", name);
    std::vector<uint8_t> piece(bytes);
    TRY(file->Read(offset, std::as_writable_bytes(std::span(piece))));
    return piece;
  };
  auto piece = read();
  Release({wanted.key});
  return piece;
}

}  // namespace exo::store
