// Which models should be running, and who waits for them. A desired stays until somebody unloads
// the model: an instance that is lost is planned again, with back-off, by its owner, or by any node
// that asked for it when the owner is gone.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/catalog.h"
#include "cluster/context.h"
#include "cluster/members.h"
#include "cluster/owner.h"

namespace exo::cluster {

class DesiredModels {
 public:
  DesiredModels(Context& context, Members& members, Owner& owner, Catalog& catalog)
      : context_(context), members_(members), owner_(owner), catalog_(catalog) {}

  void SetShapes(std::vector<ModelShape> shapes);
  void OnEnsure(const EnsureModel& event);
  void OnRemoteEnsure(const NodeId& from, const wire::EnsureInstance& message);
  void OnUnload(const UnloadModel& event);
  // A summary without plan id: the node that was asked has refused, or somebody unloads the model.
  void OnRefusal(const NodeId& from, const wire::InstanceSummary& summary);
  void OnOwnGone(const Owner::Gone& gone);
  void OnOtherGone(const Catalog::Gone& gone);
  void OnTime();

  bool Wanted(const ModelId& model) const { return desired_.contains(model); }
  // The best instance of a model, own or other's. Null: none.
  const wire::InstanceSummary* Best(const ModelId& model) const;

 private:
  static constexpr int kMaxAttempts = 3;  // before a desired that never came true is refused
  // Longer than a message is under way; whoever unloads is answered when all nodes have let go of
  // their holds.
  static constexpr Time kUnloadHolds = std::chrono::milliseconds(500);
  static constexpr Time kUnloadAnswer = std::chrono::milliseconds(800);
  static constexpr Time kUnloadLasts =
      std::chrono::seconds(10);              // an owner that does not let go is reported
  static constexpr size_t kMaxWaiting = 64;  // waiting for one model
  struct Waiting {
    bool local = false;
    uint64_t ticket = 0;  // local
    NodeId asker;         // remote
  };
  struct DesiredModel {
    EnsureModel options;
    std::vector<Waiting> waiting;
    bool was_ready = false;
    bool placed = false;  // an instance was there at the last look
    int attempts = 0;
    Time retry_at{};
    NodeId asked;  // the node that should own it; zero: none
    Time asked_until{};
  };
  struct Unloading {
    ModelId model;
    uint64_t ticket = 0;
    Time since{};
  };
  void Pursue(DesiredModel& desired);
  void Place(DesiredModel& desired, const ModelShape& shape);
  void AskHolder(DesiredModel& desired);
  void Failed(DesiredModel& desired, const Error& error, bool retry);
  void Refuse(DesiredModel& desired, const Error& error);
  void Forget(const ModelId& model, const Error& error);
  void ForgetUnloaded(const ModelId& model);
  bool AnswerUnload(const Unloading& unloading);
  Time Backoff(int attempts) const;

  Context& context_;
  Members& members_;
  Owner& owner_;
  Catalog& catalog_;
  std::map<ModelId, ModelShape> shapes_;
  std::map<ModelId, DesiredModel> desired_;
  // Unloaded just now: another node's desired that was under way meanwhile does not bring it back.
  std::map<ModelId, Time> unloaded_until_;
  std::vector<Unloading> unloading_;  // asked here, not answered yet
};

}  // namespace exo::cluster
