#include "node/load_stage.h"

#include "base/check.h"
#include "sys/system.h"

namespace exo::node {
namespace {

constexpr Time kReplyLimit = std::chrono::seconds(30);

// Requests and replies over one bulk link.
class BulkClient {
 public:
  static Result<std::unique_ptr<BulkClient>> Dial(const net::Identity& identity,
                                                  net::DialOptions holder) {
    holder.deadline = sys::Now() + std::chrono::seconds(5);
    auto client = std::make_unique<BulkClient>();
    client->link_ = TRY(net::DialLink(identity, holder));
    return client;
  }

  template <class Reply>
  Result<Reply> Ask(const wire::Message& question) {
    const Time deadline = sys::Now() + kReplyLimit;
    TRY(link_->Send(question, {}, deadline));
    net::DataLink::Outcome outcome = TRY(link_->Poll(deadline));
    if (outcome.event != net::DataLink::Event::kFrame) {
      return Fail(ErrorCode::kDisconnected, "a member did not answer in {} s",
                  std::chrono::duration_cast<std::chrono::seconds>(kReplyLimit).count());
    }
    Reply* reply = std::get_if<Reply>(outcome.frame.message);
    if (reply == nullptr)
      return Fail(ErrorCode::kCorrupt, "a member answered with another message");
    return std::move(*reply);
  }

 private:
  std::unique_ptr<net::DataLink> link_;
};

Result<std::shared_ptr<const store::Manifest>> AskManifest(BulkClient& client,
                                                           const ModelId& model) {
  wire::ManifestReply reply = TRY(client.Ask<wire::ManifestReply>(wire::ManifestRequest{model}));
  if (!reply.found)
    return Fail(ErrorCode::kNotFound, "the member no longer has model {}", model.Short());
  const auto bytes = std::as_bytes(std::span(reply.bytes));
  auto manifest = TRY(store::Manifest::FromBytes({bytes.begin(), bytes.end()}));
  if (manifest->id() != model) {
    return Fail(ErrorCode::kCorrupt, "a member sent the manifest of {} for model {}",
                manifest->id().Short(), model.Short());
  }
  return manifest;
}

backend::StageSpec SpecOf(const wire::Plan& plan, uint32_t stage, const store::Manifest& manifest) {
  return {.config = manifest.config(),
          .tensors = manifest.tensors(),
          .layer_begin = plan.stages[stage].layer_begin,
          .layer_end = plan.stages[stage].layer_end,
          .head = stage == 0,
          .kv_type = static_cast<kernels::KvType>(plan.kv_type),
          .chunk = plan.chunk};
}

Result<void> CheckFits(const wire::Plan& plan, const store::Manifest& manifest) {
  if (plan.layers != manifest.config()->layers) {
    return Fail(ErrorCode::kInvalid, "a plan for {} layers of a model that has {}", plan.layers,
                manifest.config()->layers);
  }
  return {};
}

Result<LoadedStage> LoadFrom(const net::Identity& identity, const net::DialOptions& holder,
                             backend::Backend& backend, const RunnerOptions& options,
                             const std::function<void(uint64_t, uint64_t)>& progress,
                             const std::atomic<bool>* cancel) {
  const auto client = TRY(BulkClient::Dial(identity, holder));
  const auto manifest = TRY(AskManifest(*client, options.plan.model));
  TRY(CheckFits(options.plan, *manifest));
  const backend::StageSpec spec = SpecOf(options.plan, options.stage, *manifest);
  const store::FetchPiece fetch = [&](const std::string& tensor, uint64_t offset,
                                      uint32_t bytes) -> Result<std::vector<uint8_t>> {
    wire::TensorReply reply = TRY(client->Ask<wire::TensorReply>(wire::TensorRequest{
        .model = options.plan.model, .name = tensor, .offset = offset, .bytes = bytes}));
    if (!reply.found)
      return Fail(ErrorCode::kNotFound, "the member no longer has tensor {}", tensor);
    return std::move(reply.bytes);
  };
  // Pulling and packing each count for half of the progress.
  const auto source = TRY(store::PullTensors(
      *manifest, spec, options.pull_folder, fetch,
      [&](uint64_t done, uint64_t total) { progress(done, 2 * total); }, cancel));
  auto compute = TRY(backend.Load(
      spec, *source, [&](uint64_t done, uint64_t total) { progress(total + done, 2 * total); },
      cancel));
  return LoadedStage{.config = manifest->config(), .compute = std::move(compute)};
}

}  // namespace

Result<std::shared_ptr<const store::Manifest>> PullManifest(const net::Identity& identity,
                                                            const net::DialOptions& holder,
                                                            const ModelId& model) {
  const auto client = TRY(BulkClient::Dial(identity, holder));
  return AskManifest(*client, model);
}

Result<LoadedStage> LoadStage(const net::Identity& identity, backend::Backend& backend,
                              const RunnerOptions& options,
                              const std::function<void(uint64_t, uint64_t)>& progress,
                              const std::atomic<bool>* cancel) {
  if (options.file != nullptr) {
    const store::Manifest& manifest = options.file->manifest();
    TRY(CheckFits(options.plan, manifest));
    const auto source = options.file->MakeSource();
    auto compute =
        TRY(backend.Load(SpecOf(options.plan, options.stage, manifest), *source, progress, cancel));
    return LoadedStage{.config = manifest.config(), .compute = std::move(compute)};
  }
  Error last{ErrorCode::kNotFound,
             fmt::format("no member that can be reached holds model {}", options.plan.model_name)};
  for (const net::DialOptions& holder : options.holders) {
    auto loaded = LoadFrom(identity, holder, backend, options, progress, cancel);
    if (loaded || loaded.error().code == ErrorCode::kCancelled) return loaded;
    last = loaded.error();
  }
  return std::unexpected(last);
}

}  // namespace exo::node
