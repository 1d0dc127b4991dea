#include "cluster/core.h"

#include "cluster/catalog.h"
#include "cluster/context.h"
#include "cluster/desired_models.h"
#include "cluster/members.h"
#include "cluster/owner.h"
#include "cluster/requests.h"
#include "cluster/reservations.h"

namespace exo::cluster {

const char* PeerStateName(PeerState state) {
  switch (state) {
    case PeerState::kUnknown:
      return "unknown";
    case PeerState::kConnecting:
      return "connecting";
    case PeerState::kAlive:
      return "alive";
    case PeerState::kSuspect:
      return "suspect";
    case PeerState::kDead:
      return "dead";
    case PeerState::kLeft:
      return "left";
    case PeerState::kRefused:
      return "refused";
  }
  return "?";
}

const char* InstanceStateName(wire::InstanceState state) {
  switch (state) {
    case wire::InstanceState::kReserving:
      return "reserving";
    case wire::InstanceState::kLoading:
      return "loading";
    case wire::InstanceState::kReady:
      return "ready";
    case wire::InstanceState::kDraining:
      return "draining";
    case wire::InstanceState::kGone:
      return "gone";
  }
  return "?";
}

// The parts, and who hears what of whom. Parts never call each other's news: Settle passes it on
// until all is quiet, so that every part sees one thing at a time.
struct Core::State {
  explicit State(CoreOptions core_options) : options(std::move(core_options)) {}

  CoreOptions options;
  Context context{options};
  Members members{context};
  Reservations reservations{context, members};
  Owner owner{context, members};
  Catalog catalog{context};
  DesiredModels desired{context, members, owner, catalog};
  EntryRequests entry{context, members, desired};
  LeadRequests lead{context, reservations};
  std::optional<Time> last_event;
  Time last_times{};

  void Advance(Time now);
  void Times();
  void Serve();
  void Settle();
  bool PassNews();
  void OnLost(const Members::News& news);

  // ---- messages ----
  void Handle(const NodeId& from, wire::Message& message) {
    std::visit([&](auto& m) { On(from, m); }, message);
  }
  void On(const NodeId& from, const wire::Heartbeat& m) { members.OnHeartbeat(from, m); }
  void On(const NodeId& from, const wire::NodeUpdate& m) { members.OnRecord(from, m.record); }
  void On(const NodeId& from, const wire::RecordRequest&) { members.OnRecordRequest(from); }
  void On(const NodeId&, const wire::PeerHints& m) { members.OnHints(m); }
  void On(const NodeId& from, const wire::Goodbye& m) { members.OnGoodbye(from, m); }
  void On(const NodeId& from, const wire::Reserve& m) { reservations.OnReserve(from, m); }
  void On(const NodeId& from, const wire::ReserveReply& m) { owner.OnReserveReply(from, m); }
  void On(const NodeId& from, const wire::Commit& m) { reservations.OnCommit(from, m); }
  void On(const NodeId& from, const wire::Loaded& m) { owner.OnLoaded(from, m); }
  void On(const NodeId& from, const wire::LoadProgress& m) { owner.OnLoadProgress(from, m); }
  void On(const NodeId& from, const wire::InstanceReady& m) { reservations.OnReady(from, m); }
  void On(const NodeId& from, const wire::LeaseRenew& m) { reservations.OnRenew(from, m); }
  void On(const NodeId& from, const wire::Release& m) {
    reservations.OnRelease(from, m);  // from its owner
    owner.OnRelease(from, m);         // from a participant, or somebody unloads
  }
  void On(const NodeId& from, const wire::InstanceSummary& m) {
    if (m.plan.id.IsZero()) return desired.OnRefusal(from, m);
    catalog.OnSummary(from, m);
    if (const auto* known = catalog.Find(m.plan.id)) owner.OnOther(*known);
  }
  void On(const NodeId& from, const wire::EnsureInstance& m) { desired.OnRemoteEnsure(from, m); }
  void On(const NodeId& from, wire::Submit& m) { lead.OnSubmit(from, std::move(m)); }
  void On(const NodeId& from, const wire::CancelRequest& m) { lead.OnCancel(from, m); }
  void On(const NodeId& from, const wire::PauseRequest& m) { lead.OnPause(from, m); }
  void On(const NodeId& from, const wire::Tokens& m) { entry.OnTokens(from, m); }
  void On(const NodeId& from, const wire::Finished& m) { entry.OnFinished(from, m); }
  // Handshakes, bulk and data frames never come over the control session.
  template <class Other>
  void On(const NodeId&, const Other&) {
    ++context.stale_messages;
  }

  // ---- events ----
  void On(const Tick&) {}
  void On(const SessionUp& e) { members.OnUp(e); }
  void On(const SessionDown& e) { members.OnDown(e); }
  void On(const ConnectFailed& e) { members.OnConnectFailed(e); }
  void On(const PeerRefused& e) { members.OnRefused(e); }
  void On(const RememberedPeers& e) { members.OnRemembered(e.hints); }
  void On(const Leave& e) { members.OnLeave(e); }
  void On(Received& e) {
    if (!members.NoteActivity(e.peer)) {
      ++context.stale_messages;
      return;
    }
    Handle(e.peer, e.message);
  }
  void On(const LocalRecord& e) { members.SetLocal(e.record); }
  void On(const LocalModels& e) { desired.SetShapes(e.shapes); }
  void On(const LocalProgress& e) { members.SetProgress(e.work_items); }
  void On(const EnsureModel& e) { desired.OnEnsure(e); }
  void On(const UnloadModel& e) { desired.OnUnload(e); }
  void On(const LoadFinished& e) { reservations.OnLoadFinished(e); }
  void On(const LoadProgressed& e) { reservations.OnLoadProgressed(e); }
  void On(const StageFailed& e) { reservations.OnStageFailed(e); }
  void On(const StageStopped& e) { reservations.OnStageStopped(e); }
  void On(SubmitLocal& e) { entry.OnSubmit(std::move(e)); }
  void On(const CancelLocal& e) { entry.OnCancel(e); }
  void On(const PauseLocal& e) { entry.OnPause(e); }
  void On(const LeadEmitted& e) { lead.OnEmitted(e); }
  void On(const LeadFinished& e) { lead.OnRunnerFinished(e); }
};

// Time first, then the event: a lease that ran out while this node slept is over before anything
// else counts.
void Core::State::Advance(Time now) {
  context.now = std::max(now, context.now);
  const Time gap = last_event ? context.now - *last_event : Time{};
  const bool first = !last_event.has_value();
  last_event = context.now;
  if (gap > options.timers.heartbeat * 2) members.OnWake(gap);
  if (gap > options.timers.wake) owner.OnWake();
  if (first || context.now - last_times >= kTickInterval) Times();
}

void Core::State::Times() {
  last_times = context.now;
  members.OnTime();
  reservations.OnTime();
  catalog.OnTime();
  owner.OnTime([&](const PlanId& plan) { return lead.Active(plan); });
  lead.OnTime();
  Settle();
  Serve();
}

// Those who wait for something to be as it should: desired for an instance, requests for a ready
// one.
void Core::State::Serve() {
  desired.OnTime();
  entry.OnTime();
  Settle();
}

void Core::State::OnLost(const Members::News& news) {
  entry.OnPeerLost(news.peer, news.reason);
  lead.OnEntryLost(news.peer);
  owner.OnPeerLost(news.peer, news.reason);
  reservations.OnOwnerLost(news.peer, news.reason);
  reservations.OnNeighborLost(news.peer, news.reason);
  catalog.OnOwnerLost(news.peer, fmt::format("lost {}, which coordinated the instance: {}",
                                             members.NameOf(news.peer), news.reason));
}

bool Core::State::PassNews() {
  bool any = false;
  for (const Members::News& news : members.TakeNews()) {
    any = true;
    if (news.up) {
      owner.OnPeerUp(news.peer);
      entry.OnPeerUp(news.peer);
      lead.OnPeerUp(news.peer);
    } else {
      OnLost(news);
    }
  }
  for (const Reservations::News& news : reservations.TakeNews()) {
    any = true;
    if (news.serving) {
      lead.OnServing(news.plan);
    } else {
      lead.OnPlanEnded(news.plan, news.error);
    }
  }
  for (const Owner::Gone& gone : owner.TakeGone()) {
    any = true;
    desired.OnOwnGone(gone);
    entry.OnInstanceGone(gone.plan, gone.error.message);
  }
  for (const Catalog::Gone& gone : catalog.TakeGone()) {
    any = true;
    desired.OnOtherGone(gone);
    entry.OnInstanceGone(gone.plan, gone.reason);
  }
  return any;
}

void Core::State::Settle() {
  do {
    while (!context.loopback.empty()) {
      wire::Message message = std::move(context.loopback.front());
      context.loopback.pop_front();
      Handle(options.self, message);
    }
  } while (PassNews() || !context.loopback.empty());
  members.SetReserved(reservations.reserved_bytes());
}

Core::Core(CoreOptions options) : state_(std::make_unique<State>(std::move(options))) {}
Core::~Core() = default;

std::vector<Effect> Core::Step(Event event, Time now) {
  State& state = *state_;
  state.Advance(now);
  std::visit([&](auto& e) { state.On(e); }, event);
  state.Settle();
  if (state.context.changed) state.Serve();  // whoever waits for a change is served at once
  if (std::exchange(state.context.changed, false)) state.context.Emit(Changed{});
  return std::exchange(state.context.effects, {});
}

std::vector<NodeStatus> Core::Nodes() const {
  return state_->members.Status();
}
std::vector<ReservationStatus> Core::ReservationsHeld() const {
  return state_->reservations.Status();
}
std::vector<PlanNode> Core::PlannerNodes() const {
  return state_->members.PlannerNodes();
}
bool Core::IsAlive(const NodeId& peer) const {
  return state_->members.IsAlive(peer);
}
uint64_t Core::reserved_bytes() const {
  return state_->reservations.reserved_bytes();
}
size_t Core::entry_requests() const {
  return state_->entry.size();
}
size_t Core::lead_requests() const {
  return state_->lead.size();
}
uint64_t Core::stale_messages() const {
  return state_->context.stale_messages;
}

std::vector<InstanceStatus> Core::Instances() const {
  std::vector<InstanceStatus> all = state_->owner.Status();
  for (wire::InstanceSummary& summary : state_->catalog.All())
    all.push_back({.summary = std::move(summary)});
  return all;
}

const wire::Plan* Core::PlanOfReservation(const PlanId& plan) const {
  const ReservationStatus* reservation = state_->reservations.Find(plan);
  return reservation == nullptr || reservation->state == ReservationState::kStopping
             ? nullptr
             : &reservation->plan;
}

}  // namespace exo::cluster
