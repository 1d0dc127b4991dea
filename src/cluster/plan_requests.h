// Placements without loading: by this node when it holds the model, else by a member that does.
#pragma once

#include <map>
#include <span>

#include "cluster/context.h"
#include "cluster/desired_models.h"
#include "cluster/members.h"

namespace exo::cluster {

class PlanRequests {
 public:
  PlanRequests(Context& context, Members& members, DesiredModels& desired)
      : context_(context), members_(members), desired_(desired) {}

  void OnPlanModel(const PlanModel& event);
  void OnRequest(const NodeId& from, const wire::PlanRequest& message);
  void OnReply(const NodeId& from, const wire::PlanReply& message);
  void OnPeerLost(const NodeId& peer);
  void OnTime();

 private:
  static constexpr size_t kMaxAsked = 256;  // a client each; more are refused
  struct Asked {
    NodeId holder;
    Time until{};
  };
  // `without`: devices that are not counted on.
  wire::PlanReply Answer(const NodeId& from, const wire::PlanRequest& request,
                         std::span<const NodeId> without = {}) const;
  void Finish(const wire::PlanReply& reply);
  void NoAnswer(uint64_t ticket, const NodeId& holder);

  Context& context_;
  Members& members_;
  DesiredModels& desired_;
  std::map<uint64_t, Asked> asked_;  // by ticket
};

}  // namespace exo::cluster
