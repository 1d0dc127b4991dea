#include "node/bulk_server.h"

#include <algorithm>

#include "base/log.h"
#include "base/thread.h"
#include "store/block_hash.h"
#include "sys/system.h"

namespace exo::node {
namespace {

constexpr Time kIdleLimit = std::chrono::seconds(60);
// As long as a measurement takes; whoever asks waits for longer.
constexpr Time kTurnLimit = std::chrono::seconds(6);
constexpr Time kAnswerLimit = std::chrono::seconds(30);

// The hashes of a tensor's blocks from byte `offset` on.
Result<std::vector<uint8_t>> HashesOf(const BulkServer::Model& model,
                                      const wire::TensorRequest& ask,
                                      const std::atomic<bool>& cut) {
  const model::GgufTensor* tensor = model.manifest->gguf().FindTensor(ask.name);
  if (tensor == nullptr || ask.offset > tensor->bytes || ask.offset % store::kHashBlock != 0)
    return Fail(ErrorCode::kInvalid, "no block of {} begins at {}", ask.name, ask.offset);
  const uint64_t blocks = HashesInReply(tensor->bytes, ask.offset);
  const uint64_t end = std::min(tensor->bytes, ask.offset + blocks * store::kHashBlock);
  store::BlockHash sum;
  for (uint64_t at = ask.offset; at < end; at += wire::kMaxTensorPiece) {
    if (cut.load()) return Fail(ErrorCode::kCancelled, "its link was cut");
    const uint64_t count = std::min<uint64_t>(wire::kMaxTensorPiece, end - at);
    const std::vector<uint8_t> piece = TRY(model.read(ask.name, at, count));
    sum.Update(std::as_bytes(std::span(piece)));
  }
  std::vector<uint8_t> bytes;
  for (const Hash256& block : sum.FinishBlocks())
    bytes.insert(bytes.end(), block.bytes.begin(), block.bytes.end());
  return bytes;
}

// As wire::ManifestReply has it.
std::vector<uint8_t> Packed(const std::vector<bool>& held) {
  std::vector<uint8_t> bytes((held.size() + 7) / 8);
  for (size_t i = 0; i < held.size(); ++i)
    bytes[i / 8] |= static_cast<uint8_t>((held[i] ? 1u : 0u) << i % 8);
  return bytes;
}

}  // namespace

BulkServer::~BulkServer() {
  if (turn_ != nullptr) turn_->Close();
  for (Connection& connection : connections_) Cut(connection);
  for (Connection& connection : connections_) connection.thread.join();
}

void BulkServer::Share(std::vector<Model> models) {
  const MutexLock lock(mutex_);
  models_.clear();
  for (Model& model : models) {
    const ModelId id = model.manifest->id();
    models_.insert_or_assign(id, std::move(model));
  }
}

void BulkServer::Serve(std::unique_ptr<engine::DataLink> link, bool member) {
  Reap();
  if (connections_.size() >= kMaxOpen) return;
  Connection& connection = connections_.emplace_back();
  connection.link = std::move(link);
  connection.member = member;
  connection.thread = StartThread([this, &connection] { Main(connection); });
}

void BulkServer::Cut(const NodeId& peer) {
  for (Connection& connection : connections_) {
    if (connection.link->peer() == peer) Cut(connection);
  }
}

void BulkServer::Cut(Connection& connection) {
  connection.cut.store(true);
  connection.link->Shutdown();
}

void BulkServer::Reap() {
  for (auto it = connections_.begin(); it != connections_.end();) {
    if (!it->done.load()) {
      ++it;
      continue;
    }
    it->thread.join();
    it = connections_.erase(it);
  }
}

std::optional<BulkServer::Model> BulkServer::Find(const ModelId& id) {
  const MutexLock lock(mutex_);
  const auto found = models_.find(id);
  if (found == models_.end()) return std::nullopt;
  return found->second;
}

void BulkServer::Main(Connection& connection) {
  for (;;) {
    auto outcome = connection.link->Poll(sys::Now() + kIdleLimit);
    if (!outcome || outcome->event != engine::DataLink::Event::kFrame) break;
    if (!Admit(connection, *outcome->frame.message)) break;
    const wire::Message answer = Answer(connection, *outcome->frame.message);
    if (!connection.link->Send(answer, {}, sys::Now() + kAnswerLimit)) break;
  }
  if (connection.measures) turn_->Leave(connection.link->peer());
  if (connection.pulls) {
    const MutexLock lock(mutex_);
    --pulling_;
  }
  connection.link->Shutdown();
  connection.done.store(true);
}

bool BulkServer::Admit(Connection& connection, const wire::Message& question) {
  if (std::holds_alternative<wire::LinkProbe>(question)) {
    AdmitOnce(connection);
  } else if (!connection.pulls) {
    const MutexLock lock(mutex_);
    if (pulling_ == kMaxLinks) return false;
    ++pulling_;
    connection.pulls = true;
  }
  return true;
}

void BulkServer::AdmitOnce(Connection& connection) {
  if (turn_ == nullptr || connection.measures) return;
  turn_->Admit(connection.link->peer(), sys::Now() + kTurnLimit);
  connection.measures = true;
}

wire::Message BulkServer::Answer(const Connection& connection, const wire::Message& question) {
  if (const auto* probe = std::get_if<wire::LinkProbe>(&question))
    return wire::LinkEcho{probe->number};
  if (const auto* ask = std::get_if<wire::PageRequest>(&question))
    return connection.member && pages_ ? pages_(*ask) : wire::PageReply{};
  if (const auto* ask = std::get_if<wire::TensorRequest>(&question)) {
    wire::TensorReply reply;
    const auto model = Find(ask->model);
    if (!model || ask->bytes > wire::kMaxTensorPiece) return reply;
    auto bytes = BytesFor(connection, *model, *ask);
    if (bytes) {
      reply.found = true;
      reply.bytes = *std::move(bytes);
    } else {
      LOG(kWarning, "peer={}: it gets no tensor: {}", connection.link->peer().Short(),
          bytes.error().message);
    }
    return reply;
  }
  const auto* ask = std::get_if<wire::ManifestRequest>(&question);
  const auto model = ask == nullptr ? std::nullopt : Find(ask->model);
  return model ? AnswerAbout(*model, ask->held_only) : wire::ManifestReply{};
}

Result<std::vector<uint8_t>> BulkServer::BytesFor(const Connection& connection, const Model& model,
                                                  const wire::TensorRequest& ask) {
  if (ask.bytes > 0) return model.read(ask.name, ask.offset, ask.bytes);
  const MutexLock lock(hashing_);
  return HashesOf(model, ask, connection.cut);
}

// Only a member that has all of a model gives out its manifest: who takes that from it expects
// every tensor there.
wire::ManifestReply BulkServer::AnswerAbout(const Model& model, bool held_only) {
  if (held_only)
    return {.found = true, .held = model.held ? Packed(model.held()) : std::vector<uint8_t>{}};
  if (model.held) return {};
  const auto* first = reinterpret_cast<const uint8_t*>(model.manifest->bytes().data());
  return {.found = true, .bytes = {first, first + model.manifest->bytes().size()}};
}

}  // namespace exo::node
