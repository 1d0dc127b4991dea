// Events in, effects out, and what the peers bring.
#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "node/node_impl.h"
#include "sys/system.h"
#include "wire/plan.h"

namespace exo::node {

using cluster::Effect;
using cluster::Event;

void NodeImpl::Feed(Event event) {
  events_.push_back(std::move(event));
  if (feeding_) return;
  feeding_ = true;
  while (!events_.empty()) {
    Event next = std::move(events_.front());
    events_.pop_front();
    for (Effect& effect : core_->Step(std::move(next), sys::Now())) Apply(std::move(effect));
  }
  feeding_ = false;
}

void NodeImpl::Apply(Effect effect) {
  std::visit([this](auto& what) { Do(what); }, effect);
}

// One look for all changes of one turn: what comes and goes in between is nobody's business.
void NodeImpl::Do(cluster::Changed&) {
  if (std::exchange(look_posted_, true)) return;
  OnLoop([this] {
    look_posted_ = false;
    watch_.Look(core_->Nodes(), core_->Instances());
  })();
}

engine::RunnerEvents NodeImpl::EventsFor(const PlanId& plan) {
  return {
      .on_progress = OnLoop([this, plan](uint64_t done, uint64_t total) {
        Feed(cluster::LoadProgressed{plan, done, total});
      }),
      .on_loaded = OnLoop([this, plan](Result<void> result, uint64_t milliseconds) {
        // A file that is not what it was: look again, so that the next request knows.
        if (!result) models_->Rescan();
        if (RunnerOf(plan) != nullptr)
          Feed(cluster::LoadFinished{plan, std::move(result), milliseconds});
      }),
      .on_failed = OnLoop([this, plan](Error error, NodeId lost) {
        if (RunnerOf(plan) != nullptr) Feed(cluster::StageFailed{plan, std::move(error), lost});
      }),
      // A request may run again, for another plan: what a plan that has ended says of it is late.
      .on_tokens = OnLoop([this, plan](wire::Tokens news) {
        if (RunnerOf(plan) == nullptr) return;
        Feed(cluster::LeadEmitted{.request = news.request,
                                  .tokens = std::move(news.tokens),
                                  .cached = news.cached,
                                  .logprobs = std::move(news.logprobs),
                                  .state = std::move(news.state),
                                  .stages = std::move(news.stages),
                                  .steps = std::move(news.steps),
                                  .steps_dropped = news.steps_dropped,
                                  .computed = news.computed,
                                  .plan = plan});
      }),
      .on_queued = OnLoop([this, plan](RequestId request, uint32_t before) {
        if (RunnerOf(plan) != nullptr) Feed(cluster::LeadQueued{request, before, plan});
      }),
      .on_finished = OnLoop([this, plan](wire::Finished finished) {
        if (RunnerOf(plan) == nullptr) return;
        finished.plan = plan;
        Feed(cluster::LeadFinished{std::move(finished)});
      }),
      .on_stale = OnLoop([this](wire::StaleRows stale) { TellStages(stale.plan, stale); }),
  };
}

net::ConnectOptions NodeImpl::TargetOf(const NodeId& node, wire::Channel channel,
                                       const PlanId& plan) const {
  return {.addresses = peers_->AddressesOf(node),
          .expected = node,
          .hello = peers_->LinkHello(channel, plan)};
}

void NodeImpl::Do(cluster::StartLoad& effect) {
  engine::RunnerOptions options;
  if (quota_) options.timers.sum_spin = {};
  options.plan = effect.plan;
  options.stage = effect.stage;
  options.self = identity_->id();
  options.lead = options_.lead;
  options.pages = prefixes_.get();
  options.grammars = &grammars_;
  options.sent = &sent_rows_;
  options.traffic = &traffic_;
  options.led = &led_steps_;
  options.numerics = record_.numerics;
  options.moved = &moved_;
  TakeOver(effect, options);
  for (const wire::StagePlan& stage : effect.plan.stages)
    options.names.push_back(NameOf(stage.node));
  // While its holders are there: this node can then take prompts whoever of them leaves.
  if (ManifestOf(effect.plan.model) == nullptr) GetVocabulary(effect.plan.model, [](auto) {});
  if (effect.stage == 0 && effect.plan.draft) {
    const wire::DraftRef& draft = *effect.plan.draft;
    options.draft = SourceOfFile(draft.file, draft.name, effect.plan.id);
  }
  NoteUse(effect.plan.model);
  const PlanId plan = effect.plan.id;
  CHECK(!runners_.contains(plan));  // the core stops one before it starts it again
  runners_[plan] = engine::InstanceRunner::Start(*backend_, stages_, SourceOf(effect.plan),
                                                 std::move(options), EventsFor(plan));
}

// What the requests of the former plan bring along. Its KV of this stage's layers takes what is
// reserved for them now; the rest must not be more than what is free.
void NodeImpl::TakeOver(const cluster::StartLoad& load, engine::RunnerOptions& options) {
  const wire::StagePlan& own = load.plan.stages[load.stage];
  moved_.Limit(FreeMemory(), {own.layer_begin, own.layer_end, load.plan.kv_pages});
  if (load.former.plan.IsZero()) return;
  MovedSourceOptions source{.former = load.former, .self = identity_->id(), .others = {}};
  for (const wire::FormerStage& stage : load.former.stages) {
    if (stage.node == source.self) continue;
    source.others.emplace(stage.node, TargetOf(stage.node, wire::Channel::kBulk, load.plan.id));
  }
  options.former = load.former.plan;
  options.load_moved = MakeMovedSource(*identity_, moved_, std::move(source));
}

// Of the budget: what nothing is reserved from.
uint64_t NodeImpl::FreeMemory() const {
  const uint64_t budget = wire::TotalOf(record_).memory_budget;
  return budget - std::min(budget, core_->reserved_bytes());
}

// The pages of a plan that moves stay within what is reserved for it until it has stopped.
void NodeImpl::KeepPages(const PlanId& plan) {
  for (const cluster::ReservationStatus& held : core_->ReservationsHeld()) {
    if (held.plan.id == plan) moved_.Limit(FreeMemory() + held.plan.stages[held.stage].bytes);
  }
}

std::unique_ptr<engine::StageSource> NodeImpl::SourceOfFile(const ModelId& model,
                                                            const std::string& name,
                                                            const PlanId& plan) const {
  if (auto file = models_->Find(model)) return MakeFileSource(std::move(file));
  PullOptions options{.model = model, .model_name = name};
  for (const NodeId& holder : HoldersOf(model))
    options.holders.push_back(TargetOf(holder, wire::Channel::kBulk, plan));
  for (const NodeId& other : MembersWithout(model))
    options.others.push_back(TargetOf(other, wire::Channel::kBulk, plan));
  return MakePullSource(*identity_, tensors_, std::move(options));
}

std::unique_ptr<engine::StageSource> NodeImpl::SourceOf(const wire::Plan& plan) const {
  auto source = SourceOfFile(plan.model, plan.model_name, plan.id);
  if (plan.adapters.empty()) return source;
  return MakeAdaptedSource(*identity_, tensors_, std::move(source), AdaptersOf(plan));
}

void NodeImpl::Do(cluster::StartServing& effect) {
  engine::InstanceRunner* runner = RunnerOf(effect.plan.id);
  if (runner == nullptr) return;
  CHECK_LT(effect.stage, effect.plan.stages.size());
  std::vector<engine::NextStage> next;
  for (const size_t stage : ConnectsTo(effect.plan, effect.stage)) {
    const NodeId& node = effect.plan.stages[stage].node;
    const auto connect = [this, target = TargetOf(node, wire::Channel::kData, effect.plan.id)](
                             Time deadline) mutable {
      target.deadline = deadline;
      return net::ConnectLink(*identity_, target);
    };
    next.push_back({.node = node, .connect = connect});
  }
  runner->Serve(std::move(next));
}

void NodeImpl::Do(cluster::StopInstance& effect) {
  const wire::Plan* ended = core_->PlanOfReservation(effect.plan);
  if (ended != nullptr) NoteUse(ended->model);
  const auto found = runners_.find(effect.plan);
  std::shared_ptr<engine::InstanceRunner> runner;
  if (found != runners_.end()) {
    runner = std::move(found->second);
    runners_.erase(found);
    const bool moves = effect.cause.reason == wire::Reason::kMoved;
    if (moves) KeepPages(effect.plan);
    if (effect.cause.reason != wire::Reason::kUnloaded) runner->KeepStage(moves);
  }
  // Joining can take as long as one work item: not on the loop.
  const bool begun = jobs_.Run(
      Jobs::Class::kJoin, {},
      [stopped = std::move(runner)](const std::atomic<bool>&) mutable {
        stopped.reset();
        return true;
      },
      [this, plan = effect.plan](bool) { Feed(cluster::StageStopped{plan}); });
  CHECK(begun);
}

void NodeImpl::Do(cluster::LeadSubmit& effect) {
  if (engine::InstanceRunner* runner = RunnerOf(effect.submit.plan))
    runner->Submit(std::move(effect.submit));
}

void NodeImpl::Do(cluster::LeadCancel& effect) {
  if (engine::InstanceRunner* runner = RunnerOf(effect.plan)) runner->Cancel(effect.request);
  // The other stages may be in the middle of this request's chunk.
  TellStages(effect.plan, wire::CancelRequest{effect.request, effect.plan});
}

// All of the plan but this node's.
void NodeImpl::TellStages(const PlanId& id, const wire::Message& message) {
  const wire::Plan* plan = core_->PlanOfReservation(id);
  if (plan == nullptr) return;
  for (const wire::StagePlan& stage : plan->stages) {
    if (stage.node != identity_->id()) peers_->Send(stage.node, message);
  }
}

void NodeImpl::Do(cluster::EnsureReply& effect) {
  auto found = ensures_.extract(effect.ticket);
  if (!found.empty()) found.mapped()(std::move(effect.result));
}

void NodeImpl::Do(cluster::PlanMade& effect) {
  auto found = plans_.extract(effect.ticket);
  if (!found.empty()) found.mapped()(std::move(effect));
}

void NodeImpl::Do(cluster::UnloadReply& effect) {
  auto found = unloads_.extract(effect.ticket);
  if (!found.empty()) found.mapped()(std::move(effect.result));
}

// ---- peers ----

namespace {

// What a guest has a say in: its own record, the stages that it holds, and what it was asked.
bool IsForGuests(const wire::Message& message) {
  return std::holds_alternative<wire::Heartbeat>(message) ||
         std::holds_alternative<wire::NodeUpdate>(message) ||
         std::holds_alternative<wire::RecordRequest>(message) ||
         std::holds_alternative<wire::Goodbye>(message) ||
         std::holds_alternative<wire::ReserveReply>(message) ||
         std::holds_alternative<wire::Loaded>(message) ||
         std::holds_alternative<wire::LoadProgress>(message) ||
         std::holds_alternative<wire::Release>(message) ||
         std::holds_alternative<wire::DesiredAck>(message) ||
         std::holds_alternative<wire::ModelDeleted>(message);
}

}  // namespace

void NodeImpl::OnMessage(const NodeId& peer, wire::Message message) {
  if (trust_->trust().IsGuest(peer) && !IsForGuests(message)) {
    LOG(kDebug, "peer={}: a guest's message {} is ignored", peer.Short(), message.index());
    return;
  }
  if (const auto* update = std::get_if<wire::TrustUpdate>(&message)) return trust_->Merge(*update);
  if (const auto* asked = std::get_if<wire::DeleteModel>(&message))
    return OnDeleteModel(peer, *asked);
  if (const auto* deleted = std::get_if<wire::ModelDeleted>(&message))
    return OnModelDeleted(peer, *deleted);
  if (conversations_ && conversations_->OnMessage(peer, message)) return;
  if (const auto* cancel = std::get_if<wire::CancelRequest>(&message)) {
    if (engine::InstanceRunner* runner = RunnerOf(cancel->plan))
      runner->CancelRows(peer, cancel->request);
  }
  if (const auto* stale = std::get_if<wire::StaleRows>(&message)) {
    if (engine::InstanceRunner* runner = RunnerOf(stale->plan)) runner->DropRows(peer, *stale);
  }
  Feed(cluster::Received{peer, std::move(message)});
}

void NodeImpl::OnRefused(const net::Refused& refused) {
  LOG(kInfo, "{}{} {}:{}: {}", refused.id ? fmt::format("peer={}: ", refused.id->Short()) : "",
      refused.by_peer ? "refused by" : "refused", refused.address.host, refused.address.port,
      refused.reason);
  if (refused.id) {
    Feed(cluster::PeerRefused{*refused.id, refused.reason, refused.code, refused.protocols});
  }
}

bool NodeImpl::WantsLink(const NodeId& peer, const wire::Hello& hello) {
  if (hello.channel == wire::Channel::kBulk) return true;
  const wire::Plan* plan = core_->PlanOfReservation(hello.plan);
  if (plan == nullptr) return false;
  const int own = wire::StageOf(*plan, identity_->id());
  if (own < 0) return false;
  return std::ranges::any_of(ConnectedFrom(*plan, static_cast<size_t>(own)),
                             [&](size_t stage) { return plan->stages[stage].node == peer; });
}

void NodeImpl::OnLink(std::unique_ptr<engine::DataLink> link, const NodeId& peer,
                      const wire::Hello& hello) {
  if (hello.channel == wire::Channel::kBulk) {
    bulk_.Serve(std::move(link), !trust_->trust().IsGuest(peer));
  } else if (engine::InstanceRunner* runner = RunnerOf(hello.plan)) {
    // A stage connects when all are loaded, so the runner is there; a link of a
    // plan that has ended meanwhile is closed here.
    runner->GiveLink(std::move(link));
  }
}

std::string NodeImpl::NameOf(const NodeId& node) const {
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    if (status.record.id == node) return KnownNameOf(status.record);
  }
  return node.Short();
}

std::string NodeImpl::KnownNameOf(const wire::NodeRecord& record) const {
  const std::string trusted = trust_->trust().NameOf(record.id);
  return record.name == record.id.Short() && !trusted.empty() ? trusted : record.name;
}

}  // namespace exo::node
