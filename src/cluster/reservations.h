// What this node has promised to instances: the participant's side. Memory is promised once, by the
// node that has it; a promise is a lease, so a vanished owner never keeps it. When the owner of a
// READY instance is lost, its lead becomes the owner and renews the leases.
//
//   reserve ─> RESERVED ─ commit ─> LOADING ─> LOADED ─ ready ─> READY
//                 └──── release, lease over, owner lost ───────────┴─> STOPPING ─ stopped ─> (free)
//
// All messages are idempotent: an owner repeats them after a broken session.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/context.h"
#include "cluster/members.h"

namespace exo::cluster {

class Reservations {
 public:
  Reservations(Context& context, Members& members) : context_(context), members_(members) {}

  // Plans that ended or began to serve here, for the requests at this lead.
  struct Notice {
    PlanId plan;
    bool serving = false;
    bool moved = false;  // it ended for another plan, where its requests go on
    Error error;         // why it ended
  };
  std::vector<Notice> TakeNotices() { return std::exchange(notices_, {}); }

  void OnReserve(const NodeId& from, const wire::Reserve& message);
  void OnCommit(const NodeId& from, const wire::Commit& message);
  void OnReady(const NodeId& from, const wire::InstanceReady& message);
  void OnRenew(const NodeId& from, const wire::LeaseRenew& message);
  void OnRelease(const NodeId& from, const wire::Release& message);
  void OnLoadFinished(const LoadFinished& event);
  void OnLoadProgressed(const LoadProgressed& event);
  void OnStageFailed(const StageFailed& event);
  void OnStageStopped(const StageStopped& event);
  // A link to a neighbor that membership has given up would wait forever.
  void OnNeighborLost(const NodeId& peer, const std::string& detail);
  // Returns the plans that this node, as their lead, is to own now.
  std::vector<PlanId> OnOwnerLost(const NodeId& owner, const std::string& detail);
  // Ends a plan that this node should have adopted but cannot.
  void GiveUp(const PlanId& plan, const wire::Cause& cause);
  void OnTime();

  const ReservationStatus* Find(const PlanId& plan) const;
  uint64_t reserved_bytes() const;
  std::vector<ReservationStatus> Status() const;

 private:
  static constexpr size_t kMaxReservations =
      64;  // a home node runs a few models; more is a runaway owner

  // A plan whose memory is on its way back.
  struct Waiting {
    NodeId from;
    wire::Reserve message;
    Time since{};
  };
  struct Reservation {
    ReservationStatus status;
    Time lease_until{};
    Time next_progress{};
    uint64_t load_ms = 0;
    wire::FormerPlan former = {};
    uint64_t bytes() const { return status.plan.stages[status.stage].bytes; }
  };
  // The reservation if `from` owns its plan; otherwise tells `from` that there is none.
  Reservation* Owned(const NodeId& from, const PlanId& plan);
  void Stop(Reservation& reservation, wire::Cause cause);
  bool WaitsForMemory(const NodeId& from, const wire::Reserve& message, const wire::Cause& why);
  void ServeWaiting();
  void Deny(const NodeId& to, const PlanId& plan, wire::Cause cause);
  // Why not; nothing when the plan can be promised.
  std::optional<wire::Cause> CheckReserve(const NodeId& from, const wire::Plan& plan) const;
  std::optional<wire::Cause> CheckMemory(const wire::Plan& plan, uint32_t stage) const;
  bool CanGoOn(const Reservation& reservation, const NodeId& lost) const;
  void SendLoaded(const Reservation& reservation);

  Context& context_;
  Members& members_;
  std::map<PlanId, Reservation> reservations_;
  std::vector<Waiting> waiting_;
  std::vector<Notice> notices_;
};

}  // namespace exo::cluster
