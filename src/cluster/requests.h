// Requests of this entry node, from submission to their one end, and the requests that this node
// serves as a head for other entries.
//
// The entry owns a request: it keeps the prompt, settings, seed and every token it has passed on.
// Tokens carry their index, so that a head may repeat them after a broken session and none is lost
// or doubled.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/context.h"
#include "cluster/members.h"
#include "cluster/slots.h"
#include "cluster/wishes.h"

namespace exo::cluster {

// The entry's side: waiting (for an instance) ─> active (at a head) ─> finished.
class EntryDesk {
 public:
  EntryDesk(Context& context, Members& members, Wishes& wishes)
      : context_(context), members_(members), wishes_(wishes) {}

  void OnSubmit(const SubmitLocal& event);
  void OnCancel(const CancelLocal& event);
  void OnTokens(const NodeId& from, const wire::Tokens& message);
  void OnFinished(const NodeId& from, const wire::Finished& message);
  void OnPeerUp(const NodeId& peer);
  void OnPeerLost(const NodeId& peer, const std::string& reason);
  void OnInstanceGone(const wire::Plan& plan, const std::string& reason);
  void OnTime();
  size_t size() const { return requests_.size(); }

 private:
  static constexpr size_t kMaxRequests = 4096;  // the service refuses long before
  struct Request {
    wire::Submit submit;
    ModelId model;
    bool active = false;
    wire::Plan plan;  // while active
    std::vector<TokenId> emitted;
    Time homeless_since{};  // waiting without any instance of the model
    const NodeId& head() const { return plan.stages[0].node; }
  };
  bool TryDispatch(Request& request);
  void Finish(const RequestId& request, wire::Finished finished);
  void FinishWithError(const RequestId& request, ErrorCode code, std::string message);

  Context& context_;
  Members& members_;
  Wishes& wishes_;
  std::map<RequestId, Request> requests_;
};

// The head's side.
class HeadDesk {
 public:
  HeadDesk(Context& context, SlotTable& slots) : context_(context), slots_(slots) {}

  void OnSubmit(const NodeId& from, const wire::Submit& message);
  void OnCancel(const NodeId& from, const wire::CancelRequest& message);
  void OnEmitted(const HeadEmitted& event);
  void OnRunnerFinished(const HeadFinished& event);
  void OnServing(const PlanId& plan);
  void OnPlanEnded(const PlanId& plan, const Error& error);
  void OnEntryLost(const NodeId& entry);
  void OnTime();
  uint32_t Active(const PlanId& plan) const;
  size_t size() const;  // not finished

 private:
  static constexpr size_t kMaxRequests = 4096;
  // A finished answer is kept that long, so that an entry whose session broke can ask for it again.
  static constexpr Time kKeep = std::chrono::seconds(60);
  struct Request {
    wire::Submit submit;  // its prompt is freed when the runner has it
    NodeId entry;
    PlanId plan;
    bool held = false;  // the plan is loaded here but the word that all are has not come yet
    std::vector<TokenId> emitted;
    std::optional<wire::Finished> finished;
    Time finished_at{};
  };
  void Run(Request& request);
  void Repeat(const RequestId& id, const Request& request);
  void Refuse(const NodeId& to, const RequestId& request, const Error& error);

  Context& context_;
  SlotTable& slots_;
  std::map<RequestId, Request> requests_;
};

}  // namespace exo::cluster
