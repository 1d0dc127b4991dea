// Has the models that should run running: places them, asks a holder to, plans lost ones again,
// makes room by ending idle ones, moves those whose
// devices have changed (moves.cc), and ends those that nobody has asked for as long as their record
// says. What should run is in the records (desired_records.h); here is
// who waits for it, and the next attempt.
//
//   kRunning   written by the owner once its instance is READY; a lost one is planned again, with
//              back-off, by its owner or else by any member that holds the model
//   kOnDemand  written by whoever needed the memory, and by the owner of a model that nobody asks;
//              the next request loads the model again
//   kUnloaded  ends every instance, and refuses whoever waited without knowing of it
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/catalog.h"
#include "cluster/context.h"
#include "cluster/desired_records.h"
#include "cluster/drift.h"
#include "cluster/members.h"
#include "cluster/owner.h"
#include "wire/limits.h"

namespace exo::cluster {

class DesiredModels {
 public:
  DesiredModels(Context& context, Members& members, Owner& owner, Catalog& catalog,
                DesiredRecords& records)
      : context_(context), members_(members), owner_(owner), catalog_(catalog), records_(records) {}

  void SetShapes(std::vector<ModelShape> shapes);
  void OnEnsure(const EnsureModel& event);
  void OnRevise(const ReviseModel& event);
  void OnRemoteEnsure(const NodeId& from, const wire::EnsureInstance& message);
  void OnRefused(const NodeId& from, const wire::EnsureRefused& message);
  void OnUnload(const UnloadModel& event);
  // A record that is new on this node. `restored`: from disk, at the start.
  void OnRecord(const wire::DesiredModel& record, bool restored);
  void OnOwnGone(const Owner::Gone& gone);
  void OnOtherGone(const Catalog::Gone& gone);
  void OnTime();
  // The instance of a request was ended to make room before it answered: has it back.
  void Revive(const ModelId& model);

  // Is somebody waiting for the model, or is it to be kept running?
  bool IsDesired(const ModelId& model) const;
  // The best instance of a model, own or other's. Null: none.
  const wire::InstanceSummary* Best(const ModelId& model) const;
  // It and its replicas: all instances of its owner that are not draining. A duplicate is none.
  std::vector<const wire::InstanceSummary*> Replicas(const ModelId& model) const;
  const ModelShape* ShapeOf(const ModelId& model) const;
  // Is there an instance, or could the devices that are left make one? Where this node does not
  // know the model's shape, whoever holds it may.
  bool CouldPlace(const ModelId& model) const;

 private:
  static constexpr int kMaxAttempts = 3;     // before a model that never ran is refused
  static constexpr int kMaxHeals = 6;        // about a minute for what a lost replica held
  static constexpr size_t kMaxWaiting = 64;  // for one model
  static constexpr size_t kMaxDemands = wire::kMaxDesired;
  struct Waiting {
    bool local = false;
    uint64_t ticket = 0;     // local
    NodeId asker;            // remote
    wire::HybridTime known;  // the record that the caller knew of
  };
  struct Demand {
    EnsureModel options;
    std::vector<Waiting> waiting;
    wire::HybridTime intent;  // the version of the record that its READY instance will write
    bool placed = false;      // an instance was there at the last look
    int attempts = 0;
    Time retry_at{};
    Time making_room_until{};
    NodeId asked;  // the node that should own it; zero: none
    Time asked_until{};
    // A replica was lost while others answer: when to look whether one can take its place, and how
    // often that failed since all were there.
    std::optional<Time> heal_at;
    int heals = 0;
  };
  static EnsureModel OptionsOf(const wire::DesiredModel& record);
  Demand* DemandFor(const ModelId& model);
  void Pursue(Demand& demand);
  void OnPlaced(Demand& demand, const wire::InstanceSummary& best);
  void Place(Demand& demand, const ModelShape& shape);
  PlanOptions PlanOptionsOf(const Demand& demand);
  std::vector<PlanNode> NodesFor(const Demand& demand) const;
  void StartAll(PlanChoice choice);
  void LookForDrift();
  // What this node runs of a model, all of it READY.
  struct Running {
    std::vector<wire::Plan> plans;
    uint32_t requests = 0;
  };
  std::optional<Running> RunningOf(const ModelId& model) const;
  void LookForDrift(Demand& demand, const ModelShape& shape, const Running& running);
  PlanOptions OptionsToMove(const Demand& demand, const Running& running, uint32_t users);
  std::optional<uint32_t> LookAtLoad(const Demand& demand, const Running& running);
  // Why other plans are looked for, and for how many answers at once.
  struct Occasion {
    Drift::Change change;
    uint32_t users = 1;
  };
  bool MoveIfBetter(Demand& demand, const ModelShape& shape, const Running& running,
                    const Occasion& occasion);
  // False: all stays as it is.
  // A model, and the devices as they are now.
  struct Here {
    const ModelShape& shape;
    const std::vector<PlanNode>& nodes;
  };
  bool Move(Demand& demand, const Here& here, const Running& running, PlanChoice choice,
            const Drift::Change& change);
  // Whether the member holds the whole model.
  bool Holds(const NodeId& node, const ModelId& model) const;
  void AskHolder(Demand& demand);
  // A member that holds the whole model; zero: none.
  NodeId HolderOf(const ModelId& model) const;
  void Failed(Demand& demand, const wire::Cause& cause, bool retry);
  void Refuse(Demand& demand, const wire::Cause& cause);
  void RefuseEarlier(const ModelId& model, const wire::HybridTime& version);
  void Reply(const Waiting& waiting, const ModelId& model, const wire::Cause& cause);
  void OnOnDemand(const wire::DesiredModel& record);
  void WaitForRecord(const wire::DesiredModel& record, bool restored);
  uint64_t KeepOf(const ModelId& model) const;
  // READY with all its replicas, and nobody is answered or waits.
  bool IsIdle(const ModelId& model) const;
  void EndUnused();
  // For who finds no memory: what makes no room; empty where there is nothing.
  std::string PinnedModels() const;
  void KeepFor(const wire::DesiredModel& known, uint64_t keep_ms);
  // READY instances without a request for a while, the longest idle first; `but` is not among them.
  std::vector<const wire::InstanceSummary*> IdleInstances(const ModelId& but) const;
  bool MakeRoom(Demand& demand, const ModelShape& shape, std::vector<PlanNode> nodes,
                const PlanOptions& options);
  bool EvictOneAt(const NodeId& node, const ModelId& but);
  void Evict(const wire::Plan& plan);

  struct Unloading {
    ModelId model;
    uint64_t ticket = 0;
    wire::HybridTime version;
    Time since{};
  };
  bool AnswerUnload(const Unloading& unloading);
  Time Backoff(int attempts) const;
  NameOf Names() const {
    return [this](const NodeId& node) { return members_.NameOf(node); };
  }

  Context& context_;
  Members& members_;
  Owner& owner_;
  Catalog& catalog_;
  DesiredRecords& records_;
  Drift drift_{context_};
  Time next_look_{};  // for it
  std::map<ModelId, ModelShape> shapes_;
  std::map<ModelId, Demand> demands_;
  std::map<ModelId, Time> until_idle_since_;  // that it is to end when it is idle, is known here
  std::vector<Unloading> unloading_;          // asked here, not answered yet
};

}  // namespace exo::cluster
