#include "node/node.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "backend/cpu/cpu.h"
#include "base/check.h"
#include "base/log.h"
#include "cluster/core.h"
#include "cluster/plan.h"
#include "kernels/float_mode.h"
#include "kernels/numerics.h"
#include "net/discovery.h"
#include "net/identity.h"
#include "net/peers.h"
#include "net/secret.h"
#include "node/bulk_server.h"
#include "node/instance_runner.h"
#include "node/load_stage.h"
#include "node/measure.h"
#include "node/models.h"
#include "node/requests.h"
#include "node/shape.h"
#include "node/version.h"
#include "store/state.h"
#include "sys/files.h"
#include "sys/system.h"
#include "sys/task_queue.h"

namespace exo::node {
namespace {

using cluster::Effect;
using cluster::Event;

// Left for the rest of the system and for exo itself: a tenth of the machine, within these bounds.
constexpr uint64_t kReserveLeast = 64 * kMiB;
constexpr uint64_t kReserveMost = 1 * kGiB;
// Sockets get this long to deliver goodbyes.
constexpr Time kFarewell = std::chrono::milliseconds(100);

uint64_t MemoryBudget(const NodeOptions& options, const sys::MemoryInfo& memory) {
  if (options.memory_limit) return *options.memory_limit;
  const uint64_t reserve = std::clamp(memory.total / 10, kReserveLeast, kReserveMost);
  return memory.available > reserve ? memory.available - reserve : 0;
}

Time FromMilliseconds(double ms) {
  return std::chrono::duration_cast<Time>(std::chrono::duration<double, std::milli>(ms));
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
    if (auto saved = state_.Admit(id, std::string(name)); !saved) LOG(kError, "{}", saved.error().message);
  }

 private:
  store::State& state_;
};

class NodeImpl final : public Node, private net::PeerEvents, private RequestHost {
 public:
  NodeImpl(net::EventLoop& loop, NodeOptions options)
      : loop_(loop), options_(std::move(options)), tasks_(2), tick_(loop), farewell_(loop) {}
  ~NodeImpl() override {
    *alive_ = false;
    requests_.reset();
    discovery_.reset();
    runners_.clear();
    peers_.reset();
  }

  Result<void> Init();

  // --- Node ---
  uint16_t port() const override { return peers_->port(); }
  const NodeId& id() const override { return identity_->id(); }
  std::string Describe() const override {
    return fmt::format("{}; {} for models", backend_->Describe(), FormatSize(record_.memory_budget));
  }
  void SetApiPort(uint16_t port) override {
    record_.api_port = port;
    FeedRecord();
  }
  void Shutdown(std::function<void()> done) override;

  // --- Api ---
  std::unique_ptr<Generation> Generate(GenerateRequest request, GenerateSink& sink) override {
    return requests_->Start(std::move(request), sink);
  }
  std::vector<ModelView> Models() const override;
  ClusterView Cluster() const override;
  void MakePlan(std::string model, bool spread, std::function<void(Result<PlanView>)> done) override;
  void AddModel(std::string path, std::function<void(Result<std::string>)> done) override;
  void Load(std::string model, bool spread, std::function<void(Result<PlanView>)> done) override;
  void Unload(std::string model, std::function<void(Result<void>)> done) override;

 private:
  // --- net::PeerEvents ---
  void OnUp(const NodeId& peer, const wire::Hello& hello, const wire::Address& address) override {
    refusals_.erase(peer);
    Feed(cluster::SessionUp{peer, hello.boot_nonce, hello.name, address});
  }
  void OnDown(const NodeId& peer, const std::string& reason) override { Feed(cluster::SessionDown{peer, reason}); }
  void OnMessage(const NodeId& peer, wire::Message message) override;
  void OnRefused(const net::Refused& refused) override;
  bool WantsLink(const NodeId& peer, const wire::Hello& hello) override;
  void OnLink(std::unique_ptr<net::DataLink> link, const NodeId& peer, const wire::Hello& hello) override;

  // --- RequestHost ---
  void FindModel(const std::string& name, std::function<void(Result<ModelId>)> done) override;
  void GetVocabulary(const ModelId& model,
                     std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done) override;
  uint32_t ContextOf(const ModelId& model) const override;
  void Ensure(const ModelId& model, bool spread, std::function<void(Result<wire::Plan>)> done) override;
  void Submit(wire::Submit submit, const ModelId& model) override {
    Feed(cluster::SubmitLocal{std::move(submit), model});
  }
  void CancelRequest(const RequestId& request) override { Feed(cluster::CancelLocal{request}); }
  std::string NameOf(const NodeId& node) const override;

  Result<void> StartPeers();
  void StartDiscovery();
  void MeasureInBackground();
  void WhenReady(std::function<void()> action);
  void CheckReady();
  void OnModelsChanged();
  void FeedRecord() { Feed(cluster::LocalRecord{record_}); }

  // Events go in one at a time, effects out in order; an effect that causes an event queues it.
  void Feed(Event event);
  void Apply(Effect effect);
  void Do(cluster::Send& effect) { peers_->Send(effect.peer, effect.message); }
  void Do(cluster::Disconnect& effect) { peers_->Close(effect.peer, effect.reason); }
  void Do(cluster::Dial& effect) { peers_->AddHint(effect.peer, effect.addresses); }
  void Do(cluster::StartLoad& effect);
  void Do(cluster::StartServing& effect);
  void Do(cluster::StopInstance& effect);
  void Do(cluster::HeadSubmit& effect);
  void Do(cluster::HeadCancel& effect);
  void Do(cluster::EnsureReply& effect);
  void Do(cluster::UnloadReply& effect);
  void Do(cluster::RequestTokens& effect) { requests_->OnTokens(effect.request, effect.tokens); }
  void Do(cluster::RequestFinished& effect) { requests_->OnFinished(effect.finished); }
  void Do(cluster::Changed&) {}

  void OnTick();
  RunnerEvents EventsFor(const PlanId& plan);
  net::DialOptions DialTo(const NodeId& node, wire::Channel channel, const PlanId& plan) const;
  std::vector<NodeId> HoldersOf(const ModelId& model) const;
  std::vector<std::string> KnownNames() const;
  void PullVocabulary(const ModelId& model, std::vector<net::DialOptions> holders,
                      std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done);
  PlanView ViewOf(const wire::Plan& plan) const;
  InstanceRunner* RunnerOf(const PlanId& plan) {
    const auto found = runners_.find(plan);
    return found == runners_.end() ? nullptr : found->second.get();
  }

  // Posts `work` to the loop unless this node is gone by then.
  auto OnLoop(auto work) {
    return [this, alive = alive_, work = std::move(work)](auto... arguments) mutable {
      loop_.Post([alive, work, ... arguments = std::move(arguments)]() mutable {
        if (*alive) work(std::move(arguments)...);
      });
    };
  }

  net::EventLoop& loop_;
  NodeOptions options_;
  std::unique_ptr<store::State> state_;
  std::unique_ptr<StoredTrust> trust_;
  std::unique_ptr<net::Identity> identity_;
  std::unique_ptr<net::ClusterSecret> secret_;
  const kernels::Kernels* kernels_ = nullptr;
  std::unique_ptr<sys::ThreadPool> pool_;
  std::unique_ptr<backend::Backend> backend_;
  wire::NodeRecord record_;
  std::unique_ptr<cluster::Core> core_;
  std::unique_ptr<class Models> models_;
  std::unique_ptr<Requests> requests_;
  std::unique_ptr<net::Peers> peers_;
  std::unique_ptr<net::Discovery> discovery_;
  BulkServer bulk_;
  // Joined before what the tasks use (declared above) goes away.
  sys::TaskQueue tasks_;
  net::Timer tick_, farewell_;

  std::map<PlanId, std::unique_ptr<InstanceRunner>> runners_;
  std::map<PlanId, std::unique_ptr<net::DataLink>> early_links_;  // dialled before StartServing came
  std::map<PlanId, cluster::Prediction> predictions_;
  std::map<NodeId, std::string> refusals_;
  std::map<uint64_t, std::function<void(Result<wire::InstanceSummary>)>> ensures_;
  std::map<uint64_t, std::function<void(Result<void>)>> unloads_;
  std::deque<Event> events_;
  std::vector<std::function<void()>> waiting_;  // for measurement and first scan
  std::function<void()> shutdown_done_;
  const uint64_t boot_nonce_ = sys::RandomValue<uint64_t>();
  uint64_t next_ticket_ = 1;
  uint64_t ticks_ = 0;
  bool measured_ = false;
  bool feeding_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// ---- start and stop --------------------------------------------------------------------------------

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
  models_ = std::make_unique<class Models>(loop_, tasks_, *state_, options_.data_folder + "/prepared");
  requests_ = std::make_unique<Requests>(loop_, tasks_, static_cast<RequestHost&>(*this));
  TRY(StartPeers());
  StartDiscovery();
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
  auto peers = net::Peers::Start(loop_, *identity_, secret_.get(), *trust_, *this, options);
  if (!peers && !options_.port_required && options_.port != 0) {
    options.port = 0;
    peers = net::Peers::Start(loop_, *identity_, secret_.get(), *trust_, *this, options);
  }
  peers_ = TRY(std::move(peers));
  for (const std::string& peer : options_.peers) TRY(peers_->AddStaticPeer(peer));
  return {};
}

void NodeImpl::StartDiscovery() {
  if (!options_.discovery) return;
  net::DiscoveryOptions options;
  options.scope = options_.loopback ? net::DiscoveryScope::kLoopback : net::DiscoveryScope::kLan;
  options.port = peers_->port();
  discovery_ = net::Discovery::Start(loop_, secret_.get(), options, [this](const net::Found& found) {
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
  shutdown_done_ = std::move(done);
  for (auto& [unused, runner] : std::exchange(runners_, {})) {
    // Joining can take as long as one work item: not on the loop.
    tasks_.Post([stopped = std::shared_ptr<InstanceRunner>(std::move(runner))]() mutable { stopped.reset(); });
  }
  farewell_.Start(kFarewell, [this] { shutdown_done_(); });
}

void NodeImpl::OnTick() {
  if (++ticks_ % 10 == 0) Feed(cluster::LocalProgress{pool_->items_done()});
  Feed(cluster::Tick{});
  tick_.Start(cluster::kTickInterval, [this] { OnTick(); });
}

// ---- events in, effects out ------------------------------------------------------------------------

void NodeImpl::Feed(Event event) {
  events_.push_back(std::move(event));
  if (feeding_) return;
  feeding_ = true;
  while (!events_.empty()) {
    const Event next = std::move(events_.front());
    events_.pop_front();
    for (Effect& effect : core_->Step(next, sys::Now())) Apply(std::move(effect));
  }
  feeding_ = false;
}

void NodeImpl::Apply(Effect effect) {
  std::visit([this](auto& what) { Do(what); }, effect);
}

RunnerEvents NodeImpl::EventsFor(const PlanId& plan) {
  return {
      .on_progress = OnLoop([this, plan](uint64_t done, uint64_t total) {
        Feed(cluster::LoadProgressed{plan, done, total});
      }),
      .on_loaded = OnLoop([this, plan](Result<void> result, uint64_t milliseconds) {
        if (RunnerOf(plan) != nullptr) Feed(cluster::LoadFinished{plan, std::move(result), milliseconds});
      }),
      .on_failed = OnLoop([this, plan](Error error, NodeId lost) {
        if (RunnerOf(plan) != nullptr) Feed(cluster::StageFailed{plan, std::move(error), lost});
      }),
      .on_tokens = OnLoop([this](RequestId request, std::vector<TokenId> tokens) {
        Feed(cluster::HeadEmitted{request, std::move(tokens)});
      }),
      .on_finished = OnLoop([this](wire::Finished finished) { Feed(cluster::HeadFinished{std::move(finished)}); }),
  };
}

net::DialOptions NodeImpl::DialTo(const NodeId& node, wire::Channel channel, const PlanId& plan) const {
  return {.addresses = peers_->AddressesOf(node), .expected = node, .hello = peers_->LinkHello(channel, plan)};
}

void NodeImpl::Do(cluster::StartLoad& effect) {
  RunnerOptions options;
  options.plan = effect.plan;
  options.stage = effect.stage;
  options.self = identity_->id();
  for (const wire::StagePlan& stage : effect.plan.stages) options.names.push_back(NameOf(stage.node));
  options.file = models_->Find(effect.plan.model);
  options.pull_folder = options_.data_folder + "/tensors";
  for (const NodeId& holder : HoldersOf(effect.plan.model)) {
    options.holders.push_back(DialTo(holder, wire::Channel::kBulk, effect.plan.id));
  }
  if (effect.stage == 0) {
    for (const auto& model : models_->All()) {
      if (model->manifest().id() != effect.plan.model) continue;
      const auto prediction = cluster::Predict(ShapeOf(model->manifest(), model->name(), *backend_),
                                               core_->PlannerNodes(), effect.plan);
      for (const double ms : prediction.stage_decode_ms) options.predicted_decode += FromMilliseconds(ms);
      for (const double ms : prediction.stage_chunk_ms) options.predicted_chunk += FromMilliseconds(ms);
    }
  }
  const PlanId plan = effect.plan.id;
  runners_[plan] = InstanceRunner::Start(*identity_, *backend_, std::move(options), EventsFor(plan));
}

void NodeImpl::Do(cluster::StartServing& effect) {
  InstanceRunner* runner = RunnerOf(effect.plan.id);
  if (runner == nullptr) return;
  const size_t stages = effect.plan.stages.size();
  if (const auto early = early_links_.find(effect.plan.id); early != early_links_.end()) {
    runner->GiveLink(std::move(early->second));
    early_links_.erase(early);
  }
  net::DialOptions next;
  if (stages > 1) {
    next = DialTo(effect.plan.stages[(effect.stage + 1) % stages].node, wire::Channel::kData, effect.plan.id);
  }
  runner->Serve(std::move(next));
}

void NodeImpl::Do(cluster::StopInstance& effect) {
  early_links_.erase(effect.plan);
  const auto found = runners_.find(effect.plan);
  std::shared_ptr<InstanceRunner> runner;
  if (found != runners_.end()) {
    runner = std::move(found->second);
    runners_.erase(found);
  }
  // Joining can take as long as one work item: not on the loop.
  tasks_.Post([stopped = std::move(runner), done = OnLoop([this, plan = effect.plan] {
                                              Feed(cluster::StageStopped{plan});
                                            })]() mutable {
    stopped.reset();
    done();
  });
}

void NodeImpl::Do(cluster::HeadSubmit& effect) {
  if (InstanceRunner* runner = RunnerOf(effect.submit.plan)) runner->Submit(std::move(effect.submit));
}

void NodeImpl::Do(cluster::HeadCancel& effect) {
  if (InstanceRunner* runner = RunnerOf(effect.plan)) runner->Cancel(effect.request);
  // The other stages may be in the middle of this request's chunk.
  const wire::Plan* plan = core_->PlanOfSlot(effect.plan);
  if (plan == nullptr) return;
  for (const wire::StagePlan& stage : plan->stages) {
    if (stage.node != identity_->id()) peers_->Send(stage.node, wire::CancelRequest{effect.request});
  }
}

void NodeImpl::Do(cluster::EnsureReply& effect) {
  auto found = ensures_.extract(effect.ticket);
  if (!found.empty()) found.mapped()(std::move(effect.result));
}

void NodeImpl::Do(cluster::UnloadReply& effect) {
  auto found = unloads_.extract(effect.ticket);
  if (!found.empty()) found.mapped()(std::move(effect.result));
}

// ---- peers -----------------------------------------------------------------------------------------

void NodeImpl::OnMessage(const NodeId& peer, wire::Message message) {
  if (const auto* cancel = std::get_if<wire::CancelRequest>(&message)) {
    for (const auto& [unused, runner] : runners_) runner->Abandon(cancel->request);
  }
  Feed(cluster::Received{peer, std::move(message)});
}

void NodeImpl::OnRefused(const net::Refused& refused) {
  LOG(kInfo, "{} {}:{}: {}", refused.by_peer ? "refused by" : "refused", refused.address.host, refused.address.port,
      refused.reason);
  if (refused.id) Feed(cluster::PeerRefused{*refused.id, refused.reason});
}

bool NodeImpl::WantsLink(const NodeId& peer, const wire::Hello& hello) {
  if (hello.channel == wire::Channel::kBulk) return true;
  const wire::Plan* plan = core_->PlanOfSlot(hello.plan);
  if (plan == nullptr) return false;
  const int own = cluster::StageOf(*plan, identity_->id());
  const size_t stages = plan->stages.size();
  return own >= 0 && plan->stages[(static_cast<size_t>(own) + stages - 1) % stages].node == peer;
}

void NodeImpl::OnLink(std::unique_ptr<net::DataLink> link, const NodeId&, const wire::Hello& hello) {
  if (hello.channel == wire::Channel::kBulk) {
    bulk_.Serve(std::move(link));
  } else if (InstanceRunner* runner = RunnerOf(hello.plan)) {
    runner->GiveLink(std::move(link));
  } else {
    early_links_[hello.plan] = std::move(link);
  }
}

std::string NodeImpl::NameOf(const NodeId& node) const {
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    if (status.record.id == node) return status.record.name;
  }
  return node.Short();
}

// ---- models ----------------------------------------------------------------------------------------

std::vector<NodeId> NodeImpl::HoldersOf(const ModelId& model) const {
  std::vector<NodeId> holders;
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    if (status.self || status.state != cluster::PeerState::kAlive) continue;
    for (const wire::ModelHolding& holding : status.record.models) {
      if (holding.id == model && holding.complete) holders.push_back(status.record.id);
    }
  }
  return holders;
}

std::vector<std::string> NodeImpl::KnownNames() const {
  std::set<std::string> names;
  for (const ModelView& model : Models()) names.insert(model.name);
  return {names.begin(), names.end()};
}

void NodeImpl::FindModel(const std::string& name, std::function<void(Result<ModelId>)> done) {
  WhenReady([this, name, done = std::move(done)] {
    // One name must mean one file everywhere, or two devices would answer differently.
    std::map<ModelId, std::string> matches;
    for (const cluster::NodeStatus& status : core_->Nodes()) {
      if (!status.self && status.state != cluster::PeerState::kAlive) continue;
      for (const wire::ModelHolding& holding : status.record.models) {
        if (holding.name == name || holding.id.Hex() == name) matches.emplace(holding.id, status.record.name);
      }
    }
    if (const auto file = models_->Find(name)) matches.emplace(file->manifest().id(), record_.name);
    if (matches.size() == 1) return done(matches.begin()->first);
    if (matches.empty()) {
      return done(Fail(ErrorCode::kNotFound, "there is no model '{}'; known models: {}", name,
                       fmt::join(KnownNames(), ", ")));
    }
    std::string where;
    for (const auto& [id, node] : matches) where += fmt::format("{}{} on {}", where.empty() ? "" : ", ", id.Short(), node);
    done(Fail(ErrorCode::kInvalid, "the name '{}' stands for different files: {}; rename all but one", name, where));
  });
}

void NodeImpl::GetVocabulary(const ModelId& model,
                             std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done) {
  if (const auto file = models_->Find(model)) return models_->LoadVocabulary(file->shared_manifest(), std::move(done));
  if (auto known = models_->FindVocabulary(model)) return done(std::move(known));
  std::vector<net::DialOptions> holders;
  for (const NodeId& holder : HoldersOf(model)) holders.push_back(DialTo(holder, wire::Channel::kBulk, PlanId{}));
  PullVocabulary(model, std::move(holders), std::move(done));
}

void NodeImpl::PullVocabulary(const ModelId& model, std::vector<net::DialOptions> holders,
                              std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done) {
  tasks_.Post([this, model, holders = std::move(holders),
               finish = OnLoop([this, done = std::move(done)](Result<std::shared_ptr<const store::Manifest>> manifest) {
                 if (!manifest) return done(std::unexpected(manifest.error()));
                 models_->LoadVocabulary(*manifest, done);
               })]() mutable {
    Result<std::shared_ptr<const store::Manifest>> manifest =
        Fail(ErrorCode::kDisconnected, "no member that holds the model can be reached");
    for (const net::DialOptions& holder : holders) {
      manifest = PullManifest(*identity_, holder, model);
      if (manifest) break;
    }
    finish(std::move(manifest));
  });
}

uint32_t NodeImpl::ContextOf(const ModelId& model) const {
  for (const cluster::InstanceStatus& instance : core_->Instances()) {
    const wire::InstanceSummary& summary = instance.summary;
    if (summary.plan.model == model && summary.state <= wire::InstanceState::kReady) return summary.plan.context;
  }
  const auto file = models_->Find(model);
  const uint32_t trained = file == nullptr ? options_.default_context : file->manifest().config()->context;
  return std::min(trained, options_.default_context);
}

void NodeImpl::Ensure(const ModelId& model, bool spread, std::function<void(Result<wire::Plan>)> done) {
  WhenReady([this, model, spread, done = std::move(done)] {
    const uint64_t ticket = next_ticket_++;
    ensures_[ticket] = [done](Result<wire::InstanceSummary> summary) {
      if (!summary) return done(std::unexpected(summary.error()));
      done(summary->plan);
    };
    Feed(cluster::EnsureModel{.ticket = ticket, .model = model, .spread = spread, .context = ContextOf(model)});
  });
}

// ---- Api -------------------------------------------------------------------------------------------

std::vector<ModelView> NodeImpl::Models() const {
  std::map<ModelId, ModelView> views;
  for (const auto& file : models_->All()) {
    const model::ModelConfig& config = *file->manifest().config();
    views[file->manifest().id()] = {.name = file->name(),
                                    .id = file->manifest().id(),
                                    .bytes = file->manifest().file_bytes(),
                                    .architecture = config.architecture,
                                    .context = config.context,
                                    .layers = config.layers,
                                    .created = file->created(),
                                    .local = true,
                                    .state = ""};
  }
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    if (status.self || status.state != cluster::PeerState::kAlive) continue;
    for (const wire::ModelHolding& holding : status.record.models) {
      views.try_emplace(holding.id, ModelView{.name = holding.name, .id = holding.id, .bytes = holding.file_bytes});
    }
  }
  for (const cluster::InstanceStatus& instance : core_->Instances()) {
    const auto found = views.find(instance.summary.plan.model);
    if (found == views.end()) continue;
    if (instance.summary.state == wire::InstanceState::kReady) {
      found->second.state = "ready";
    } else if (instance.summary.state < wire::InstanceState::kReady && found->second.state.empty()) {
      found->second.state = "loading";
    }
  }
  std::vector<ModelView> models;
  for (auto& [unused, view] : views) models.push_back(std::move(view));
  std::sort(models.begin(), models.end(), [](const ModelView& a, const ModelView& b) { return a.name < b.name; });
  return models;
}

ClusterView NodeImpl::Cluster() const {
  ClusterView view;
  view.self = identity_->id();
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    view.nodes.push_back({.record = status.record,
                          .state = status.self ? "self" : cluster::PeerStateName(status.state),
                          .detail = status.detail,
                          .rtt_ms = status.rtt_ms});
  }
  for (const cluster::InstanceStatus& instance : core_->Instances()) {
    view.instances.push_back({.summary = instance.summary,
                              .reason = instance.reason,
                              .predicted_tokens_per_second = instance.prediction.decode_tokens_per_second});
  }
  view.neighbours_of_other_clusters = discovery_ == nullptr ? 0 : discovery_->foreign_nodes();
  return view;
}

PlanView NodeImpl::ViewOf(const wire::Plan& plan) const {
  PlanView view{.plan = plan};
  for (const cluster::InstanceStatus& instance : core_->Instances()) {
    if (instance.summary.plan.id != plan.id) continue;
    view.reason = instance.reason;
    view.predicted_tokens_per_second = instance.prediction.decode_tokens_per_second;
    view.predicted_prompt_per_second = instance.prediction.prefill_tokens_per_second;
  }
  for (const wire::StagePlan& stage : plan.stages) view.node_names.push_back(NameOf(stage.node));
  return view;
}

void NodeImpl::MakePlan(std::string model, bool spread, std::function<void(Result<PlanView>)> done) {
  const auto plan = [this, spread, done](Result<std::shared_ptr<const store::ModelFile>> file) {
    if (!file) return done(std::unexpected(file.error()));
    WhenReady([this, spread, done, file = *file] {
      cluster::PlanOptions options;
      options.owner = options.prefer = identity_->id();
      options.spread = spread;
      options.context = ContextOf(file->manifest().id());
      auto choice = cluster::MakePlan(ShapeOf(file->manifest(), file->name(), *backend_), core_->PlannerNodes(), options);
      if (!choice) return done(std::unexpected(choice.error()));
      PlanView view{.plan = choice->plan,
                    .reason = choice->reason,
                    .predicted_tokens_per_second = choice->prediction.decode_tokens_per_second,
                    .predicted_prompt_per_second = choice->prediction.prefill_tokens_per_second};
      for (const wire::StagePlan& stage : choice->plan.stages) view.node_names.push_back(NameOf(stage.node));
      done(std::move(view));
    });
  };
  WhenReady([this, model, plan, done] {
    if (auto file = models_->Find(model)) return plan(std::move(file));
    if (model.find('/') != std::string::npos) return models_->Open(model, plan);
    done(Fail(ErrorCode::kNotFound, "this device has no model '{}'; known here: {}", model, fmt::join(KnownNames(), ", ")));
  });
}

void NodeImpl::AddModel(std::string path, std::function<void(Result<std::string>)> done) {
  models_->Add(std::move(path), [this, done](Result<std::shared_ptr<const store::ModelFile>> file) {
    if (!file) return done(std::unexpected(file.error()));
    OnModelsChanged();
    done((*file)->name());
  });
}

void NodeImpl::Load(std::string model, bool spread, std::function<void(Result<PlanView>)> done) {
  FindModel(model, [this, spread, done](Result<ModelId> id) {
    if (!id) return done(std::unexpected(id.error()));
    Ensure(*id, spread, [this, done](Result<wire::Plan> plan) {
      if (!plan) return done(std::unexpected(plan.error()));
      done(ViewOf(*plan));
    });
  });
}

void NodeImpl::Unload(std::string model, std::function<void(Result<void>)> done) {
  FindModel(model, [this, done](Result<ModelId> id) {
    if (!id) return done(std::unexpected(id.error()));
    const uint64_t ticket = next_ticket_++;
    unloads_[ticket] = done;
    Feed(cluster::UnloadModel{.ticket = ticket, .model = *id});
  });
}

}  // namespace

Result<std::unique_ptr<Node>> Node::Start(net::EventLoop& loop, NodeOptions options) {
  auto node = std::make_unique<NodeImpl>(loop, std::move(options));
  TRY(node->Init());
  return node;
}

}  // namespace exo::node
