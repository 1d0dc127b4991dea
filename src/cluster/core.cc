#include "cluster/core.h"

#include <algorithm>

#include "base/check.h"
#include "cluster/catalog.h"
#include "cluster/context.h"
#include "cluster/desired_models.h"
#include "cluster/desired_records.h"
#include "cluster/members.h"
#include "cluster/owner.h"
#include "cluster/plan_requests.h"
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

// The parts, and which learns what from which. A part never calls another with what it noticed:
// Settle delivers notices until there are none, so that every part sees one thing at a time.
struct Core::State {
  explicit State(CoreOptions core_options) : options(std::move(core_options)) {}

  CoreOptions options;
  Context context{options};
  Members members{context};
  Reservations reservations{context, members};
  Owner owner{context, members};
  Catalog catalog{context};
  class DesiredRecords records{context, members};
  DesiredModels desired{context, members, owner, catalog, records};
  PlanRequests plans{context, members, desired};
  EntryRequests entry{context, members, desired};
  LeadRequests lead{context, reservations};
  std::optional<Time> last_event;
  Time last_times{};

  void Advance(Time now);
  void Times();
  void Serve();
  void Settle();
  bool DeliverNotices();
  bool DeliverEnds();
  void OnLost(const Members::Notice& notice);
  void Adopt(const PlanId& plan, const NodeId& former);

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
    owner.OnRelease(from, m);         // from a participant
  }
  void On(const NodeId& from, const wire::InstanceSummary& m) {
    catalog.OnSummary(from, m);
    if (const auto* known = catalog.Find(m.plan.id)) owner.OnOther(*known);
  }
  void On(const NodeId& from, const wire::InstanceLoad& m) { owner.OnInstanceLoad(from, m); }
  void On(const NodeId& from, const wire::EnsureInstance& m) { desired.OnRemoteEnsure(from, m); }
  void On(const NodeId& from, const wire::EnsureRefused& m) { desired.OnRefused(from, m); }
  void On(const NodeId& from, const wire::DesiredUpdate& m) { records.OnUpdate(from, m); }
  void On(const NodeId& from, const wire::DesiredAck& m) { records.OnAck(from, m); }
  void On(const NodeId& from, const wire::PlanRequest& m) { plans.OnRequest(from, m); }
  void On(const NodeId& from, const wire::PlanReply& m) { plans.OnReply(from, m); }
  void On(const NodeId& from, wire::Submit& m) { lead.OnSubmit(from, std::move(m)); }
  void On(const NodeId& from, const wire::CancelRequest& m) { lead.OnCancel(from, m); }
  void On(const NodeId& from, const wire::PauseRequest& m) { lead.OnPause(from, m); }
  void On(const NodeId& from, const wire::Tokens& m) { entry.OnTokens(from, m); }
  void On(const NodeId& from, const wire::Queued& m) { entry.OnQueued(from, m); }
  void On(const NodeId& from, const wire::Finished& m) { entry.OnFinished(from, m); }
  // Handshakes, bulk and data frames never come over the control session.
  template <class Other>
  void On(const NodeId&, const Other&) {}

  // ---- events ----
  void On(const Tick& e) {
    if (e.wall_ms == 0) return;
    context.wall_ms = e.wall_ms;
    context.wall_at = context.now;
  }
  void On(const SessionUp& e) { members.OnUp(e); }
  void On(const SessionDown& e) { members.OnDown(e); }
  void On(const PeerRefused& e) { members.OnRefused(e); }
  void On(const PeerForgotten& e) { members.OnForgotten(e); }
  void On(const Guests& e) { members.SetGuests(e.nodes); }
  void On(const RememberedPeers& e) { members.OnRemembered(e.hints); }
  void On(const Leave& e) { members.OnLeave(e); }
  void On(Received& e) {
    if (!members.NoteActivity(e.peer)) return;
    Handle(e.peer, e.message);
  }
  void On(const LocalRecord& e) { members.SetLocal(e.record); }
  void On(const LocalModels& e) { desired.SetShapes(e.shapes); }
  void On(const LocalProgress& e) { members.SetProgress(e.work_items); }
  void On(const LocalLoad& e) { lead.OnLocalLoad(e); }
  void On(const RestoreDesired& e) {
    records.OnRestore(e.records);
    for (const wire::DesiredModel& record : records.TakeChanges()) desired.OnRecord(record, true);
  }
  void On(const PlanModel& e) { plans.OnPlanModel(e); }
  void On(const EnsureModel& e) { desired.OnEnsure(e); }
  void On(const ReviseModel& e) { desired.OnRevise(e); }
  void On(const UnloadModel& e) { desired.OnUnload(e); }
  void On(const LoadFinished& e) { reservations.OnLoadFinished(e); }
  void On(const LoadProgressed& e) { reservations.OnLoadProgressed(e); }
  void On(const StageFailed& e) { reservations.OnStageFailed(e); }
  void On(const StageStopped& e) { reservations.OnStageStopped(e); }
  void On(SubmitLocal& e) { entry.OnSubmit(std::move(e)); }
  void On(const CancelLocal& e) { entry.OnCancel(e); }
  void On(const PauseLocal& e) { entry.OnPause(e); }
  void On(const LeadEmitted& e) { lead.OnEmitted(e); }
  void On(const LeadQueued& e) { lead.OnRunnerQueued(e); }
  void On(const LeadFinished& e) { lead.OnRunnerFinished(e); }
};

// Time first, then the event: a lease that ran out while this node was suspended is over before
// anything else counts.
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
  lead.OnTime();
  owner.OnTime();
  plans.OnTime();
  Settle();
  Serve();
}

// Whatever waits: desired models for an instance, requests for a READY one.
void Core::State::Serve() {
  desired.OnTime();
  entry.OnTime();
  Settle();
}

void Core::State::OnLost(const Members::Notice& notice) {
  entry.OnPeerLost(notice.peer, notice.reason);
  lead.OnEntryLost(notice.peer);
  records.OnPeerLost(notice.peer);
  plans.OnPeerLost(notice.peer);
  owner.OnPeerLost(notice.peer, notice.reason);
  for (const PlanId& plan : reservations.OnOwnerLost(notice.peer, notice.reason))
    Adopt(plan, notice.peer);
  reservations.OnNeighborLost(notice.peer, notice.reason);
  catalog.OnPeerLost(
      notice.peer, [&](const NodeId& node) { return members.IsAlive(node); }, notice.reason);
}

// This node is the lead of an instance whose owner is lost: it goes on as the owner, unless nobody
// wants the model any more.
void Core::State::Adopt(const PlanId& plan, const NodeId& former) {
  std::optional<wire::InstanceSummary> summary = catalog.Take(plan);
  const wire::DesiredModel* record = summary ? records.Find(summary->plan.model) : nullptr;
  const bool wanted = record != nullptr && record->state == wire::DesiredState::kRunning;
  // Duplicates converge because their owners differ. What this node owns of the model are replicas
  // that it has planned itself: another one would be none of them.
  if (summary && summary->state == wire::InstanceState::kReady && wanted &&
      owner.Find(summary->plan.model) == nullptr) {
    return owner.Adopt(*std::move(summary));
  }
  reservations.GiveUp(plan, {.reason = wire::Reason::kOwnerLost, .node = former});
}

bool Core::State::DeliverNotices() {
  bool any = false;
  for (const Members::Notice& notice : members.TakeNotices()) {
    any = true;
    if (notice.up) {
      owner.OnPeerUp(notice.peer);
      entry.OnPeerUp(notice.peer);
      records.OnPeerUp(notice.peer);
      lead.OnPeerUp(notice.peer);
    } else {
      OnLost(notice);
    }
  }
  for (const Reservations::Notice& notice : reservations.TakeNotices()) {
    any = true;
    if (notice.serving) {
      lead.OnServing(notice.plan);
    } else {
      lead.OnPlanEnded(notice.plan, notice.error, notice.moved);
    }
  }
  for (const wire::DesiredModel& record : records.TakeChanges()) {
    any = true;
    desired.OnRecord(record, false);
  }
  return DeliverEnds() || any;
}

bool Core::State::DeliverEnds() {
  bool any = false;
  for (const Owner::Gone& gone : owner.TakeGone()) {
    any = true;
    desired.OnOwnGone(gone);
    entry.OnInstanceGone(gone.plan, gone.cause);
  }
  for (const Catalog::Gone& gone : catalog.TakeGone()) {
    any = true;
    desired.OnOtherGone(gone);
    entry.OnInstanceGone(gone.plan, gone.cause);
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
  } while (DeliverNotices() || !context.loopback.empty());
  members.SetReserved(reservations.reserved_bytes());
  CHECK(context.loopback.empty());
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
uint64_t Core::reserved_bytes() const {
  return state_->reservations.reserved_bytes();
}
size_t Core::entry_requests() const {
  return state_->entry.size();
}
size_t Core::lead_requests() const {
  return state_->lead.size();
}

std::vector<InstanceStatus> Core::Instances() const {
  std::vector<InstanceStatus> all = state_->owner.Status();
  for (wire::InstanceSummary& summary : state_->catalog.All())
    all.push_back({.summary = std::move(summary)});
  return all;
}

std::vector<wire::DesiredModel> Core::DesiredRecords() const {
  return state_->records.All();
}

const wire::Plan* Core::PlanOfReservation(const PlanId& plan) const {
  const ReservationStatus* reservation = state_->reservations.Find(plan);
  return reservation == nullptr || reservation->state == ReservationState::kStopping
             ? nullptr
             : &reservation->plan;
}

}  // namespace exo::cluster
