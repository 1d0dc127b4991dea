// The instances that this node planned: reserve, commit, load, ready, drain, gone. Any failure ends
// an instance with its reason; nothing blocks, because each grant is a lease.
//
//   RESERVING ─ all grants ─> LOADING ─ all loaded ─> READY ─ duplicate ─> DRAINING
//       └── denied, timeout ──────┴── load failed ──────┴── stage lost, unload ──┴─> GONE
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "cluster/catalog.h"
#include "cluster/context.h"
#include "cluster/members.h"

namespace exo::cluster {

class Owner {
 public:
  Owner(Context& context, Members& members) : context_(context), members_(members) {}

  struct Gone {
    wire::Plan plan;
    bool was_ready = false;
    Error error;
  };
  std::vector<Gone> TakeGone() { return std::exchange(gone_, {}); }

  // Begins an instance: reservations go out.
  void Start(PlanChoice choice);
  // Ends every instance of the model for kUnloadReason. False: none.
  bool Unload(const ModelId& model);

  void OnReserveReply(const NodeId& from, const wire::ReserveReply& message);
  void OnLoaded(const NodeId& from, const wire::Loaded& message);
  void OnLoadProgress(const NodeId& from, const wire::LoadProgress& message);
  void OnRelease(const NodeId& from, const wire::Release& message);
  // Another owner has an instance of a model that may be ours, too.
  void OnOther(const wire::InstanceSummary& other);
  void OnPeerUp(const NodeId& peer);
  void OnPeerLost(const NodeId& peer, const std::string& reason);
  void OnWake();
  // `active(plan)`: requests of this node's lead, 0 when the lead is elsewhere.
  template <class Active>
  void OnTime(const Active& active) {
    for (auto& [id, instance] : instances_) instance.summary.active_requests = active(id);
    CheckTimes();
  }

  const wire::InstanceSummary* Find(const ModelId& model) const;  // a draining one does not count
  const wire::InstanceSummary* Find(const PlanId& plan) const;
  bool empty() const { return instances_.empty(); }
  std::vector<InstanceStatus> Status() const;

 private:
  struct Instance {
    wire::InstanceSummary summary;
    std::string reason;  // the planner's words
    Prediction prediction;
    std::set<NodeId> granted;
    std::map<NodeId, uint64_t> progress;  // bytes loaded
    std::set<NodeId> loaded;
    Time since{};  // of the state; while LOADING, of the last progress
    Time next_renew{};
    bool was_ready = false;
    const wire::Plan& plan() const { return summary.plan; }
  };
  Instance* Of(const NodeId& participant, const PlanId& plan);
  void SetState(Instance& instance, wire::InstanceState state, std::string detail);
  void SendState(const Instance& instance, const NodeId& participant);
  void SendAll(const wire::Plan& plan, const wire::Message& message);
  void Broadcast(const Instance& instance);
  void End(PlanId plan, Error error);  // by value: callers pass the key of what is erased
  void CheckTimes();
  std::optional<std::string> TimedOut(const Instance& instance) const;

  Context& context_;
  Members& members_;
  std::map<PlanId, Instance> instances_;
  std::vector<Gone> gone_;
};

}  // namespace exo::cluster
