// Requests of this entry node, from submission to their one end, and the requests that this node
// serves as a lead for other entries.
//
// The entry owns a request: it keeps the prompt, settings, seed and every token it has passed on.
// Tokens carry their index, so that a lead may repeat them after a broken session and none is lost
// or doubled.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/context.h"
#include "cluster/desired_models.h"
#include "cluster/members.h"
#include "cluster/replicas.h"
#include "cluster/reservations.h"

namespace exo::cluster {

// The entry's side: waiting (for an instance) ─> active (at a lead) ─> finished. A request whose
// instance is lost waits once more, and goes on behind the tokens that were passed on; so does one
// whose instance makes way for a better plan, however often. Of replicas each request goes to one
// (replicas.h).
class EntryRequests {
 public:
  EntryRequests(Context& context, Members& members, DesiredModels& desired)
      : context_(context), members_(members), desired_(desired) {}

  void OnSubmit(SubmitLocal event);
  void OnCancel(const CancelLocal& event);
  void OnPause(const PauseLocal& event);
  void OnTokens(const NodeId& from, const wire::Tokens& message);
  void OnQueued(const NodeId& from, const wire::Queued& message);
  void OnFinished(const NodeId& from, const wire::Finished& message);
  void OnPeerUp(const NodeId& peer);
  void OnPeerLost(const NodeId& peer, const std::string& detail);
  void OnInstanceGone(const wire::Plan& plan, const wire::Cause& cause);
  void OnTime();
  size_t size() const { return requests_.size(); }

 private:
  static constexpr size_t kMaxRequests = 4096;  // the service refuses long before
  struct Request {
    wire::Submit submit;
    ModelId model;
    std::vector<wire::AdapterRef> adapters;  // that the submit means
    bool active = false;
    bool paused = false;
    wire::Plan plan;  // the last one: of `emitted`, where there are some
    std::vector<TokenId> emitted;
    wire::SamplerState state;  // after them: what another lead goes on from
    wire::KeptKv kept;         // of them, and of the prompt: what the plan's stages have
    Time unplaced_since{};     // waiting without any instance of the model
    Time sent_at{};            // to the lead, for the first time
    Time heard_at{};           // sent to the lead, or heard of from there
    PlanId ended;              // its former plan, which may still be listed; zero: none
    // Why its instance was lost under it. A second loss ends it: it may be the cause.
    std::optional<Error> lost;
    const NodeId& lead() const { return plan.stages[0].node; }
  };
  bool LostAdapters(const Request& request) const;
  bool LosesOtherBits(const Request& request) const;
  // The instance that the request goes to now; null: none is ready for it.
  const wire::InstanceSummary* Choose(const Request& request) const;
  uint32_t ActiveAt(const PlanId& plan) const;
  bool TryDispatch(Request& request);
  static void GoOn(Request& request);
  static bool CanGoOn(const Request& request);
  void SendToLead(const Request& request);
  void Finish(const RequestId& request, wire::Finished finished);
  void End(const RequestId& request, const wire::Cause& cause);
  void Lose(const RequestId& id, const PlanId& ended, Error error);
  void GoElsewhere(const RequestId& id, const PlanId& ended, Error error);
  bool EndsAtItsLength(const RequestId& id);
  void Wait(Request& request, const PlanId& ended);
  void FinishWithError(const RequestId& request, ErrorCode code, std::string message);

  Context& context_;
  Members& members_;
  DesiredModels& desired_;
  std::map<RequestId, Request> requests_;
  PrefixHints hints_;
  RecentEnds ends_;
};

// The lead's side.
class LeadRequests {
 public:
  LeadRequests(Context& context, Reservations& reservations)
      : context_(context), reservations_(reservations) {}

  void OnSubmit(const NodeId& from, wire::Submit message);
  void OnCancel(const NodeId& from, const wire::CancelRequest& message);
  void OnPause(const NodeId& from, const wire::PauseRequest& message);
  void OnEmitted(const LeadEmitted& event);
  void OnRunnerQueued(const LeadQueued& event);
  void OnRunnerFinished(const LeadFinished& event);
  void OnPeerUp(const NodeId& entry);
  void OnServing(const PlanId& plan);
  void OnPlanEnded(const PlanId& plan, const Error& error, bool moved);
  void OnEntryLost(const NodeId& entry);
  void OnLocalLoad(const LocalLoad& event);
  void OnTime();
  size_t size() const;  // not finished

 private:
  static constexpr size_t kMaxRequests = 4096;
  // Of a repeated answer: with all logprobs 700 KiB.
  static constexpr size_t kTokensPerMessage = 4096;
  struct Request {
    wire::Submit submit;  // its prompt is freed when the runner has it
    NodeId entry;
    PlanId plan;
    bool held = false;  // waits for InstanceReady
    bool paused = false;
    uint32_t generated = 0;
    uint32_t cached = 0;
    uint32_t before = 0;  // tokens of the answer that the submit's prompt has
    // Only for another node's entry: nothing is lost on the way to ours.
    std::vector<TokenId> emitted;  // behind those
    wire::Logprobs logprobs;       // of `emitted`
    wire::SamplerState state;      // after it
    uint32_t computed = 0;         // likewise
    std::vector<wire::StageTime> stages;
    std::optional<wire::Finished> finished;
    Time finished_at{};
  };
  // How busy a plan of this lead is, and what its owner was told.
  struct Activity {
    uint32_t queued = 0;  // by the runner
    Time idle_since{};
    std::optional<wire::InstanceLoad> told;
  };
  uint32_t Unfinished(const PlanId& plan) const;
  void ReportLoad();
  void Run(Request& request);
  void Repeat(const RequestId& id, const Request& request);
  void Refuse(const NodeId& to, const wire::Submit& submit, const Error& error);

  Context& context_;
  Reservations& reservations_;
  std::map<RequestId, Request> requests_;
  std::map<PlanId, Activity> activity_;
};

}  // namespace exo::cluster
