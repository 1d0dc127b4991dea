#include "node/node.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>

#include "backend/devices.h"
#include "base/check.h"
#include "base/log.h"
#include "node/node_impl.h"
#include "node/shape.h"
#include "node/version.h"
#include "sys/system.h"
#include "wire/plan.h"

namespace exo::node {
namespace {

// Pulled tensors kept for the next load, where nothing else is set.
constexpr uint64_t kMaxTensorBudget = 20 * kGiB;

constexpr char kPortSetting[] = "peer_port";

// Ticks after the start: folders have been looked through, and other devices found.
constexpr uint64_t kSettingsCheck = 100;

// How often the device's load is looked at.
constexpr Time kLoadPeriod = std::chrono::seconds(5);

wire::DeviceRecord RecordOf(const backend::DeviceInfo& device) {
  return {.kind = device.kind == backend::DeviceKind::kCpu ? wire::DeviceKind::kCpu
                                                           : wire::DeviceKind::kGpu,
          .name = device.name,
          .isa = device.isa,
          .cores = device.cores,
          .memory_total = device.memory_total,
          .memory_budget = device.memory_budget};
}

uint64_t WallMilliseconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::max<int64_t>(now / std::chrono::milliseconds(1), 0));
}

// Higher at each start. Where it cannot be written (a full disk), the clock takes its place.
uint64_t NextIncarnation(store::State& state) {
  const auto clock = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                               std::chrono::system_clock::now().time_since_epoch())
                                               .count());
  const auto next = state.Increment("incarnation", clock);
  if (next) return *next;
  LOG(kWarning, "this node cannot write to its data folder and will forget what it learns: {}",
      next.error().message);
  const uint64_t last = std::strtoull(state.Get("incarnation").value_or("0").c_str(), nullptr, 10);
  return std::max(last + 1, clock);
}

// Of the disk that the data folder lies on.
uint64_t TensorBudget(const NodeOptions& options) {
  if (options.tensor_cache) return *options.tensor_cache;
  return std::min(kMaxTensorBudget, sys::DiskBytes(options.data_folder) / 10);
}

}  // namespace

Result<void> NodeImpl::Init() {
  state_ = TRY(store::State::Open(options_.data_folder + "/state.db"));
  identity_ = TRY(net::Identity::LoadOrCreate(options_.data_folder));
  record_.id = identity_->id();
  record_.name = options_.name.empty() ? sys::HostName() : options_.name;
  trust_ = TRY(TrustKeeper::Load(state_, jobs_,
                                 {.self = {.id = record_.id, .name = record_.name},
                                  .folder = options_.data_folder,
                                  .given_secret = options_.secret}));
  audit_ = std::make_unique<AuditLog>(jobs_, options_.data_folder);
  inviter_ = std::make_unique<Inviter>(loop_, *trust_, *audit_);
  backend_ = TRY(backend::MakeBackend({.isa = options_.isa,
                                       .threads = options_.threads,
                                       .memory_limit = options_.memory_limit,
                                       .copy_prepared = options_.copy_prepared}));
  record_.numerics = backend_->Numerics();
  record_.devices = {RecordOf(backend_->device())};
  shares_ = std::make_unique<SharePolicy>(options_.share);
  cluster::CoreOptions core{.self = identity_->id(), .name = record_.name};
  core.incarnation = NextIncarnation(*state_);
  core.boot_nonce = boot_nonce_;
  core.seed = sys::RandomValue<uint64_t>();
  core_ = std::make_unique<cluster::Core>(core);
  tensors_ = store::TensorCache::Open(options_.data_folder + "/tensors", TensorBudget(options_));
  OpenPrefixStore();
  models_ = std::make_unique<class Models>(
      loop_, jobs_, state_,
      ModelsOptions{.folders = options_.model_folders,
                    .named_folders = options_.named_folders,
                    .prepared_folder = options_.data_folder + "/prepared"});
  StartPulls();
  vocabularies_ = std::make_unique<Vocabularies>(jobs_, [this] { NoteVocabularies(); });
  requests_ = std::make_unique<Requests>(loop_, jobs_.cpu(), static_cast<RequestHost&>(*this));
  if (options_.conversations) {
    conversations_ = std::make_unique<ConversationKeeper>(
        loop_, jobs_, static_cast<ConversationPeers&>(*this),
        store::ConversationFileOptions{.path = options_.data_folder + "/conversations.db",
                                       .self = identity_->id()});
  }
  bulk_.SharePages([this](const auto& request) { return PageOf(moved_, request); });
  turn_ = std::make_shared<LinkTurn>(identity_->id());
  bulk_.TakeTurns(turn_);
  TRY(StartPeers());
  trust_->OnChange([this](const cluster::Trust::Change& change) { OnTrustChanged(change); });
  FeedGuests();
  StartDiscovery();
  ForgetFormerKey();
  ConnectToRemembered();
  FeedRecord();
  RestorePresets();
  RestoreDesired();
  StartMeasuring();
  models_->Start([this] { OnModelsChanged(); });
  OnTick();
  return {};
}

// A node serves without it, too.
void NodeImpl::OpenPrefixStore() {
  if (options_.prefix_store == 0) return;
  const auto open = [&]() -> Result<std::unique_ptr<store::PrefixStore>> {
    const SealKey key = TRY(store::PrefixKey(options_.data_folder + "/prefix.key"));
    return store::PrefixStore::Open(
        {.folder = options_.data_folder + "/prefix", .budget = options_.prefix_store, .key = key});
  };
  if (auto opened = open()) {
    prefixes_ = std::move(*opened);
  } else {
    LOG(kWarning, "no prefixes are kept on disk: {}", opened.error().message);
  }
}

Result<void> NodeImpl::StartPeers() {
  net::PeersOptions options{.bind = options_.loopback ? "127.0.0.1" : "", .port = options_.port};
  options.self.name = record_.name;
  options.self.version = kVersion;
  options.self.numerics = record_.numerics;
  options.self.boot_nonce = boot_nonce_;
  options.pairing = inviter_.get();
  const auto start = [&](uint16_t port) {
    options.port = port;
    return net::Peers::Start(loop_, *identity_, trust_->secret(), *trust_, *this, options);
  };
  // Any port: preferably the one where other members remember this node.
  const auto last = static_cast<uint16_t>(
      std::strtoul(state_->Get(kPortSetting).value_or("0").c_str(), nullptr, 10));
  auto peers = start(options_.port != 0 ? options_.port : last);
  if (!peers && !options_.port_required && options_.port != 0 && last != 0) peers = start(last);
  if (!peers && (!options_.port_required || options_.port == 0)) peers = start(0);
  peers_ = TRY(std::move(peers));
  if (peers_->port() != last) {
    if (auto saved = state_->Set(kPortSetting, std::to_string(peers_->port())); !saved)
      LOG(kWarning, "the port for peers was not written down: {}", saved.error().message);
  }
  for (const std::string& peer : options_.peers) TRY(peers_->AddStaticPeer(peer));
  return {};
}

// Not on the loop: the state file is synced to disk.
void NodeImpl::Remember(const NodeId& peer, const wire::Address& address) {
  if (address.port == 0) return;
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [state = state_, known = store::KnownPeer{peer, address.host, address.port}](
          const std::atomic<bool>&) { return state->RememberPeer(known, sys::WallClockSeconds()); },
      [peer](Result<void> saved) {
        if (!saved)
          LOG(kWarning, "peer={}: its address was not written down: {}", peer.Short(),
              saved.error().message);
      });
  if (!begun) {
    LOG(kWarning, "peer={}: its address was not written down: files are busy", peer.Short());
  }
}

void NodeImpl::ConnectToRemembered() {
  cluster::RememberedPeers remembered;
  const auto known = state_->RememberedPeers();
  if (!known) {
    LOG(kWarning, "no address is remembered: {}", known.error().message);
    return;
  }
  for (const store::KnownPeer& peer : *known) {
    remembered.hints.peers.push_back({peer.id, {{peer.host, peer.port}}});
  }
  if (!remembered.hints.peers.empty()) Feed(std::move(remembered));
}

void NodeImpl::StartDiscovery() {
  if (!options_.discovery) return;
  net::DiscoveryOptions options;
  options.scope = options_.loopback ? net::DiscoveryScope::kLoopback : net::DiscoveryScope::kLan;
  options.port = peers_->port();
  discovery_secret_ = trust_->secret();
  discovery_ = net::Discovery::Start(loop_, discovery_secret_.get(), options,
                                     [this](const net::Found& found) {
                                       if (found.same_cluster)
                                         return peers_->AddHint(found.address);
                                       if (joining_) joining_->OnFound(found.address);
                                     });
}

// Files, and what was pulled as a whole: both can be run here and given to others.
void NodeImpl::OnModelsChanged() {
  cluster::LocalModels shapes;
  record_.models.clear();
  std::vector<BulkServer::Model> shared;
  const auto add = [&](const store::Manifest& manifest, const std::string& name, bool pulled) {
    if (const model::AdapterConfig* adapter = manifest.adapter()) {
      record_.models.push_back({.id = manifest.id(),
                                .name = name,
                                .file_bytes = manifest.file_bytes(),
                                .architecture = adapter->architecture,
                                .pulled = pulled,
                                .adapter = true});
      return;
    }
    if (FollowSettings(manifest.id())) shapes.shapes.push_back(ShapeOf(manifest, name, *backend_));
    record_.models.push_back({.id = manifest.id(),
                              .name = name,
                              .file_bytes = manifest.file_bytes(),
                              .complete = true,
                              .trained_context = manifest.config()->context,
                              .layers = manifest.config()->layers,
                              .architecture = manifest.config()->architecture,
                              .pulled = pulled,
                              .content = pulled ? Hash256{} : pulls_->ContentOf(name)});
  };
  const auto add_file = [&](const std::shared_ptr<const store::ModelFile>& file) {
    add(file->manifest(), models_->NameOf(file), false);
    shared.push_back({file->shared_manifest(),
                      [file](auto&&... what) { return file->TensorBytes(what...); }, nullptr});
  };
  const auto reader_of = [this](const std::shared_ptr<const store::Manifest>& manifest) {
    return [cache = tensors_, manifest](auto&&... what) {
      return cache->TensorBytes(*manifest, what...);
    };
  };
  pulled_version_ = tensors_->models_version();
  // First: what is here as a whole takes the place of its parts.
  for (const auto& manifest : tensors_->Parts()) {
    shared.push_back({manifest, reader_of(manifest),
                      [cache = tensors_, manifest] { return cache->Held(*manifest); }});
  }
  for (const auto& file : models_->All()) add_file(file);
  for (const auto& file : models_->Adapters()) add_file(file);
  for (const store::PulledModel& model : PulledModels()) {
    add(*model.manifest, model.name, true);
    shared.push_back({model.manifest, reader_of(model.manifest), nullptr});
  }
  bulk_.Share(std::move(shared));
  Feed(std::move(shapes));
  FeedRecord();
}

size_t NodeImpl::EndRequests() {
  return requests_->EndAll({ErrorCode::kDisconnected, "this node was stopped by its user"});
}

void NodeImpl::Shutdown(std::function<void()> done) {
  Feed(cluster::Leave{"stopped by its user"});
  pulls_->Cancel();
  discovery_.reset();
  for (auto& [unused, runner] : std::exchange(runners_, {})) {
    // Joining can take as long as one work item: not on the loop.
    const bool begun = jobs_.Run(
        Jobs::Class::kJoin, {},
        [stopped = std::shared_ptr<engine::InstanceRunner>(std::move(runner))](
            const std::atomic<bool>&) mutable {
          stopped.reset();
          return true;
        },
        [](bool) {});
    CHECK(begun);
  }
  peers_->Leave(std::move(done));
}

// Is there progress on the nodes of every instance that is led here?
void NodeImpl::WatchRunners() {
  const std::vector<cluster::NodeStatus> nodes = core_->Nodes();
  for (const cluster::ReservationStatus& held : core_->ReservationsHeld()) {
    engine::InstanceRunner* runner = held.stage == 0 ? RunnerOf(held.plan.id) : nullptr;
    if (runner == nullptr) continue;
    uint64_t progress = backend_->items_done();
    for (const cluster::NodeStatus& node : nodes) {
      if (!node.self && wire::StageOf(held.plan, node.record.id) >= 0) progress += node.progress;
    }
    runner->Watch(progress, sys::Now());
  }
}

void NodeImpl::OnTick() {
  if (ticks_ == kSettingsCheck) CheckAdaptersOfSettings();
  if (++ticks_ % 10 == 0) {
    Feed(cluster::LocalProgress{backend_->items_done()});
    WatchRunners();
    LearnSpeed();
    LookAtLinks();
    StayAwakeForAnswers();
    stages_.DropExpired(sys::Now());
    moved_.DropExpired(sys::Now());
    if (pulled_version_ != tensors_->models_version()) OnModelsChanged();
  }
  YieldLink();
  NoteLoad();
  LookAtHealth();
  if (conversations_) conversations_->OnTick();
  std::vector<cluster::LocalLoad> loads;  // an event may end a runner
  for (const auto& [plan, runner] : runners_) loads.push_back({plan, runner->queued()});
  for (const cluster::LocalLoad& load : loads) Feed(load);
  Feed(cluster::Tick{.wall_ms = WallMilliseconds()});
  tick_.Start(cluster::kTickInterval, [this] { OnTick(); });
}

// What they take is no longer there for stages, unless the user has said what is.
void NodeImpl::NoteVocabularies() {
  if (options_.memory_limit) return;
  const uint64_t budget = backend_->device().memory_budget;
  record_.devices[0].memory_budget = budget - std::min(budget, vocabularies_->bytes());
  FeedRecord();
}

// The device's load in quarters: a finer one would send every member a new record all the time.
void NodeImpl::NoteLoad() {
  const Time now = sys::Now();
  if (now - busy_at_ < kLoadPeriod) return;
  const std::chrono::nanoseconds busy = backend_->busy();
  const double part = std::chrono::duration<double>(busy - busy_).count() /
                      std::chrono::duration<double>(now - busy_at_).count();
  busy_ = busy;
  busy_at_ = now;
  const double load = std::min(1.0, std::round(part * 4) / 4);
  if (load == record_.devices[0].load) return;
  record_.devices[0].load = load;
  FeedRecord();
}

Result<std::unique_ptr<Node>> Node::Start(net::EventLoop& loop, NodeOptions options) {
  auto node = std::make_unique<NodeImpl>(loop, std::move(options));
  TRY(node->Init());
  return node;
}

}  // namespace exo::node
