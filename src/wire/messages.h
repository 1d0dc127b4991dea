// Everything nodes say to each other, as plain values. wire/codec.h turns them into bytes
// (FlatBuffers, verified before use) and back; nothing else knows the byte form. docs/protocol.md
// is the grammar.
//
// Two kinds of connection carry them (Hello::channel): one control session per pair of nodes, and
// one data link per adjacent pair of stages and instance. Fields are only ever added at the end.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace exo::wire {

inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr uint32_t kProtocolOldest = 1;

// Limits on what a peer may send (checked before anything is allocated).
inline constexpr uint32_t kMaxControlFrame = 8u << 20;  // a prompt of 1 M tokens is 4 MiB
inline constexpr uint32_t kMaxDataFrame =
    256u << 20;  // a chunk of 2048 positions of width 16384, f32, twice over
inline constexpr uint32_t kMaxStages = 64;
inline constexpr uint32_t kMaxName = 256;

// ---- handshake
// -----------------------------------------------------------------------------------

enum class Channel : uint8_t { kControl = 0, kData = 1, kBulk = 2 };

// First message in each direction on every connection.
struct Hello {
  uint32_t protocol_oldest = kProtocolOldest;
  uint32_t protocol_newest = kProtocolVersion;
  uint64_t features = 0;
  NumericsId numerics;
  Channel channel = Channel::kControl;
  PlanId plan;               // data links: the instance they belong to
  uint64_t boot_nonce = 0;   // random per start: tells a restarted node from a stale one
  uint16_t listen_port = 0;  // where this node accepts peers
  std::string name;          // for people
  std::string version;       // program version, for people
  std::vector<uint8_t>
      proof;  // HMAC-SHA-256 by the cluster secret (net/trust.h), empty without one

  friend bool operator==(const Hello&, const Hello&) = default;
};

enum class RefusalCode : uint8_t {
  kNotMember = 0,    // key not in the trust set and no valid proof
  kVersion = 1,      // no common protocol version
  kNumerics = 2,     // another arithmetic: could give other bits
  kDuplicate = 3,    // this pair of nodes has a session already
  kBusy = 4,         // connection limit
  kUnknownPlan = 5,  // a data link for an instance this node does not have
  kKeyInUse = 6,     // another running device has the same key (a copied data folder)
};
struct HelloReply {
  bool accepted = false;
  RefusalCode code = RefusalCode::kNotMember;
  std::string reason;  // for people; says what to do

  friend bool operator==(const HelloReply&, const HelloReply&) = default;
};

// ---- membership
// ----------------------------------------------------------------------------------

struct Address {
  std::string host;  // numeric IPv4 or IPv6
  uint16_t port = 0;
  friend auto operator<=>(const Address&, const Address&) = default;
};

// A model file that a node holds.
struct ModelHolding {
  ModelId id;
  std::string name;
  uint64_t file_bytes = 0;
  bool complete = true;
  friend bool operator==(const ModelHolding&, const ModelHolding&) = default;
};

// What a node says about itself; only that node writes it. Higher (boot_nonce's incarnation,
// version) wins.
struct NodeRecord {
  NodeId id;
  uint64_t incarnation = 0;  // grows at each start, kept on disk
  uint64_t version = 0;      // grows at each change
  std::string name;
  std::vector<Address> addresses;
  NumericsId numerics;
  std::string isa;  // "avx512", for people
  uint32_t cores = 0;
  uint64_t memory_total = 0;     // bytes of the machine or its cgroup limit
  uint64_t memory_budget = 0;    // bytes that exo may use for weights and KV in all
  uint64_t memory_reserved = 0;  // of the budget: held by instances and leases
  double decode_gbps = 0;        // measured: GB/s of weights streamed in decode
  double prefill_gops = 0;       // measured: 1e9 integer multiply-adds x 2 per second in prefill
  uint32_t api_port = 0;
  std::vector<ModelHolding> models;
  friend bool operator==(const NodeRecord&, const NodeRecord&) = default;
};

struct Heartbeat {
  uint64_t sequence = 0;
  uint64_t incarnation = 0;
  uint64_t record_version = 0;  // the receiver asks for the record when it is behind
  uint64_t echo = 0;            // last sequence seen from the receiver (round-trip time)
  uint64_t progress =
      0;  // work items computed since start: a live socket with a stuck kernel shows
  friend bool operator==(const Heartbeat&, const Heartbeat&) = default;
};
struct NodeUpdate {
  NodeRecord record;
  friend bool operator==(const NodeUpdate&, const NodeUpdate&) = default;
};
struct RecordRequest {
  friend bool operator==(const RecordRequest&, const RecordRequest&) = default;
};
// Where the sender believes members can be reached: hints that complete the mesh.
struct PeerHints {
  struct Hint {
    NodeId id;
    std::vector<Address> addresses;
    friend bool operator==(const Hint&, const Hint&) = default;
  };
  std::vector<Hint> peers;
  friend bool operator==(const PeerHints&, const PeerHints&) = default;
};
struct Goodbye {
  std::string reason;
  friend bool operator==(const Goodbye&, const Goodbye&) = default;
};

// ---- instances
// -----------------------------------------------------------------------------------

struct StagePlan {
  NodeId node;
  uint32_t layer_begin = 0;  // [begin, end)
  uint32_t layer_end = 0;
  uint64_t bytes = 0;  // memory this stage reserves: weights, KV, scratch
  friend bool operator==(const StagePlan&, const StagePlan&) = default;
};

// One model placed on one or more nodes. stages[0].node is the lead: it holds embedding and output.
// A stage may be empty only at the lead (layer_begin == layer_end) when the lead computes no
// layers.
struct Plan {
  PlanId id;  // hash of everything below (cluster/plan.h)
  ModelId model;
  std::string model_name;
  NodeId owner;
  uint64_t term = 0;
  uint64_t nonce = 0;
  std::vector<StagePlan> stages;
  uint32_t layers = 0;
  uint32_t context = 0;    // positions of a sequence at most
  uint32_t sequences = 0;  // sequences of full context the KV reservation holds
  uint32_t chunk = 0;      // positions in one step at most
  uint8_t kv_type = 0;     // kernels::KvType
  uint8_t wire_codec = 0;  // 0: f32
  friend bool operator==(const Plan&, const Plan&) = default;
};

struct Reserve {
  Plan plan;
  friend bool operator==(const Reserve&, const Reserve&) = default;
};
struct ReserveReply {
  PlanId plan;
  bool granted = false;
  ErrorCode code = ErrorCode::kOverloaded;
  std::string reason;
  friend bool operator==(const ReserveReply&, const ReserveReply&) = default;
};
struct Commit {
  PlanId plan;
  friend bool operator==(const Commit&, const Commit&) = default;
};
struct Loaded {
  PlanId plan;
  bool ok = false;
  ErrorCode code = ErrorCode::kIo;
  std::string reason;
  uint64_t milliseconds = 0;
  friend bool operator==(const Loaded&, const Loaded&) = default;
};
struct LoadProgress {
  PlanId plan;
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
  friend bool operator==(const LoadProgress&, const LoadProgress&) = default;
};
// Owner to participants: all stages are loaded; also renews the lease of every participant.
struct InstanceReady {
  PlanId plan;
  friend bool operator==(const InstanceReady&, const InstanceReady&) = default;
};
struct LeaseRenew {
  PlanId plan;
  friend bool operator==(const LeaseRenew&, const LeaseRenew&) = default;
};
// Owner to participants: give everything back. Participant to owner: this stage cannot go on.
struct Release {
  PlanId plan;
  std::string reason;
  friend bool operator==(const Release&, const Release&) = default;
};

enum class InstanceState : uint8_t {
  kReserving = 0,
  kLoading = 1,
  kReady = 2,
  kDraining = 3,
  kGone = 4
};
// Owner to all members, for /v1/cluster and for entry nodes that route requests.
struct InstanceSummary {
  Plan plan;
  InstanceState state = InstanceState::kReserving;
  std::string detail;
  uint32_t active_requests = 0;
  uint32_t queued_requests = 0;
  friend bool operator==(const InstanceSummary&, const InstanceSummary&) = default;
};
// A node asks the owner (or, when no instance runs, the node it chose) to have the model running.
struct EnsureInstance {
  ModelId model;
  bool spread = false;
  uint32_t context = 0;  // 0: default
  uint8_t kv_type = 0;
  friend bool operator==(const EnsureInstance&, const EnsureInstance&) = default;
};

// ---- requests: entry node <-> lead
// ---------------------------------------------------------------

struct SamplerSettings {
  float temperature = 0;  // 0: greedy
  uint32_t top_k = 0;     // 0: off
  float top_p = 1;
  float min_p = 0;
  float repeat_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint32_t penalty_window = 64;  // last tokens that penalties look at
  uint64_t seed = 0;             // drawn at the entry node when the client gave none
  friend bool operator==(const SamplerSettings&, const SamplerSettings&) = default;
};
struct Submit {
  RequestId request;
  PlanId plan;
  std::vector<TokenId> prompt;  // prompt and, after a recovery, everything already emitted
  uint32_t prompt_tokens = 0;   // how many of them are the prompt
  uint32_t max_new_tokens = 0;
  SamplerSettings sampler;
  std::vector<TokenId> stop_tokens;
  friend bool operator==(const Submit&, const Submit&) = default;
};
struct Tokens {
  RequestId request;
  uint32_t first_index = 0;  // position of tokens[0] in the answer
  std::vector<TokenId> tokens;
  PlanId plan;
  friend bool operator==(const Tokens&, const Tokens&) = default;
};
enum class FinishReason : uint8_t { kStop = 0, kLength = 1, kError = 2, kCancelled = 3 };
struct StageTime {
  NodeId node;
  uint32_t layer_begin = 0;
  uint32_t layer_end = 0;
  uint64_t microseconds = 0;
  friend bool operator==(const StageTime&, const StageTime&) = default;
};
struct Finished {
  RequestId request;
  FinishReason reason = FinishReason::kStop;
  ErrorCode code = ErrorCode::kIo;  // for kError
  std::string message;
  uint32_t generated = 0;
  uint64_t prefill_us = 0;
  uint64_t decode_us = 0;
  std::vector<StageTime> stages;
  friend bool operator==(const Finished&, const Finished&) = default;
};
// Entry to lead: the client is gone. Lead to the other stages: rows of this request need not be
// computed any more. Valid for this plan only, and only from the request's entry or the plan's
// lead.
struct CancelRequest {
  RequestId request;
  PlanId plan;
  friend bool operator==(const CancelRequest&, const CancelRequest&) = default;
};

// ---- bulk: a stage without the model file pulls what it needs
// -------------------------------------

// The head of a model: every file's metadata bytes and the hash of every tensor. ModelId is its
// hash.
struct ManifestRequest {
  ModelId model;
  friend bool operator==(const ManifestRequest&, const ManifestRequest&) = default;
};
struct ManifestReply {
  bool found = false;
  std::vector<uint8_t> bytes;
  friend bool operator==(const ManifestReply&, const ManifestReply&) = default;
};
struct TensorRequest {
  ModelId model;
  std::string name;
  uint64_t offset = 0;
  uint32_t bytes = 0;  // at most kMaxTensorPiece
  friend bool operator==(const TensorRequest&, const TensorRequest&) = default;
};
inline constexpr uint32_t kMaxTensorPiece = 4u << 20;
struct TensorReply {
  bool found = false;
  std::vector<uint8_t> bytes;
  friend bool operator==(const TensorReply&, const TensorReply&) = default;
};

// ---- data links
// ----------------------------------------------------------------------------------

// One request's part of a step. Idempotent by (request, plan, step).
struct StepItem {
  RequestId request;
  uint32_t first = 0;  // position of its first row
  uint32_t count = 0;  // rows
  // Rows [output_first, output_first + output_count) of the item go back to the lead after the last
  // layer.
  uint32_t output_first = 0;
  uint32_t output_count = 0;
  uint32_t adapter = 0;   // reserved for low-rank adapters; 0: none
  uint32_t capacity = 0;  // positions to reserve when the sequence is new
  // A stage gave the item up: it has no rows in this frame, and no later stage computes it.
  bool cancelled = false;
  friend bool operator==(const StepItem&, const StepItem&) = default;
};
// Forget a sequence's positions from `length` on: rejected drafts, or a cancelled step.
struct StepTruncate {
  RequestId request;
  uint32_t length = 0;
  friend bool operator==(const StepTruncate&, const StepTruncate&) = default;
};
// A new sequence `to` with the first `length` positions of `from`.
struct StepFork {
  RequestId from;
  RequestId to;
  uint32_t length = 0;
  uint32_t capacity = 0;  // positions to reserve for `to`
  friend bool operator==(const StepFork&, const StepFork&) = default;
};
// A micro-batch on its way through the stages; rows [sum of counts][width] f32 of the items that
// are not cancelled follow the metadata. The last stage sends back only the requested output rows.
// Sequences change in this order: close, truncate, fork, then the items.
struct Step {
  PlanId plan;
  uint64_t step = 0;  // strictly growing per instance
  std::vector<StepItem> items;
  std::vector<RequestId> close;  // sequences to free
  std::vector<StageTime> times;  // each stage appends what it computed
  std::vector<StepTruncate> truncate;
  std::vector<StepFork> fork;
  friend bool operator==(const Step&, const Step&) = default;
};
// The tail of a Step's journey, or why it ended early.
struct StepFailed {
  PlanId plan;
  uint64_t step = 0;
  ErrorCode code = ErrorCode::kIo;
  std::string message;
  friend bool operator==(const StepFailed&, const StepFailed&) = default;
};

// Entry to lead: the client reads more slowly than tokens come; generate none until it says
// otherwise.
struct PauseRequest {
  RequestId request;
  PlanId plan;
  bool paused = false;
  friend bool operator==(const PauseRequest&, const PauseRequest&) = default;
};

using Message =
    std::variant<Hello, HelloReply, Heartbeat, NodeUpdate, RecordRequest, PeerHints, Goodbye,
                 Reserve, ReserveReply, Commit, Loaded, LoadProgress, InstanceReady, LeaseRenew,
                 Release, InstanceSummary, EnsureInstance, Submit, Tokens, Finished, CancelRequest,
                 ManifestRequest, ManifestReply, TensorRequest, TensorReply, Step, StepFailed,
                 PauseRequest>;

}  // namespace exo::wire
