// What happens to a node, as the core sees it. The driver (src/node, or the simulator) makes these
// from real sessions, loads and compute.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "cluster/planner.h"
#include "wire/messages.h"

namespace exo::cluster {

// ---- time and peers ----
// At least every kTickInterval; nothing times out without it. The wall clock (milliseconds since
// 1970; 0: not told) dates the records of desired models and is used for nothing else.
struct Tick {
  uint64_t wall_ms = 0;
};
inline constexpr Time kTickInterval = std::chrono::milliseconds(100);

// An authenticated control session is up. A second one without SessionDown between replaces the
// first.
struct SessionUp {
  NodeId peer;
  uint64_t boot_nonce = 0;  // of the peer's Hello
  std::string name;
  wire::Address address;  // where it listens
};
struct SessionDown {
  NodeId peer;
  std::string reason;
};
// The handshake was refused, by either side; for display.
struct PeerRefused {
  NodeId peer;
  std::string reason;
  wire::RefusalCode code = wire::RefusalCode::kNotMember;
  wire::Protocols protocols;  // what the peer speaks; newest 0: not told
};
// Its key is not trusted any more: it is lost at once, and no row is left of it.
struct PeerForgotten {
  NodeId peer;
  std::string reason;
};
// Devices that may hold layers in the middle of a model only; all of them, each time they change.
struct Guests {
  std::vector<NodeId> nodes;
};
// Members of earlier runs and where they listened; once, at the start.
struct RememberedPeers {
  wire::PeerHints hints;
};
struct Received {
  NodeId peer;
  wire::Message message;
};

// ---- this node ----
// What this node says about itself. id, incarnation, version and memory_reserved are filled in by
// the core; an unchanged record is ignored.
struct LocalRecord {
  wire::NodeRecord record;
};
// The models whose files this node holds complete: it can own instances of them.
struct LocalModels {
  std::vector<ModelShape> shapes;
};
// Work items computed since start, for heartbeats.
struct LocalProgress {
  uint64_t work_items = 0;
};
// Requests of this lead that wait for room in its KV cache (the rest of the unfinished ones run).
struct LocalLoad {
  PlanId plan;
  uint32_t queued = 0;
};
// Goodbye: sent to all peers; the driver stops afterwards.
struct Leave {
  std::string reason;
};

// ---- models ----
// The records that SaveDesired last kept: once, before any session.
struct RestoreDesired {
  std::vector<wire::DesiredModel> records;
};
// Have a model running somewhere. Answered once by EnsureReply: when it is READY, or refused. From
// then on it is kept running until UnloadModel, on any node.
struct EnsureModel {
  uint64_t ticket = 0;
  ModelId model;
  wire::Split split = wire::Split::kAuto;
  uint32_t context = 0;  // 0: as trained, as far as memory allows
  uint8_t kv_type = 0;
  std::vector<wire::AdapterRef> adapters = {};
  std::optional<wire::DraftRef> draft = {};  // none: as the model's record says
  // Bits of wire::NamedOption: what the caller asks for. Of a model that made room for another one,
  // the adapters that it had before go first unless they are named.
  uint8_t named = 0;
  NodeId settings_of = {};  // whose settings the rest follows; zero: this node's, or the record's
  uint64_t keep_ms = 0;     // as in the record
  wire::Codec codec = wire::Codec::kF32;
  wire::Use use = {};  // auto: as the model's record says
  uint32_t users = 0;  // answers at once; 0: not said
};
// The settings of this node have changed since they became part of the record: what runs stays as
// it is, the next instance is made with these values.
struct ReviseModel {
  wire::DesiredModel record;  // its version and state are those of now
};
struct UnloadModel {
  uint64_t ticket = 0;
  ModelId model;
};
// A placement without loading, by this node or one that holds the model. Answered by PlanMade.
struct PlanModel {
  uint64_t ticket = 0;
  ModelId model;
  wire::Split split = wire::Split::kAuto;
  uint32_t context = 0;  // 0: as trained, as far as memory allows
  uint8_t kv_type = 0;
  std::vector<wire::AdapterRef> adapters = {};
  std::optional<wire::DraftRef> draft = {};
  wire::Codec codec = wire::Codec::kF32;
  wire::Use use = {};
  uint32_t users = 0;                // answers at once; 0: not said
  std::vector<NodeId> without = {};  // as if these were away
};
// The stage of StartLoad is in memory, or why not.
struct LoadFinished {
  PlanId plan;
  Result<void> result;
  uint64_t milliseconds = 0;
};
struct LoadProgressed {
  PlanId plan;
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
};
// Compute or a data link of a running stage died. `lost`: the neighbor whose link broke, or zero.
struct StageFailed {
  PlanId plan;
  Error error;
  NodeId lost;
};
// After StopInstance: its memory is free again. Comes for every StopInstance, once.
struct StageStopped {
  PlanId plan;
};

// ---- requests ----
// A request of this entry node. Submit::plan is chosen by the core; `adapters` are those that
// Submit::adapters means by its indices.
struct SubmitLocal {
  wire::Submit submit;
  ModelId model;
  std::vector<wire::AdapterRef> adapters = {};
};
struct CancelLocal {
  RequestId request;
};
// The client reads more slowly than tokens come: generate none for it until it is unpaused.
struct PauseLocal {
  RequestId request;
  bool paused = false;
};
// From the local lead runner, for a request of LeadSubmit; likewise the next two. News of another
// plan than the one that the request has now are late, and ignored. No tokens: a long prompt goes
// on.
struct LeadEmitted {
  RequestId request;
  std::vector<TokenId> tokens;
  uint32_t cached = 0;  // tokens of the prompt whose KV was there already
  wire::Logprobs logprobs = {};
  wire::SamplerState state = {};             // after the last token
  std::vector<wire::StageTime> stages = {};  // computed for the request so far
  std::vector<wire::StepTrace> steps = {};   // as in wire::Tokens
  uint32_t steps_dropped = 0;
  uint32_t computed = 0;  // likewise
  PlanId plan = {};
};
// The request waits for memory behind so many others.
struct LeadQueued {
  RequestId request;
  uint32_t before = 0;
  PlanId plan = {};
};
struct LeadFinished {
  wire::Finished finished;  // with its plan
};

using Event =
    std::variant<Tick, SessionUp, SessionDown, PeerRefused, PeerForgotten, Guests, RememberedPeers,
                 Received, LocalRecord, LocalModels, LocalProgress, LocalLoad, Leave,
                 RestoreDesired, EnsureModel, ReviseModel, UnloadModel, PlanModel, LoadFinished,
                 LoadProgressed, StageFailed, StageStopped, SubmitLocal, CancelLocal, PauseLocal,
                 LeadEmitted, LeadQueued, LeadFinished>;

}  // namespace exo::cluster
