// What Node is inside: the pure cluster core between real sessions, runners, tasks and timers.
// Events go into the core one at a time and its effects are carried out in order, all on the
// event-loop thread; only OnLoop's callbacks come from elsewhere.
//   node.cc          start and stop
//   node_effects.cc  events in, effects out, what peers bring
//   node_models.cc   models by name, their vocabulary, placement on demand
//   node_adapters.cc adapters: their files, and models that are loaded with them
//   node_desired.cc  desired models on disk
//   node_pulls.cc    models that are pulled from the internet
//   node_removal.cc  models that are removed, here or on all devices
//   node_trust.cc    who takes part: trust that changes, inviting, joining, forgetting
//   node_speed.cc    how fast this device is
//   node_links.cc    how fast its ways to other members are
//   node_health.cc   how it is, and what it holds back for that
//   node_requests.cc what is told of requests
//   node_metrics.cc  figures for monitoring
//   node_api.cc      what the HTTP service and the command line ask
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cluster/core.h"
#include "engine/runner.h"
#include "net/discovery.h"
#include "net/identity.h"
#include "net/peers.h"
#include "net/secret.h"
#include "node/audit_log.h"
#include "node/bulk_server.h"
#include "node/conversation_keeper.h"
#include "node/doctor.h"
#include "node/event_log.h"
#include "node/inviter.h"
#include "node/jobs.h"
#include "node/joining.h"
#include "node/link_keeper.h"
#include "node/live_speed.h"
#include "node/model_source.h"
#include "node/models.h"
#include "node/moved_source.h"
#include "node/node.h"
#include "node/presets.h"
#include "node/pulls.h"
#include "node/removal.h"
#include "node/requests.h"
#include "node/share_policy.h"
#include "node/state_watch.h"
#include "node/stay_awake.h"
#include "node/trust_keeper.h"
#include "node/vocabulary.h"
#include "store/prefix_store.h"
#include "store/state.h"
#include "store/tensor_cache.h"
#include "sys/cgroup.h"
#include "sys/files.h"
#include "sys/health.h"
#include "sys/login.h"
#include "sys/system.h"

namespace exo::node {

// In words, and whether two lists mean the same.
std::string NamesOf(const std::vector<wire::AdapterRef>& adapters);
bool SameAdapters(const std::vector<wire::AdapterRef>& a, const std::vector<wire::AdapterRef>& b);

class NodeImpl final : public Node,
                       private Pairing,
                       private net::PeerEvents,
                       private RequestHost,
                       private ConversationPeers {
 public:
  NodeImpl(net::EventLoop& loop, NodeOptions options)
      : loop_(loop), options_(std::move(options)), jobs_(loop), tick_(loop) {}
  ~NodeImpl() override {
    *alive_ = false;
    pulls_.reset();
    jobs_.Stop();
    FlushDesired();
    if (trust_) trust_->Flush();
    if (audit_) audit_->Flush();
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
    return fmt::format("{}; {} for models", backend_->Describe(),
                       FormatSize(backend_->device().memory_budget));
  }
  void SetApiPort(uint16_t port) override {
    record_.api_port = port;
    FeedRecord();
  }
  size_t EndRequests() override;
  void Shutdown(std::function<void()> done) override;

  // --- Api ---
  std::unique_ptr<Generation> Generate(GenerateRequest request, GenerateSink& sink) override {
    if (auto member = CheckIsMember(); !member) {
      sink.OnError({member.error()});
      return nullptr;
    }
    return requests_->Start(std::move(request), sink);
  }
  void Tokenize(GenerateRequest request,
                std::function<void(Result<TokenizedPrompt>)> done) override;
  void Detokenize(std::string model, std::vector<TokenId> ids,
                  std::function<void(Result<std::string>)> done) override;
  void DescribeModel(
      std::string model,
      std::function<void(Result<std::shared_ptr<const ModelDetails>>)> done) override;
  std::vector<ModelView> Models() const override;
  std::shared_ptr<const Preset> FindPreset(const std::string& name) const override {
    return presets_.Find(name);
  }
  void SavePreset(Preset preset, std::function<void(Result<void>)> done) override;
  ClusterView Cluster() const override;
  NodeMetrics Metrics() const override;
  std::vector<RequestView> RequestList() const override;
  uint64_t RequestListVersion() const override { return requests_->records().version(); }
  std::optional<RequestView> FindRequest(const RequestId& call) const override;
  std::optional<RequestTrace> TraceOf(const RequestId& call) const override;
  bool CancelCall(const RequestId& call) override { return requests_->Cancel(call); }
  Result<ModelPlace> FindPlace(const std::string& model) const override;
  void Diagnose(std::function<void(std::vector<Finding>)> done) override;
  Subscribed Subscribe(std::optional<uint64_t> since, EventWatcher& watcher) override {
    return log_.Subscribe(since, watcher);
  }
  void MakePlan(std::string model, const Placing& placing,
                std::function<void(Result<PlanView>)> done) override;
  void AddModel(std::string path, std::function<void(Result<std::string>)> done) override;
  std::unique_ptr<Pulling> Pull(std::string model, PullWatcher& watcher) override;
  std::vector<PullView> PullList() const override { return pulls_->List(); }
  void Load(std::string model, const Placing& placing,
            std::function<void(Result<PlanView>)> done) override;
  void Unload(std::string model, bool when_idle, std::function<void(Result<void>)> done) override;
  void RemoveModel(std::string model, bool everywhere,
                   std::function<void(Result<std::vector<RemovalView>>)> done) override;
  Pairing& pairing() override { return *this; }
  class Conversations* conversations() override { return conversations_.get(); }

 private:
  // --- Pairing ---
  Result<InviteView> Invite(bool guest) override;
  void Join(JoinRequest request, std::function<void(Result<JoinView>)> done) override;
  void Approve(std::string device, bool guest,
               std::function<void(Result<TrustedView>)> done) override;
  void Forget(std::string device, std::function<void(Result<TrustedView>)> done) override;
  void RotateSecret(std::function<void(Result<void>)> done) override;
  void RotateKey(std::function<void(Result<TrustedView>)> done) override;
  std::vector<TrustedView> Trusted() const override;
  Result<std::string> Secret() const override;

  // --- net::PeerEvents ---
  void OnUp(const NodeId& peer, const wire::Hello& hello, const wire::Address& address) override {
    Remember(peer, address);
    peers_->Send(peer, trust_->trust().UpdateFor(peer));
    Feed(cluster::SessionUp{peer, hello.boot_nonce, hello.name, address});
    OnLinkUp(peer);
    if (conversations_) conversations_->OnUp(peer);
  }
  void OnDown(const NodeId& peer, const std::string& reason) override {
    Feed(cluster::SessionDown{peer, reason});
    OnLinkDown(peer);
    if (conversations_) conversations_->OnDown(peer);
  }
  void OnMessage(const NodeId& peer, wire::Message message) override;
  void OnRefused(const net::Refused& refused) override;
  bool WantsLink(const NodeId& peer, const wire::Hello& hello) override;
  void OnLink(std::unique_ptr<engine::DataLink> link, const NodeId& peer,
              const wire::Hello& hello) override;

  RequestView ViewOf(const RequestRecord& record, const cluster::NameOf& name_of) const;
  void AddDeviceMetrics(NodeMetrics& metrics) const;
  void AddLeadMetrics(NodeMetrics& metrics) const;
  // --- ConversationPeers ---
  bool IsMember(const NodeId& node) const override {
    const cluster::Trust& trust = trust_->trust();
    return (node == identity_->id() || trust.IsTrusted(node)) && !trust.IsGuest(node);
  }
  std::vector<NodeId> SessionsUp() const override { return peers_->Up(); }
  void SendTo(const NodeId& peer, const wire::Message& message) override {
    peers_->Send(peer, message);
  }

  // --- RequestHost ---
  // A model of this node or of a member that is alive.
  struct Held {
    const wire::ModelHolding& holding;
    const std::string& device;
    bool here = false;
    // It was only pulled, and a file of its name is another model: the file was replaced since.
    bool replaced = false;
  };
  static std::vector<Held> HoldingsOf(const std::vector<cluster::NodeStatus>& nodes);
  // Holdings of a name or id, by id, with the name of a device that has it.
  std::map<ModelId, std::string> MatchesOf(const std::string& name) const;
  // Is it running or being loaded, anywhere?
  bool IsPlaced(const ModelId& model) const;
  void AnswerFind(const std::string& name, const Error& local,
                  const std::function<void(Result<ModelId>)>& done) const;
  grammar::Cache& grammars() override { return grammars_; }
  void FindModel(const std::string& name, std::function<void(Result<ModelId>)> done) override;
  void GetVocabulary(const ModelId& model,
                     std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done) override;
  // work(const Vocabulary&) -> Result<T> on the task queue; done(Result<T>, model).
  template <class Work, class Done>
  void WithVocabulary(const std::string& model, Work work, Done done);
  uint32_t ContextOf(const ModelId& model) const override;
  // The context and KV type that `placing` means for this model.
  struct Shape {
    uint32_t context = 0;
    uint8_t kv_type = 0;
    wire::Codec codec = wire::Codec::kF32;
  };
  Result<void> CheckContext(const ModelId& model, const Placing& placing) const;
  // The same with the adapters and the draft that are asked for, or that the model has.
  void PlanWithParts(cluster::PlanModel event, const Placing& placing,
                     std::function<void(Result<PlanView>)> done);
  Shape ShapeOfSettings(const ModelId& model) const;
  Shape ShapeFor(const ModelId& model, const Placing& placing) const;
  uint32_t TrainedContext(const ModelId& model) const;  // 0: unknown
  // The instances of this model that run or are being loaded, and one of them, if any.
  std::vector<wire::Plan> RunningPlans(const ModelId& model) const;
  std::optional<wire::Plan> RunningPlan(const ModelId& model) const;
  void Ensure(const ModelId& model, const Placing& placing,
              std::function<void(Result<wire::Plan>)> done) override;
  void Submit(wire::Submit submit, const ModelId& model,
              std::vector<wire::AdapterRef> adapters) override {
    Feed(cluster::SubmitLocal{std::move(submit), model, std::move(adapters)});
  }
  void CancelRequest(const RequestId& request) override { Feed(cluster::CancelLocal{request}); }
  void PauseRequest(const RequestId& request, bool paused) override {
    Feed(cluster::PauseLocal{request, paused});
  }
  std::string NameOf(const NodeId& node) const override;
  bool LogsPrompts() const override { return options_.log_prompts; }
  // What a device that has not been heard since the start was called when it was let in.
  std::string KnownNameOf(const wire::NodeRecord& record) const;
  void OnRequestChanged(const RequestId& request, const RequestChange& change) override;

  // `event` without its ticket.
  void EnsureWith(cluster::EnsureModel event, std::function<void(Result<wire::Plan>)> done);
  void RememberFile(const ModelId& id);
  void EnsureAdapted(cluster::EnsureModel event, std::vector<AdapterChoice> wanted,
                     std::function<void(Result<wire::Plan>)> done);
  // A draft model for a model: a file of this node that speaks the same tokens.
  void FindDraft(const std::string& name, const ModelId& model, uint32_t context,
                 std::function<void(Result<wire::DraftRef>)> done);
  // Those that the settings name for this model.
  std::vector<AdapterChoice> AdaptersOfSettings(const ModelId& model) const;
  using FoundAdapters = std::function<void(Result<std::vector<wire::AdapterRef>>)>;
  // Opens the files and checks what can be checked here. Errors name the file.
  // Warns of what the setting 'lora' names and nobody has.
  void CheckAdaptersOfSettings();
  void FindAdapters(const ModelId& model, std::vector<AdapterChoice> wanted, FoundAdapters done);
  void FindNextAdapter(const ModelId& model, std::vector<AdapterChoice> wanted,
                       std::vector<wire::AdapterRef> found, FoundAdapters done);
  Result<wire::AdapterRef> CheckAdapter(const ModelId& model, const store::ModelFile& file,
                                        float scale) const;
  std::vector<AdapterOptions> AdaptersOf(const wire::Plan& plan) const;
  void OpenPrefixStore();
  Result<void> StartPeers();
  void Remember(const NodeId& peer, const wire::Address& address);
  void ConnectToRemembered();
  void StartDiscovery();
  void StartMeasuring();
  void Measure();
  void OnMeasured(Result<backend::Speed> speed);
  void PublishSpeed();
  void MeasureFormats();
  void MeasureDisk();
  void SetCosts(const backend::WorkCosts& costs);
  void LookAtQuota();
  void LearnSpeed();
  void OnLinkUp(const NodeId& peer);
  void OnLinkDown(const NodeId& peer);
  void PublishLinks();
  std::map<NodeId, bool> QuietMembers(Time now);
  void LookAtLinks();
  void MeasureLink(const LinkKeeper::Job& job);
  void YieldLink();
  void OnLinkMeasured(const LinkKeeper::Job& job, Result<LinkFigures> figures);
  void SaveLink(const LinkKeeper::Job& job, const wire::LinkRecord& link);
  void LookAtInterfaces(Time now);
  void LookAtHealth();
  void StayAwakeForAnswers();
  void OnModelsChanged();
  // Those of which there is no file here.
  std::vector<store::PulledModel> PulledModels() const;
  std::shared_ptr<const store::Manifest> ManifestOf(const ModelId& model) const;
  void FeedRecord() { Feed(cluster::LocalRecord{record_}); }

  // Events go in one at a time, effects out in order; an effect that causes an event queues it.
  void Feed(cluster::Event event);
  void Apply(cluster::Effect effect);
  void Do(cluster::Send& effect) { peers_->Send(effect.peer, effect.message); }
  void Do(cluster::Disconnect& effect) { peers_->Close(effect.peer, effect.reason); }
  void Do(cluster::ConnectPeer& effect) { peers_->AddHint(effect.peer, effect.addresses); }
  void Do(cluster::StartLoad& effect);
  void TakeOver(const cluster::StartLoad& load, engine::RunnerOptions& options);
  uint64_t FreeMemory() const;
  void KeepPages(const PlanId& plan);
  void Do(cluster::StartServing& effect);
  void Do(cluster::StopInstance& effect);
  void Do(cluster::LeadSubmit& effect);
  void Do(cluster::LeadCancel& effect);
  void Do(cluster::LeadPause& effect) {
    if (engine::InstanceRunner* runner = RunnerOf(effect.plan))
      runner->Pause(effect.request, effect.paused);
  }
  void Do(cluster::EnsureReply& effect);
  void Do(cluster::UnloadReply& effect);
  void Do(cluster::PlanMade& effect);
  void Do(cluster::SaveDesired& effect);
  void SaveDesired();
  void FlushDesired();
  void Do(cluster::RequestTokens& effect) { requests_->OnTokens(effect); }
  void Do(cluster::RequestQueued& effect) { requests_->OnQueued(effect); }
  void Do(cluster::RequestLost& effect) { requests_->OnLost(effect); }
  void Do(cluster::RequestFinished& effect) {
    requests_->OnFinished(effect.finished, std::move(effect.stages), effect.codec);
  }
  void Do(cluster::Changed&);

  void OnTrustChanged(const cluster::Trust::Change& change);
  void SpreadTrust();
  // A member that this device trusts refuses it as none.
  bool HasForgottenThis(const NodeId& member) const;
  // Could anybody hear of a new key, if there is somebody?
  Result<void> CheckIsHeard() const;
  void TakeNextKey(const NodeId& next, std::function<void(Result<TrustedView>)> done);
  // That this device had before its last start.
  void ForgetFormerKey();
  void FeedGuests();
  Result<void> CheckIsMember() const;

  ClusterSight LookAtCluster() const;
  MemberSight LookAtMember(const cluster::NodeStatus& status) const;
  void OnTick();
  void WatchRunners();
  void NoteLoad();
  void NoteVocabularies();
  engine::RunnerEvents EventsFor(const PlanId& plan);
  net::ConnectOptions TargetOf(const NodeId& node, wire::Channel channel, const PlanId& plan) const;
  std::vector<NodeId> HoldersOf(const ModelId& model) const;
  std::vector<NodeId> MembersWithout(const ModelId& model) const;
  bool IsPinned(const ModelId& model) const;
  std::unique_ptr<engine::StageSource> SourceOfFile(const ModelId& model, const std::string& name,
                                                    const PlanId& plan) const;
  std::unique_ptr<engine::StageSource> SourceOf(const wire::Plan& plan) const;
  std::vector<std::string> KnownNames() const;
  void PullVocabulary(const ModelId& model, std::vector<net::ConnectOptions> holders,
                      std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done);
  void RestorePresets();
  void WritePresets();
  void StartPulls();
  void AnnounceDownloads();
  // Why a pulled model may not make room for another; empty: it may.
  std::string WhyItStays(const std::string& name) const;
  void NoteUse(const ModelId& model);
  // The records of members that are alive, without this one and without guests.
  std::vector<wire::NodeRecord> OtherMembers() const;
  // What a model is called here that may be named by what it was pulled as.
  std::string NameHere(const std::string& model) const;
  // What the planner says of a model that is not here yet.
  std::string DescribeRemote(const store::Manifest& manifest,
                             const fetch::RemoteModel& model) const;
  // Unloads what ran of a file that is gone.
  void UnloadRemoved(const std::shared_ptr<const store::ModelFile>& file);
  void RemovePulled(const std::string& name, const std::shared_ptr<const store::ModelFile>& file,
                    std::function<void(Result<Removed>)> done);
  void UnloadFirst(const ModelId& model, std::function<void()> then);
  // What exo has downloaded of it here, or pulled from members.
  void RemoveDownloads(const ModelId& model, std::function<void(Result<Removed>)> done);
  void RemoveNextDownload(const ModelId& model, std::vector<std::string> names, Removed removed,
                          std::function<void(Result<Removed>)> done);
  void RemoveTensors(const ModelId& model, Removed removed,
                     std::function<void(Result<Removed>)> done);
  void RemoveEverywhere(const std::string& model,
                        std::function<void(Result<std::vector<RemovalView>>)> done);
  void AskToRemove(const ModelId& model,
                   std::function<void(Result<std::vector<RemovalView>>)> done);
  static wire::ModelDeleted ReplyOf(uint64_t ticket, const Result<Removed>& removed);
  void OnDeleteModel(const NodeId& peer, const wire::DeleteModel& asked);
  void OnModelDeleted(const NodeId& peer, const wire::ModelDeleted& deleted);
  void RemovePreset(const std::string& name, std::function<void(Result<void>)> done);
  void AddPresets(std::vector<ModelView>& models) const;
  void RestoreDesired();
  // Has a restored record say what the settings say now. False: its adapters are still looked for.
  bool FollowSettings(const ModelId& model);
  void Revise(wire::DesiredModel record, std::vector<wire::AdapterRef> adapters);
  std::optional<wire::ModelHolding> HoldingOf(const ModelId& model) const;
  cluster::NameOf Names() const {
    return [this](const NodeId& node) { return NameOf(node); };
  }
  void TellStages(const PlanId& plan, const wire::Message& message);
  engine::InstanceRunner* RunnerOf(const PlanId& plan) {
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
  std::shared_ptr<store::State> state_;            // jobs hold it too
  std::shared_ptr<const net::Identity> identity_;  // likewise
  std::unique_ptr<TrustKeeper> trust_;
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<Inviter> inviter_;
  std::unique_ptr<backend::Backend> backend_;
  wire::NodeRecord record_;
  std::unique_ptr<cluster::Core> core_;
  std::unique_ptr<class Models> models_;
  std::unique_ptr<Pulls> pulls_;
  std::unique_ptr<Vocabularies> vocabularies_;
  Presets presets_;
  std::vector<std::function<void(Result<void>)>> presets_waiting_;  // for the next write
  bool presets_writing_ = false;
  std::unique_ptr<Requests> requests_;
  std::unique_ptr<ConversationKeeper> conversations_;  // null: none are kept
  std::unique_ptr<net::Peers> peers_;
  std::shared_ptr<const net::ClusterSecret> discovery_secret_;
  std::unique_ptr<net::Discovery> discovery_;
  std::unique_ptr<Joining> joining_;  // while this node joins another cluster
  std::optional<NodeId> asked_;       // the key that the last call without a code has met
  engine::MovedPages moved_;          // outlives the runners, their jobs and the links
  std::shared_ptr<LinkTurn> turn_;    // jobs hold it
  BulkServer bulk_;
  std::shared_ptr<store::TensorCache> tensors_;
  uint64_t pulled_version_ = 0;                   // of its models, when they were last looked at
  engine::SentRows sent_rows_;                    // outlives the runners
  engine::LinkTraffic traffic_;                   // likewise
  engine::LedSteps led_steps_;                    // likewise
  std::unique_ptr<store::PrefixStore> prefixes_;  // null: none. Outlives the runners
  engine::StageStore stages_;                     // outlives the jobs that join stages
  grammar::Cache grammars_;                       // outlives the jobs and the runners
  Jobs jobs_;
  net::Timer tick_;

  std::map<PlanId, std::unique_ptr<engine::InstanceRunner>> runners_;
  std::map<uint64_t, std::function<void(Result<wire::InstanceSummary>)>> ensures_;
  std::map<uint64_t, std::function<void(Result<void>)>> unloads_;
  std::map<uint64_t, std::unique_ptr<RemovalRound>> removals_;
  std::map<uint64_t, std::function<void(cluster::PlanMade)>> plans_;
  std::deque<cluster::Event> events_;
  // Numbers of a later run are higher: microseconds since 1970, exact in JSON.
  EventLog log_{static_cast<uint64_t>(sys::WallClockMilliseconds()) * 1000};
  StateWatch watch_{log_, Names()};
  bool look_posted_ = false;
  bool trust_posted_ = false;
  bool key_rotated_ = false;  // from the next start on
  std::optional<std::string>
      desired_unsaved_;  // the records of SaveDesired, until they are on disk
  bool desired_saving_ = false;
  std::set<ModelId> unrevised_;  // restored records that follow the settings of this node
  // What waits for records that are being revised.
  std::map<ModelId, std::vector<std::function<void()>>> revising_;
  const uint64_t boot_nonce_ = sys::RandomValue<uint64_t>();
  uint64_t next_ticket_ = 1;
  uint64_t ticks_ = 0;
  LiveSpeed speed_;                     // of this device
  std::optional<sys::CpuQuota> quota_;  // that it was measured under
  bool measuring_ = false;
  bool costs_known_ = false;
  bool disk_known_ = false;
  Time measure_at_{};       // again, when it is quiet then
  Time worked_at_{};        // until when its work was learned from
  Time disturbed_at_{};     // it was not quiet
  Time quiet_since_{};      // this process did nothing, or its quota was looked at
  double cpu_seconds_ = 0;  // of this process, at worked_at_
  LinkKeeper links_;        // to other members
  // Of each member: work items at the last look, and since when there were no more.
  struct LinkWork {
    uint64_t items = 0;
    Time since{};
  };
  std::map<NodeId, LinkWork> link_work_;
  bool measuring_link_ = false;
  std::shared_ptr<std::atomic<bool>> stop_large_;  // of the measurement that runs: no large frames
  uint64_t items_before_ = 0;                      // of this device, when it began
  Time interfaces_at_{};                           // to be looked at again
  std::chrono::nanoseconds busy_{};  // of the device, when its load was last looked at
  Time busy_at_{};
  std::unique_ptr<SharePolicy> shares_;
  std::shared_ptr<sys::HealthReader> health_reader_ = std::make_shared<sys::HealthReader>();
  std::shared_ptr<const sys::LoginService> login_ = sys::MakeLoginService();  // jobs hold both
  StayAwake awake_{jobs_, login_};
  uint64_t items_seen_ = 0;  // work items of the device, at the last look whether it answers
  bool looking_ = false;
  Time look_at_{};  // again
  bool feeding_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace exo::node
