#include "node/model_source.h"

#include <algorithm>

#include "sys/system.h"

namespace exo::node {
namespace {

constexpr Time kConnectLimit = std::chrono::seconds(5);
constexpr Time kReplyLimit = std::chrono::seconds(30);
constexpr Time kCancelCheck = std::chrono::milliseconds(50);

// Requests and replies over one bulk link.
class BulkClient {
 public:
  static Result<std::unique_ptr<BulkClient>> Connect(const net::Identity& identity,
                                                     net::ConnectOptions holder) {
    holder.deadline = sys::Now() + kConnectLimit;
    auto client = std::make_unique<BulkClient>();
    client->link_ = TRY(net::ConnectLink(identity, holder));
    return client;
  }

  template <class Reply>
  Result<Reply> Ask(const wire::Message& question, const std::atomic<bool>* cancel) {
    const Time deadline = sys::Now() + kReplyLimit;
    TRY(link_->Send(question, {}, deadline));
    engine::DataLink::Outcome outcome;
    do {
      if (cancel->load()) return Fail(ErrorCode::kCancelled, "stopped");
      outcome = TRY(link_->Poll(std::min(deadline, sys::Now() + kCancelCheck)));
    } while (outcome.event != engine::DataLink::Event::kFrame && sys::Now() < deadline);
    if (outcome.event != engine::DataLink::Event::kFrame) {
      return Fail(ErrorCode::kDisconnected, "a member did not answer in {} s",
                  std::chrono::duration_cast<std::chrono::seconds>(kReplyLimit).count());
    }
    Reply* reply = std::get_if<Reply>(outcome.frame.message);
    if (reply == nullptr) {
      return Fail(ErrorCode::kCorrupt, "a member answered with another message");
    }
    return std::move(*reply);
  }

 private:
  std::unique_ptr<engine::DataLink> link_;
};

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

class FileSource final : public engine::StageSource {
 public:
  explicit FileSource(std::shared_ptr<const store::ModelFile> file) : file_(std::move(file)) {}

  Result<engine::ModelParts> Describe(const std::atomic<bool>*) override {
    return engine::ModelParts{file_->manifest().config(), file_->manifest().tensors()};
  }
  Result<std::unique_ptr<backend::TensorSource>> Fetch(const backend::StageSpec&,
                                                       const engine::Progress&,
                                                       const std::atomic<bool>*) override {
    return file_->MakeSource();
  }
  Result<std::shared_ptr<const model::Tokenizer>> Tokenizer(const std::atomic<bool>*) override {
    return model::Tokenizer::Load(file_->manifest().gguf());
  }

 private:
  const std::shared_ptr<const store::ModelFile> file_;
};

// One model or adapter from members that hold it: its manifest, then tensors of it. A holder that
// fails is replaced by the next one.
class Puller {
 public:
  Puller(const net::Identity& identity, std::shared_ptr<store::TensorCache> cache,
         PullOptions options)
      : identity_(identity), cache_(std::move(cache)), options_(std::move(options)) {}

  // What was pulled before needs no member, unless a tensor of it turns out to be damaged.
  Result<std::shared_ptr<const store::Manifest>> Manifest(const std::atomic<bool>* cancel) {
    manifest_ = cache_->FindModel(options_.model);
    if (manifest_ == nullptr) TRY(ConnectToAnyHolder(cancel));
    return manifest_;
  }

  // After Manifest. Pieces already here are kept when a holder fails in the middle.
  Result<std::unique_ptr<backend::TensorSource>> Pull(
      const std::vector<const model::TensorRef*>& tensors, const engine::Progress& progress,
      const std::atomic<bool>* cancel) {
    for (;;) {
      auto source = cache_->Pull(*manifest_, tensors, Fetcher(cancel), progress, cancel);
      if (source) cache_->NoteModel(manifest_, options_.model_name);
      if (source || source.error().code == ErrorCode::kCancelled) return source;
      const Error why = source.error();
      if (why.code == ErrorCode::kIo) return source;  // this disk: another holder is no help
      if (!ConnectToAnyHolder(cancel)) return std::unexpected(why);
    }
  }

 private:
  Result<void> ConnectToAnyHolder(const std::atomic<bool>* cancel) {
    Error last{ErrorCode::kNotFound, fmt::format("no member that can be reached holds {} {}",
                                                 options_.what, options_.model_name)};
    while (next_ < options_.holders.size()) {
      if (cancel->load()) return Fail(ErrorCode::kCancelled, "stopped");
      auto connected = ConnectTo(options_.holders[next_++], cancel);
      if (connected) return {};
      last = connected.error();
    }
    return std::unexpected(last);
  }
  Result<void> ConnectTo(const net::ConnectOptions& holder, const std::atomic<bool>* cancel) {
    client_ = TRY(BulkClient::Connect(identity_, holder));
    auto manifest = TRY(AskManifest(*client_, options_.model, cancel));
    if (manifest_ == nullptr) manifest_ = std::move(manifest);  // one id: they are all the same
    return {};
  }
  store::FetchPiece Fetcher(const std::atomic<bool>* cancel) {
    return [this, cancel](const std::string& tensor, uint64_t offset,
                          uint32_t bytes) -> Result<std::vector<uint8_t>> {
      if (client_ == nullptr) TRY(ConnectToAnyHolder(cancel));
      wire::TensorReply reply = TRY(client_->Ask<wire::TensorReply>(
          wire::TensorRequest{
              .model = options_.model, .name = tensor, .offset = offset, .bytes = bytes},
          cancel));
      if (!reply.found) {
        return Fail(ErrorCode::kNotFound, "the member no longer has tensor {}", tensor);
      }
      return std::move(reply.bytes);
    };
  }

  const net::Identity& identity_;
  const std::shared_ptr<store::TensorCache> cache_;
  const PullOptions options_;
  size_t next_ = 0;  // of the holders
  std::unique_ptr<BulkClient> client_;
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
    return puller_.Pull(backend::StageTensors(spec), progress, cancel);
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
    return backend::StageAdapter{tensors, TRY(puller.Pull(wanted, {}, cancel))};
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

Result<std::shared_ptr<const store::Manifest>> PullManifest(const net::Identity& identity,
                                                            const net::ConnectOptions& holder,
                                                            const ModelId& model,
                                                            const std::atomic<bool>& cancel) {
  const auto client = TRY(BulkClient::Connect(identity, holder));
  return AskManifest(*client, model, &cancel);
}

}  // namespace exo::node
