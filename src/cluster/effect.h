// What the core wants done, in order. The driver does it and never answers from inside: answers are
// events.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "wire/messages.h"

namespace exo::cluster {

struct Send {
  NodeId peer;  // never this node; dropped when there is no session
  wire::Message message;
};
// Close the session (the peer is dead to us); SessionDown may follow or not.
struct Disconnect {
  NodeId peer;
  std::string reason;
};
// Try to reach a peer there (a hint from another member, or a session that broke).
struct ConnectPeer {
  NodeId peer;
  std::vector<wire::Address> addresses;
};
// Load stage plan.stages[stage] in the background, then LoadFinished.
struct StartLoad {
  wire::Plan plan;
  uint32_t stage = 0;
  wire::FormerPlan former = {};  // whose KV its requests bring along
};
// All stages are loaded: open the data links; at the lead (stage 0) requests may come.
struct StartServing {
  wire::Plan plan;
  uint32_t stage = 0;
};
// Stop loading or serving, free everything, then StageStopped. The core ends its requests itself
// (no LeadCancel for each, no LeadFinished awaited).
struct StopInstance {
  PlanId plan;
  wire::Cause cause;
};
// This node is the lead: hand to the local runner; LeadEmitted and LeadFinished follow.
struct LeadSubmit {
  wire::Submit submit;
  NodeId entry;
};
struct LeadCancel {
  PlanId plan;
  RequestId request;  // no LeadFinished needs to follow
};
struct LeadPause {
  PlanId plan;
  RequestId request;
  bool paused = false;
};
struct EnsureReply {
  uint64_t ticket = 0;
  Result<wire::InstanceSummary> result;  // READY, or the refusal with its figures
};
struct PlanMade {
  uint64_t ticket = 0;
  Result<wire::InstanceSummary> result;  // plan and expectation of an instance that is not there
  std::vector<wire::PlanRival> rivals = {};
  std::vector<wire::PlannedReplica> replicas = {};  // as in wire::PlanReply
};
// Keep these on disk instead of the ones before, for RestoreDesired at the next start.
struct SaveDesired {
  std::vector<wire::DesiredModel> records;
};
struct UnloadReply {
  uint64_t ticket = 0;
  Result<void> result;
};
// For a request of this entry node: tokens in order, none twice.
struct RequestTokens {
  RequestId request;
  std::vector<TokenId> tokens;
  uint32_t cached = 0;  // as in LeadEmitted
  wire::Logprobs logprobs = {};
  std::vector<wire::StageTime> stages = {};  // computed for the request so far
  PlanId plan = {};                          // that computed them
  std::vector<wire::StepTrace> steps = {};   // as in wire::Tokens
  uint32_t steps_dropped = 0;
};
struct RequestQueued {
  RequestId request;
  uint32_t before = 0;  // requests that wait longer at the lead
};
// A device of a request of this entry node was lost in the middle of it; for the log.
struct RequestLost {
  RequestId request;
  std::string why;
  size_t generated = 0;  // tokens that are out
  bool goes_on = false;  // as soon as the model runs again; else RequestFinished follows
};
// The end of a request of this entry node; exactly one per SubmitLocal (none after CancelLocal).
struct RequestFinished {
  wire::Finished finished;
  std::vector<wire::StagePlan> stages;    // of its last placement; empty: there was none
  wire::Codec codec = wire::Codec::kF32;  // on the links between them
};
// Nodes or instances look different now: tell the dashboard.
struct Changed {};

using Effect =
    std::variant<Send, Disconnect, ConnectPeer, StartLoad, StartServing, StopInstance, LeadSubmit,
                 LeadCancel, LeadPause, EnsureReply, UnloadReply, PlanMade, SaveDesired,
                 RequestTokens, RequestQueued, RequestLost, RequestFinished, Changed>;

}  // namespace exo::cluster
