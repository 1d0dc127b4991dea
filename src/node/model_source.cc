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

 private:
  const std::shared_ptr<const store::ModelFile> file_;
};

class PullSource final : public engine::StageSource {
 public:
  PullSource(const net::Identity& identity, std::shared_ptr<store::TensorCache> cache,
             PullOptions options)
      : identity_(identity), cache_(std::move(cache)), options_(std::move(options)) {}

  // What was pulled before needs no member, unless a tensor of it turns out to be damaged.
  Result<engine::ModelParts> Describe(const std::atomic<bool>* cancel) override {
    manifest_ = cache_->FindModel(options_.model);
    if (manifest_ == nullptr) TRY(ConnectToAnyHolder(cancel));
    return engine::ModelParts{manifest_->config(), manifest_->tensors()};
  }

  // A holder that fails in the middle is replaced by the next one: pieces already here are kept.
  Result<std::unique_ptr<backend::TensorSource>> Fetch(const backend::StageSpec& spec,
                                                       const engine::Progress& progress,
                                                       const std::atomic<bool>* cancel) override {
    for (;;) {
      auto source = cache_->Pull(*manifest_, spec, Fetcher(cancel), progress, cancel);
      if (source) cache_->NoteModel(manifest_, options_.model_name);
      if (source || source.error().code == ErrorCode::kCancelled) return source;
      const Error why = source.error();
      if (why.code == ErrorCode::kIo) return source;  // this disk: another holder is no help
      if (!ConnectToAnyHolder(cancel)) return std::unexpected(why);
    }
  }

 private:
  Result<void> ConnectToAnyHolder(const std::atomic<bool>* cancel) {
    Error last{ErrorCode::kNotFound,
               fmt::format("no member that can be reached holds model {}", options_.model_name)};
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

}  // namespace

std::unique_ptr<engine::StageSource> MakeFileSource(std::shared_ptr<const store::ModelFile> file) {
  return std::make_unique<FileSource>(std::move(file));
}

std::unique_ptr<engine::StageSource> MakePullSource(const net::Identity& identity,
                                                    std::shared_ptr<store::TensorCache> cache,
                                                    PullOptions options) {
  return std::make_unique<PullSource>(identity, std::move(cache), std::move(options));
}

Result<std::shared_ptr<const store::Manifest>> PullManifest(const net::Identity& identity,
                                                            const net::ConnectOptions& holder,
                                                            const ModelId& model,
                                                            const std::atomic<bool>& cancel) {
  const auto client = TRY(BulkClient::Connect(identity, holder));
  return AskManifest(*client, model, &cancel);
}

}  // namespace exo::node
