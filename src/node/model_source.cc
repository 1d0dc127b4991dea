#include "node/model_source.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/units.h"
#include "node/bulk_client.h"
#include "node/bulk_server.h"
#include "store/block_hash.h"

namespace exo::node {
namespace {

// A thread and a connection each, for as long as a pull takes.
constexpr size_t kMaxHolders = 8;

Result<std::shared_ptr<const store::Manifest>> AskManifest(BulkClient& client, const ModelId& model,
                                                           const std::atomic<bool>* cancel) {
  wire::ManifestReply reply =
      TRY(client.Ask<wire::ManifestReply>(wire::ManifestRequest{model}, cancel));
  if (!reply.found) {
    return Fail(ErrorCode::kNotFound, "the member no longer has model {}", model.Short());
  }
  const auto bytes = std::as_bytes(std::span(reply.bytes));
  auto manifest = TRY(store::Manifest::FromBytes({bytes.begin(), bytes.end()}));
  if (manifest->id() != model) {
    return Fail(ErrorCode::kCorrupt, "a member sent the manifest of {} for model {}",
                manifest->id().Short(), model.Short());
  }
  return manifest;
}

// What a stage reads for each token would push everything else out of the system's cache.
sys::Caching CachingOf(const backend::StageSpec& spec) {
  return spec.streamed.layers.empty() ? sys::Caching::kKept : sys::Caching::kNone;
}

class FileSource final : public engine::StageSource {
 public:
  explicit FileSource(std::shared_ptr<const store::ModelFile> file) : file_(std::move(file)) {}

  Result<engine::ModelParts> Describe(const std::atomic<bool>*) override {
    return engine::ModelParts{file_->manifest().config(), file_->manifest().tensors()};
  }
  Result<std::unique_ptr<backend::TensorSource>> Fetch(const backend::StageSpec& spec,
                                                       const engine::Progress&,
                                                       const std::atomic<bool>*) override {
    return file_->MakeSource(CachingOf(spec));
  }
  Result<std::shared_ptr<const model::Tokenizer>> Tokenizer(const std::atomic<bool>*) override {
    return model::Tokenizer::Load(file_->manifest().gguf());
  }

 private:
  const std::shared_ptr<const store::ModelFile> file_;
};

// A member's tensors of one model.
class BulkHolder final : public store::TensorHolder {
 public:
  BulkHolder(const net::Identity& identity, net::ConnectOptions member, const ModelId& model)
      : identity_(identity), member_(std::move(member)), model_(model) {}

  Result<std::vector<bool>> Open(const std::atomic<bool>* cancel) override {
    client_ = TRY(BulkClient::Connect(identity_, member_));
    const auto reply = TRY(client_->Ask<wire::ManifestReply>(
        wire::ManifestRequest{.model = model_, .held_only = true}, cancel));
    if (!reply.found)
      return Fail(ErrorCode::kNotFound, "the member has nothing of model {}", model_.Short());
    std::vector<bool> held;
    for (size_t i = 0; i < reply.held.size() * 8; ++i)
      held.push_back((reply.held[i / 8] >> i % 8 & 1) != 0);
    return held;
  }
  Result<std::vector<uint8_t>> Fetch(const std::string& tensor, uint64_t offset, uint32_t bytes,
                                     const std::atomic<bool>* cancel) override {
    wire::TensorReply reply = TRY(client_->Ask<wire::TensorReply>(
        wire::TensorRequest{.model = model_, .name = tensor, .offset = offset, .bytes = bytes},
        cancel));
    if (!reply.found)
      return Fail(ErrorCode::kNotFound, "the member no longer has tensor {}", tensor);
    bytes_ += reply.bytes.size();
    return std::move(reply.bytes);
  }
  Result<std::vector<Hash256>> Blocks(const std::string& tensor, uint64_t bytes,
                                      const std::atomic<bool>* cancel) override {
    std::vector<Hash256> blocks;
    while (blocks.size() < store::BlocksOf(bytes)) {
      const uint64_t offset = blocks.size() * store::kHashBlock;
      const std::vector<uint8_t> reply = TRY(Fetch(tensor, offset, 0, cancel));
      TRY(TakeHashes(reply, bytes, blocks));
    }
    return blocks;
  }
  // What it sent.
  uint64_t bytes() const { return bytes_; }

 private:
  const net::Identity& identity_;
  const net::ConnectOptions member_;
  const ModelId model_;
  uint64_t bytes_ = 0;
  std::unique_ptr<BulkClient> client_;
};

// One model or adapter from members that hold it: its manifest from one of them, then tensors of it
// from all at once.
class Puller {
 public:
  Puller(const net::Identity& identity, std::shared_ptr<store::TensorCache> cache,
         PullOptions options)
      : identity_(identity), cache_(std::move(cache)), options_(std::move(options)) {}

  // What is here as a whole needs no member, unless a tensor of it turns out to be damaged; a part
  // of a tensor needs one for the hashes of its blocks.
  Result<std::shared_ptr<const store::Manifest>> Manifest(const std::atomic<bool>* cancel) {
    manifest_ = cache_->FindModel(options_.model);
    if (manifest_ != nullptr) return manifest_;
    Error last{ErrorCode::kNotFound, fmt::format("no member that can be reached holds {} {}",
                                                 options_.what, options_.model_name)};
    for (const net::ConnectOptions& member : options_.holders) {
      auto manifest = PullManifest(identity_, member, options_.model, *cancel);
      if (manifest) return manifest_ = *std::move(manifest);
      last = manifest.error();
    }
    return std::unexpected(last);
  }

  // After Manifest.
  Result<std::unique_ptr<backend::TensorSource>> Pull(
      const std::vector<backend::TensorPiece>& pieces, const engine::Progress& progress,
      const std::atomic<bool>* cancel, sys::Caching caching = sys::Caching::kKept) {
    std::vector<std::unique_ptr<BulkHolder>> holders;
    std::vector<store::TensorHolder*> all;
    for (const auto* members : {&options_.holders, &options_.others}) {
      for (const net::ConnectOptions& member : *members) {
        if (holders.size() == kMaxHolders) break;
        holders.push_back(std::make_unique<BulkHolder>(identity_, member, options_.model));
        all.push_back(holders.back().get());
      }
    }
    // Others can have each tensor as soon as it is here.
    cache_->NoteModel(manifest_, options_.model_name);
    auto source = cache_->Pull(*manifest_, pieces, all, progress, cancel, caching);
    if (!source) return source;
    cache_->NoteModel(manifest_, options_.model_name);
    uint64_t bytes = 0;
    for (const auto& holder : holders) bytes += holder->bytes();
    if (bytes > 0) {
      LOG(kInfo, "model={}: pulled {} from {} of {} members", options_.model.Short(),
          FormatSize(bytes),
          std::ranges::count_if(holders, [](const auto& one) { return one->bytes() > 0; }),
          holders.size());
    }
    return source;
  }

 private:
  const net::Identity& identity_;
  const std::shared_ptr<store::TensorCache> cache_;
  const PullOptions options_;
  std::shared_ptr<const store::Manifest> manifest_;
};

class PullSource final : public engine::StageSource {
 public:
  explicit PullSource(Puller puller) : puller_(std::move(puller)) {}

  Result<engine::ModelParts> Describe(const std::atomic<bool>* cancel) override {
    const auto manifest = TRY(puller_.Manifest(cancel));
    TRY(manifest->CheckIsModel());
    return engine::ModelParts{manifest->config(), manifest->tensors()};
  }
  Result<std::unique_ptr<backend::TensorSource>> Fetch(const backend::StageSpec& spec,
                                                       const engine::Progress& progress,
                                                       const std::atomic<bool>* cancel) override {
    return puller_.Pull(TRY(backend::StagePieces(spec)), progress, cancel, CachingOf(spec));
  }
  Result<std::shared_ptr<const model::Tokenizer>> Tokenizer(
      const std::atomic<bool>* cancel) override {
    return model::Tokenizer::Load(TRY(puller_.Manifest(cancel))->gguf());
  }

 private:
  Puller puller_;
};

// A model's source with adapters beside it, each from a file or from members.
class AdaptedSource final : public engine::StageSource {
 public:
  AdaptedSource(const net::Identity& identity, std::shared_ptr<store::TensorCache> cache,
                std::unique_ptr<engine::StageSource> model, std::vector<AdapterOptions> adapters)
      : identity_(identity),
        cache_(std::move(cache)),
        model_(std::move(model)),
        adapters_(std::move(adapters)) {}

  Result<engine::ModelParts> Describe(const std::atomic<bool>* cancel) override {
    return model_->Describe(cancel);
  }
  Result<std::unique_ptr<backend::TensorSource>> Fetch(const backend::StageSpec& spec,
                                                       const engine::Progress& progress,
                                                       const std::atomic<bool>* cancel) override {
    return model_->Fetch(spec, progress, cancel);
  }
  Result<std::shared_ptr<const model::Tokenizer>> Tokenizer(
      const std::atomic<bool>* cancel) override {
    return model_->Tokenizer(cancel);
  }
  Result<std::vector<backend::StageAdapter>> FetchAdapters(
      const engine::ModelParts& model, const engine::LayerRange& layers,
      const std::atomic<bool>* cancel) override {
    std::vector<backend::StageAdapter> fetched;
    for (const AdapterOptions& adapter : adapters_) {
      auto one = FetchOne(adapter, model, layers, cancel);
      if (!one) {
        return Wrap(one.error(), fmt::format("the adapter {}", adapter.pull.model_name));
      }
      fetched.push_back(*std::move(one));
    }
    return fetched;
  }

 private:
  Result<backend::StageAdapter> FetchOne(const AdapterOptions& adapter,
                                         const engine::ModelParts& model,
                                         const engine::LayerRange& layers,
                                         const std::atomic<bool>* cancel) {
    if (adapter.file != nullptr) {
      const auto tensors =
          TRY(model::FindAdapter(adapter.file->manifest().gguf(), *model.config, *model.tensors));
      return backend::StageAdapter{std::make_shared<const model::AdapterTensors>(tensors),
                                   TRY(adapter.file->MakeSource())};
    }
    Puller puller(identity_, cache_, adapter.pull);
    const auto manifest = TRY(puller.Manifest(cancel));
    const auto tensors = std::make_shared<const model::AdapterTensors>(
        TRY(model::FindAdapter(manifest->gguf(), *model.config, *model.tensors)));
    std::vector<const model::TensorRef*> wanted;
    for (uint32_t i = layers.begin; i < layers.end; ++i) {
      for (const auto& pair : tensors->layers[i].pairs) {
        if (pair) wanted.insert(wanted.end(), {&pair->a, &pair->b});
      }
    }
    return backend::StageAdapter{tensors,
                                 TRY(puller.Pull(backend::WholeTensors(wanted), {}, cancel))};
  }

  const net::Identity& identity_;
  const std::shared_ptr<store::TensorCache> cache_;
  const std::unique_ptr<engine::StageSource> model_;
  const std::vector<AdapterOptions> adapters_;
};

}  // namespace

std::unique_ptr<engine::StageSource> MakeFileSource(std::shared_ptr<const store::ModelFile> file) {
  return std::make_unique<FileSource>(std::move(file));
}

std::unique_ptr<engine::StageSource> MakePullSource(const net::Identity& identity,
                                                    std::shared_ptr<store::TensorCache> cache,
                                                    PullOptions options) {
  return std::make_unique<PullSource>(Puller(identity, std::move(cache), std::move(options)));
}

std::unique_ptr<engine::StageSource> MakeAdaptedSource(const net::Identity& identity,
                                                       std::shared_ptr<store::TensorCache> cache,
                                                       std::unique_ptr<engine::StageSource> model,
                                                       std::vector<AdapterOptions> adapters) {
  return std::make_unique<AdaptedSource>(identity, std::move(cache), std::move(model),
                                         std::move(adapters));
}

Result<void> TakeHashes(std::span<const uint8_t> reply, uint64_t bytes,
                        std::vector<Hash256>& blocks) {
  const uint64_t count = HashesInReply(bytes, blocks.size() * store::kHashBlock);
  if (reply.size() != count * Hash256::kSize) {
    return Fail(ErrorCode::kCorrupt, "a member sent {} bytes for {} hashes of blocks", reply.size(),
                count);
  }
  for (size_t at = 0; at < reply.size(); at += Hash256::kSize)
    std::memcpy(blocks.emplace_back().bytes.data(), &reply[at], Hash256::kSize);
  return {};
}

Result<std::shared_ptr<const store::Manifest>> PullManifest(const net::Identity& identity,
                                                            const net::ConnectOptions& holder,
                                                            const ModelId& model,
                                                            const std::atomic<bool>& cancel) {
  const auto client = TRY(BulkClient::Connect(identity, holder));
  return AskManifest(*client, model, &cancel);
}

}  // namespace exo::node
