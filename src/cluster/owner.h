// The instances that this node coordinates: reserve, commit, load, ready, drain, gone. Any failure
// ends an instance with its cause; nothing blocks, because each grant is a lease.
//
//   RESERVING ─ all grants ─> LOADING ─ all loaded ─> READY ─ duplicate ─> DRAINING
//       └── denied, timeout ──────┴── load failed ──────┴── stage lost, unload ──┴─> GONE
//
// A model that many ask for may have several: replicas, by their one owner. Instances of one model
// with different owners are duplicates, which converge.
//
// A READY instance whose owner is lost is adopted by its lead, when all its stages are alive. One
// that moves is succeeded: by an instance that ends it when it is READY, or that waits for its
// memory.
#pragma once

#include <map>
#include <optional>
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
    wire::Cause cause;
  };
  std::vector<Gone> TakeGone() { return std::exchange(gone_, {}); }

  // Begins an instance: reservations go out.
  void Start(PlanChoice choice);
  // What an instance takes the place of.
  struct Succession {
    std::vector<PlanId> plans;  // that end for `cause`; may be none
    wire::Cause cause;
    wire::FormerPlan former;  // what is left of one of them for its requests
  };
  // Begins an instance in the place of others. `beside`: both have room, and the former ones answer
  // until it is READY; otherwise they have ended, and its participants give the first one back
  // before they answer.
  void Succeed(PlanChoice choice, const Succession& succession, bool beside);
  // Ends an instance as soon as it answers nobody, or after a while; it gets no new requests.
  void Drain(const PlanId& plan, const wire::Cause& cause);
  // Ends it now. By value: callers pass the key of what is erased.
  void End(PlanId plan, wire::Cause cause);
  // Goes on with a READY instance whose owner was lost; this node is its lead.
  void Adopt(wire::InstanceSummary summary);
  // Ends every instance of the model.
  void EndModel(const ModelId& model, const wire::Cause& cause);

  void OnReserveReply(const NodeId& from, const wire::ReserveReply& message);
  void OnLoaded(const NodeId& from, const wire::Loaded& message);
  void OnLoadProgress(const NodeId& from, const wire::LoadProgress& message);
  void OnRelease(const NodeId& from, const wire::Release& message);
  void OnInstanceLoad(const NodeId& from, const wire::InstanceLoad& message);
  // Another owner has an instance of a model that may be ours, too.
  void OnOther(const wire::InstanceSummary& other);
  void OnPeerUp(const NodeId& peer);
  void OnPeerLost(const NodeId& peer, const std::string& detail);
  void OnWake();
  void OnTime();

  // The instances of a model, READY ones first; a draining one does not count.
  std::vector<const wire::InstanceSummary*> Of(const ModelId& model) const;
  const wire::InstanceSummary* Find(const ModelId& model) const;  // the first of them, or null
  const wire::InstanceSummary* Find(const PlanId& plan) const;
  bool empty() const { return instances_.empty(); }
  std::vector<InstanceStatus> Status() const;
  // use(summary, how long without a request).
  template <class Use>
  void EachIdle(const Use& use) const {
    for (const auto& [id, instance] : instances_) use(instance.summary, IdleFor(instance));
  }

 private:
  struct Instance {
    wire::InstanceSummary summary;
    PlanId replaces;          // what the participants give back for it
    wire::FormerPlan former;  // what its requests bring along
    // What ends when it is READY, and why.
    std::vector<PlanId> succeeds;
    wire::Cause succeeds_for;
    std::set<NodeId> granted;
    std::map<NodeId, uint64_t> progress;  // bytes loaded
    std::set<NodeId> loaded;
    Time since{};  // of the state; while LOADING, of the last progress
    Time next_renew{};
    Time load_at{};  // of the last InstanceLoad
    bool was_ready = false;
    bool told_load = true;  // everybody knows how busy it is
    const wire::Plan& plan() const { return summary.plan; }
  };
  Instance* Of(const NodeId& participant, const PlanId& plan);
  void SetState(Instance& instance, wire::InstanceState state, wire::Cause cause = {});
  Instance& Add(PlanChoice choice);
  void Reserve(Instance& instance);
  void OnAllLoaded(Instance& instance);
  void SendState(const Instance& instance, const NodeId& participant);
  void SendAll(const wire::Plan& plan, const wire::Message& message);
  void Broadcast(Instance& instance);
  Time IdleFor(const Instance& instance) const;
  std::optional<wire::Cause> TimedOut(const Instance& instance) const;

  Context& context_;
  Members& members_;
  std::map<PlanId, Instance> instances_;
  std::vector<Gone> gone_;
};

}  // namespace exo::cluster
