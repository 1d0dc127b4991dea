#include "node/node.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "backend/cpu/cpu.h"
#include "base/log.h"
#include "kernels/float_mode.h"
#include "kernels/numerics.h"
#include "node/measure.h"
#include "node/node_impl.h"
#include "node/shape.h"
#include "node/version.h"
#include "sys/system.h"
#include "wire/plan.h"

namespace exo::node {
namespace {

// Left for the rest of the system and for exo itself: a tenth of the machine, within these bounds.
constexpr uint64_t kMinReserve = 64 * kMiB;
constexpr uint64_t kMaxReserve = 1 * kGiB;

constexpr char kPortSetting[] = "peer_port";

uint64_t MemoryBudget(const NodeOptions& options, const sys::MemoryInfo& memory) {
  if (options.memory_limit) return *options.memory_limit;
  const uint64_t reserve = std::clamp(memory.total / 10, kMinReserve, kMaxReserve);
  return memory.available > reserve ? memory.available - reserve : 0;
}

// Trust as the state file has it.
class StoredTrust final : public net::TrustStore {
 public:
  explicit StoredTrust(store::State& state) : state_(state) {}
  bool IsTrusted(const NodeId& id) const override {
    const auto member = state_.FindMember(id);
    return member && !member->revoked;
  }
  bool IsRevoked(const NodeId& id) const override {
    const auto member = state_.FindMember(id);
    return member && member->revoked;
  }
  void Admit(const NodeId& id, std::string_view name) override {
    if (auto saved = state_.Admit(id, std::string(name)); !saved)
      LOG(kError, "{}", saved.error().message);
  }

 private:
  store::State& state_;
};

}  // namespace

Result<void> NodeImpl::Init() {
  kernels::SetFloatMode();
  state_ = TRY(store::State::Open(options_.data_folder + "/state.db"));
  trust_ = std::make_unique<StoredTrust>(*state_);
  identity_ = TRY(net::Identity::LoadOrCreate(options_.data_folder));
  secret_ = options_.secret.empty() ? TRY(net::ClusterSecret::LoadOrCreate(options_.data_folder))
                                    : TRY(net::ClusterSecret::Parse(options_.secret));
  kernels_ = TRY(kernels::ChooseKernels(options_.isa));
  pool_ = backend::MakeComputePool(options_.threads == 0 ? sys::UsableCores() : options_.threads);
  backend_ = backend::MakeCpuBackend(*kernels_, *pool_);

  const sys::MemoryInfo memory = sys::ReadMemory();
  record_.id = identity_->id();
  record_.name = options_.name.empty() ? sys::HostName() : options_.name;
  record_.numerics = kernels::ComputeNumericsId(*kernels_);
  record_.isa = kernels::IsaName(kernels_->isa());
  record_.cores = pool_->threads();
  record_.memory_total = memory.total;
  record_.memory_budget = MemoryBudget(options_, memory);
  cluster::CoreOptions core{.self = identity_->id(), .name = record_.name};
  core.incarnation = TRY(state_->Increment("incarnation"));
  core.boot_nonce = boot_nonce_;
  core.seed = sys::RandomValue<uint64_t>();
  core_ = std::make_unique<cluster::Core>(core);
  models_ =
      std::make_unique<class Models>(loop_, tasks_, *state_, options_.data_folder + "/prepared");
  requests_ = std::make_unique<Requests>(loop_, tasks_, static_cast<RequestHost&>(*this));
  TRY(StartPeers());
  StartDiscovery();
  ConnectToRemembered();
  FeedRecord();
  MeasureInBackground();
  models_->Scan(options_.model_folders, [this] { OnModelsChanged(); });
  OnTick();
  return {};
}

Result<void> NodeImpl::StartPeers() {
  net::PeersOptions options{.bind = options_.loopback ? "127.0.0.1" : "", .port = options_.port};
  options.self.name = record_.name;
  options.self.version = kVersion;
  options.self.numerics = record_.numerics;
  options.self.boot_nonce = boot_nonce_;
  const auto start = [&](uint16_t port) {
    options.port = port;
    return net::Peers::Start(loop_, *identity_, secret_.get(), *trust_, *this, options);
  };
  // Any port: preferably the one where other members remember this node.
  const auto last = static_cast<uint16_t>(
      std::strtoul(state_->Get(kPortSetting).value_or("0").c_str(), nullptr, 10));
  auto peers = start(options_.port != 0 ? options_.port : last);
  if (!peers && !options_.port_required && options_.port != 0 && last != 0) peers = start(last);
  if (!peers && (!options_.port_required || options_.port == 0)) peers = start(0);
  peers_ = TRY(std::move(peers));
  if (peers_->port() != last) TRY(state_->Set(kPortSetting, std::to_string(peers_->port())));
  for (const std::string& peer : options_.peers) TRY(peers_->AddStaticPeer(peer));
  return {};
}

// Not on the loop: the state file is synced to disk.
void NodeImpl::Remember(const NodeId& peer, const wire::Address& address) {
  if (address.port == 0) return;
  tasks_.Post([this, known = store::KnownPeer{peer, address.host, address.port}] {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
    if (auto saved = state_->RememberPeer(known, seconds); !saved)
      LOG(kWarning, "where {} is was not written down: {}", known.id.Short(),
          saved.error().message);
  });
}

void NodeImpl::ConnectToRemembered() {
  cluster::RememberedPeers remembered;
  for (const store::KnownPeer& peer : state_->RememberedPeers()) {
    remembered.hints.peers.push_back({peer.id, {{peer.host, peer.port}}});
  }
  if (!remembered.hints.peers.empty()) Feed(std::move(remembered));
}

void NodeImpl::StartDiscovery() {
  if (!options_.discovery) return;
  net::DiscoveryOptions options;
  options.scope = options_.loopback ? net::DiscoveryScope::kLoopback : net::DiscoveryScope::kLan;
  options.port = peers_->port();
  discovery_ =
      net::Discovery::Start(loop_, secret_.get(), options, [this](const net::Found& found) {
        if (found.same_cluster) peers_->AddHint(found.address);
      });
}

void NodeImpl::MeasureInBackground() {
  tasks_.Post([this, done = OnLoop([this](Result<Speed> speed) {
                       if (speed) {
                         record_.decode_gbps = speed->decode_gbps;
                         record_.prefill_gops = speed->prefill_gops;
                       } else {
                         LOG(kWarning, "this device's speed is unknown: {}", speed.error().message);
                       }
                       measured_ = true;
                       FeedRecord();
                       CheckReady();
                     })]() mutable {
    kernels::SetFloatMode();
    done(KnownSpeed(*kernels_, *pool_, *state_));
  });
}

void NodeImpl::WhenReady(std::function<void()> action) {
  waiting_.push_back(std::move(action));
  CheckReady();
}

void NodeImpl::CheckReady() {
  if (!measured_ || !models_->scanned()) return;
  for (auto& action : std::exchange(waiting_, {})) action();
}

void NodeImpl::OnModelsChanged() {
  cluster::LocalModels shapes;
  record_.models.clear();
  for (const auto& file : models_->All()) {
    bulk_.Share(file);
    shapes.shapes.push_back(ShapeOf(file->manifest(), file->name(), *backend_));
    record_.models.push_back({.id = file->manifest().id(),
                              .name = file->name(),
                              .file_bytes = file->manifest().file_bytes(),
                              .complete = true});
  }
  Feed(std::move(shapes));
  FeedRecord();
  CheckReady();
}

void NodeImpl::Shutdown(std::function<void()> done) {
  Feed(cluster::Leave{"stopped by its user"});
  discovery_.reset();
  for (auto& [unused, runner] : std::exchange(runners_, {})) {
    // Joining can take as long as one work item: not on the loop.
    tasks_.Post([stopped = std::shared_ptr<engine::InstanceRunner>(std::move(runner))]() mutable {
      stopped.reset();
    });
  }
  peers_->Leave(std::move(done));
}

// Is there progress on the nodes of every instance that is led here?
void NodeImpl::WatchRunners() {
  const std::vector<cluster::NodeStatus> nodes = core_->Nodes();
  for (const cluster::ReservationStatus& held : core_->ReservationsHeld()) {
    engine::InstanceRunner* runner = held.stage == 0 ? RunnerOf(held.plan.id) : nullptr;
    if (runner == nullptr) continue;
    uint64_t progress = pool_->items_done();
    for (const cluster::NodeStatus& node : nodes) {
      if (!node.self && wire::StageOf(held.plan, node.record.id) >= 0) progress += node.progress;
    }
    runner->Watch(progress, sys::Now());
  }
}

void NodeImpl::OnTick() {
  if (++ticks_ % 10 == 0) {
    Feed(cluster::LocalProgress{pool_->items_done()});
    WatchRunners();
    stages_.DropExpired(sys::Now());
  }
  Feed(cluster::Tick{});
  tick_.Start(cluster::kTickInterval, [this] { OnTick(); });
}

Result<std::unique_ptr<Node>> Node::Start(net::EventLoop& loop, NodeOptions options) {
  auto node = std::make_unique<NodeImpl>(loop, std::move(options));
  TRY(node->Init());
  return node;
}

}  // namespace exo::node
