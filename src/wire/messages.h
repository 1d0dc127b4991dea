// Everything nodes say to each other, as plain values. wire/codec.h turns them into bytes
// (FlatBuffers, verified before use) and back; nothing else knows the byte form. docs/protocol.md
// is the grammar.
//
// Three kinds of connection carry them (Hello::channel): one control session per pair of nodes, one
// data link per adjacent pair of stages and instance, and bulk links for weights and manifests.
// Fields are only ever added at the end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace exo::wire {

// Version 1 said why in English and 2 hashed tensors otherwise: both are refused; from 3 on a
// version works with the one before it (docs/protocol.md, "How it may grow").
inline constexpr uint32_t kProtocolVersion = 3;
inline constexpr uint32_t kProtocolOldest = 3;

// Limits on what a peer may send (checked before anything is allocated).
inline constexpr uint32_t kMaxControlFrame = 8u << 20;  // a prompt of 1 M tokens is 4 MiB
inline constexpr uint32_t kMaxDataFrame =
    256u << 20;  // a chunk of 2048 positions of width 16384, f32, twice over
inline constexpr uint32_t kMaxStages = 64;
inline constexpr uint32_t kMaxName = 256;

// ---- handshake ----

enum class Channel : uint8_t { kControl = 0, kData = 1, kBulk = 2 };

// The versions of the protocol that a node speaks. Newest 0: it has not said.
struct Protocols {
  uint32_t oldest = 0;
  uint32_t newest = 0;
  friend bool operator==(const Protocols&, const Protocols&) = default;
};
inline constexpr Protocols kProtocols = {kProtocolOldest, kProtocolVersion};
// "protocol 3", "protocols 3 to 4"
std::string TextOf(const Protocols& protocols);

// First message in each direction on every connection.
struct Hello {
  Protocols protocols = kProtocols;
  NumericsId numerics;
  Channel channel = Channel::kControl;
  PlanId plan;               // data links: the instance they belong to
  uint64_t boot_nonce = 0;   // random per start: tells a restarted node from a stale one
  uint16_t listen_port = 0;  // where this node accepts peers
  std::string name;          // for display
  std::string version;       // program version, for display
  std::vector<uint8_t>
      proof;  // HMAC-SHA-256 by the cluster secret (net/secret.h), empty without one

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
  std::string reason;   // for display; says what to do
  Protocols protocols;  // of who refuses, with kVersion

  friend bool operator==(const HelloReply&, const HelloReply&) = default;
};

// ---- membership ----

struct Address {
  std::string host;  // numeric IPv4 or IPv6
  uint16_t port = 0;
  friend auto operator<=>(const Address&, const Address&) = default;
};

// A model that a node holds.
struct ModelHolding {
  ModelId id;
  std::string name;
  uint64_t file_bytes = 0;
  bool complete = true;
  // What every node must say alike of the model, with or without the file; 0 or empty: unknown.
  uint32_t trained_context = 0;
  uint32_t layers = 0;
  std::string architecture;
  bool pulled = false;   // not as a file of its own: tensor by tensor, from a member
  bool adapter = false;  // a low-rank adapter: no model that runs by itself
  // Of one that was downloaded: SHA-256 of the SHA-256 of its files, in order. Zero: unknown.
  Hash256 content;
  friend bool operator==(const ModelHolding&, const ModelHolding&) = default;
};

enum class DeviceKind : uint8_t { kCpu = 0, kGpu = 1 };

// How long weights of a format take a device, by the time of as many in Q4_0.
struct FormatCost {
  uint32_t format = 0;  // GGUF's number
  double decode = 1;    // a byte of them, read for one row
  double prefill = 1;   // an operation, with many rows at once
  friend bool operator==(const FormatCost&, const FormatCost&) = default;
};

// A device of a node that computes.
struct DeviceRecord {
  DeviceKind kind = DeviceKind::kCpu;
  std::string name;  // "AMD EPYC 9B14", for display
  std::string isa;   // "avx512", likewise
  uint32_t cores = 0;
  uint64_t memory_total = 0;     // bytes of the device; of a CPU: the machine or its cgroup limit
  uint64_t memory_budget = 0;    // bytes that exo may use for weights and KV in all
  uint64_t memory_reserved = 0;  // of the budget: held by instances and leases
  double decode_gbps = 0;        // measured: GB/s of Q4_0 weights streamed in decode
  double prefill_gops = 0;       // measured: 1e9 integer multiply-adds x 2 per second in prefill
  double load = 0;               // part of the last seconds that it computed, in quarters
  double layer_bytes = 0;        // a layer takes a row so many bytes of Q4_0 beside its weights
  std::vector<FormatCost> formats = {};  // those that are not listed: as Q4_0
  double duty = 1;  // of the time it computes in decode_gbps; the rest a quota takes
  // GB/s at which layers come from its disk while they compute. 0: it does not read them so.
  double disk_gbps = 0;
  friend bool operator==(const DeviceRecord&, const DeviceRecord&) = default;
};

enum class PowerSource : uint8_t { kUnknown = 0, kMains = 1, kBattery = 2 };
enum class Heat : uint8_t {
  kUnknown = 0,
  kCool = 1,
  kHot = 2
};  // hot: it throttles, or is about to
// Does a person work at the device?
enum class Presence : uint8_t { kUnknown = 0, kAway = 1, kPresent = 2 };

// Why a node holds back: bits of HealthRecord::reasons.
inline constexpr uint32_t kLowCharge = 1;
inline constexpr uint32_t kOnBattery = 2;
inline constexpr uint32_t kTooHot = 4;
inline constexpr uint32_t kOwnerWorks = 8;
inline constexpr uint32_t kOutsideHours = 16;

// How a node is, and what it holds back for that by its own settings. Zero: unknown, or nothing.
struct HealthRecord {
  PowerSource power = PowerSource::kUnknown;
  std::optional<uint32_t> charge;  // of its batteries, percent; none: it has none
  Heat heat = Heat::kUnknown;
  Presence owner = Presence::kUnknown;
  double other_load = 0;  // part of its processor that other programs take, in quarters
  uint32_t withheld = 0;  // percent of its speed that models cannot count on; 100: it takes no part
  uint32_t reasons = 0;   // for that
  // Of the machine, for display: rounded, so that a record does not change all the time.
  std::optional<uint32_t> celsius;      // of its warmest sensor; none: it has none
  std::optional<uint64_t> memory_used;  // bytes, by all programs; none: unknown
  friend bool operator==(const HealthRecord&, const HealthRecord&) = default;
};
inline constexpr uint32_t kAllWithheld = 100;

// What a node has measured of its way to another one, on the path that their session takes.
struct LinkRecord {
  NodeId to;
  std::string host;         // this end's address
  double rtt_ms = 0;        // there and back, small frames: the median; 0: not measured
  double rtt_p99_ms = 0;    // 99 of 100 are no longer
  double mbps = 0;          // 1e6 bits per second from here to there; 0: not measured
  uint64_t measured_s = 0;  // seconds since 1970, by this node's clock
  friend bool operator==(const LinkRecord&, const LinkRecord&) = default;
};

// Virtual: what leads to no hardware of this device (containers, bridges without a port).
enum class InterfaceKind : uint8_t { kVirtual = 0, kWired = 1, kWireless = 2, kTunnel = 3 };

// An address of a node, and what is behind it: tells the faster of two ways, if there are two.
struct InterfaceRecord {
  std::string name;  // "eth0"
  InterfaceKind kind = InterfaceKind::kVirtual;
  std::string host;     // numeric
  uint32_t prefix = 0;  // bits of the host that name its network
  friend bool operator==(const InterfaceRecord&, const InterfaceRecord&) = default;
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
  std::vector<DeviceRecord> devices;  // the first one computes stages
  uint32_t api_port = 0;
  std::vector<ModelHolding> models;
  std::vector<Hash256> downloads;  // on their way here, as ModelHolding::content names them
  std::vector<Hash256> awaits;     // likewise: another member is to bring them, and should go on
  HealthRecord health;
  std::vector<LinkRecord> links;  // to those that it has a session with
  std::vector<InterfaceRecord> interfaces;
  friend bool operator==(const NodeRecord&, const NodeRecord&) = default;
};

// What stages can use of a node: its first device, or nothing of a node without one. The planner
// and everything that shows one number for a node go through here.
DeviceRecord TotalOf(const NodeRecord& record);

struct Heartbeat {
  uint64_t sequence = 0;
  uint64_t incarnation = 0;
  uint64_t record_version = 0;  // the receiver asks for the record when it is behind
  uint64_t echo = 0;            // last sequence seen from the receiver (round-trip time)
  uint64_t progress =
      0;                 // work items computed since start: a live socket with a stuck kernel shows
  uint64_t wall_ms = 0;  // the sender's clock, milliseconds since 1970; 0: it does not say
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

// ---- instances ----

// Adapters that a model can be loaded with, and that one request can use at once.
inline constexpr uint32_t kMaxAdapters = 16;
inline constexpr uint32_t kMaxAdaptersUsed = 4;

// A low-rank adapter that a model is loaded with: a file of its own, by its content.
struct AdapterRef {
  ModelId file;
  std::string name;    // for display
  float scale = 1;     // of requests that say nothing about adapters
  uint64_t bytes = 0;  // memory that a stage takes for it at most
  friend bool operator==(const AdapterRef&, const AdapterRef&) = default;
};
// What a request uses of its plan's adapters.
struct AdapterUse {
  uint32_t adapter = 0;  // index into Plan::adapters
  float scale = 1;       // not 0
  friend auto operator<=>(const AdapterUse&, const AdapterUse&) = default;
};

// A small model that guesses what the plan's will say: whole at the lead. It changes no answer.
struct DraftRef {
  ModelId file;
  std::string name;    // for display
  uint64_t bytes = 0;  // memory that the lead takes for it at most
  friend bool operator==(const DraftRef&, const DraftRef&) = default;
};

// What one device of a tensor split computes of each layer: [begin, end) of the KV heads, with the
// query heads that share them, of the columns of the dense or shared feed-forward block, and of the
// experts.
struct ShardPlan {
  uint32_t kv_begin = 0;
  uint32_t kv_end = 0;
  uint32_t ffn_begin = 0;  // of a mixture: none where equal
  uint32_t ffn_end = 0;
  uint32_t vocab_begin = 0;  // rows of the output matrix; none: equal
  uint32_t vocab_end = 0;
  // Query heads, in plans that cut the group of a KV head, which both sides then hold. Equal: all
  // that share the KV heads.
  uint32_t head_begin = 0;
  uint32_t head_end = 0;
  uint32_t expert_begin = 0;  // none: equal
  uint32_t expert_end = 0;

  bool HasHeads() const { return head_end != 0; }
  friend auto operator<=>(const ShardPlan&, const ShardPlan&) = default;
};

struct StagePlan {
  NodeId node;
  uint32_t layer_begin = 0;  // [begin, end)
  uint32_t layer_end = 0;
  uint64_t bytes = 0;  // memory this stage reserves: weights, KV, scratch
  std::optional<ShardPlan> shard = {};
  // So many of its layers are read from disk for each step (wire/plan.h: IsStreamed).
  uint32_t streamed = 0;
  friend bool operator==(const StagePlan&, const StagePlan&) = default;
};

// How the rows of a step travel between stages (tensor/row_codec.h): all but kF32 lose bits.
enum class Codec : uint8_t { kF32 = 0, kF16 = 1, kInt8 = 2, kInt4 = 3 };

// One model placed on one or more nodes. stages[0].node is the lead: it holds embedding and output.
// A stage may be empty only at the lead (layer_begin == layer_end) when the lead computes no
// layers. Neighbors that are shards of the same layers are a group, which computes them together:
// its shards have all heads, columns and experts between them, in order. The output matrix is
// divided over the lead's group.
struct Plan {
  PlanId id;  // hash of everything below (wire/plan.h)
  ModelId model;
  std::string model_name;
  NodeId owner;
  uint64_t term = 0;
  uint64_t nonce = 0;
  std::vector<StagePlan> stages;
  uint32_t layers = 0;
  uint32_t context = 0;              // positions of a sequence at most
  uint32_t kv_pages = 0;             // of all sequences: at least those of one whole context
  uint32_t chunk = 0;                // positions in one step at most
  uint8_t kv_type = 0;               // kernels::KvType
  std::vector<AdapterRef> adapters;  // no file twice
  std::optional<DraftRef> draft;
  Codec codec = Codec::kF32;  // on every link between its stages of layers
  friend bool operator==(const Plan&, const Plan&) = default;
};

// Why something ended or was refused. Decisions look at the reason and the code alone; `detail` is
// for display and is never compared. The words are made where they are shown
// (cluster/describe.h).
enum class Reason : uint8_t {
  kUnspecified = 0,          // also: one of a newer version
  kUnloaded = 1,             // somebody unloaded the model
  kEvicted = 2,              // idle: another model needed the memory, or it was kept long enough
  kReplaced = 3,             // the instance of owner `node` is kept instead
  kNodeLost = 4,             // `node` and its layers
  kOwnerLost = 5,            // `node`, which coordinated the instance
  kOwnerSilent = 6,          // likewise: the lease ran out
  kOwnerSuspended = 7,       // `node` did not run for a while and gave its instances up
  kStageFailed = 8,          // compute or links of `node`
  kLoadFailed = 9,           // at `node`
  kLoadStalled = 10,         // no progress for `needed` ms
  kReservationTimeout = 11,  // not every node answered
  kNoMemory = 12,            // at `node`: bytes needed, available, budget
  kNoRoom = 13,              // at `node`: `needed` instances, the limit
  kPlanEnded = 14,           // `node` does not have the plan any more
  kDoesNotFit = 15,          // no plan: bytes needed and available in all
  kNotHeld = 16,             // `node` (zero: nobody reachable) does not hold the model
  kNoAnswer = 17,            // of `node`
  kInvalidPlan = 18,
  kTooManyCallers = 19,  // `needed` callers wait for this model, the limit
  kCannotPlan = 20,      // what was asked for is not possible
  kMoved = 21,           // divided anew, since `node` has become another, or without one the number
                         // of answers at once: its requests go on there
};
// What was answered goes on at another instance, which is there or comes.
constexpr bool MakesWay(Reason reason) {
  return reason == Reason::kMoved || reason == Reason::kReplaced;
}
struct Cause {
  Reason reason = Reason::kUnspecified;
  ErrorCode code = ErrorCode::kDisconnected;
  NodeId node;
  uint64_t needed = 0;
  uint64_t available = 0;
  uint64_t budget = 0;
  std::string detail;
  friend bool operator==(const Cause&, const Cause&) = default;
};

// Who holds the KV of a plan's layers that another plan of the model takes over.
struct FormerStage {
  NodeId node;
  uint32_t layer_begin = 0;
  uint32_t layer_end = 0;
  friend bool operator==(const FormerStage&, const FormerStage&) = default;
};
struct FormerPlan {
  PlanId plan;  // zero: there is none whose KV is worth having
  std::vector<FormerStage> stages;
  friend bool operator==(const FormerPlan&, const FormerPlan&) = default;
};
struct Reserve {
  Plan plan;
  PlanId replaces;  // the owner's former division of the model, which is given back first; or zero
  FormerPlan former;
  friend bool operator==(const Reserve&, const Reserve&) = default;
};
struct ReserveReply {
  PlanId plan;
  bool granted = false;
  Cause cause;  // when not
  friend bool operator==(const ReserveReply&, const ReserveReply&) = default;
};
struct Commit {
  PlanId plan;
  friend bool operator==(const Commit&, const Commit&) = default;
};
struct Loaded {
  PlanId plan;
  bool ok = false;
  Cause cause;  // when not
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
  Cause cause;
  friend bool operator==(const Release&, const Release&) = default;
};

enum class InstanceState : uint8_t {
  kReserving = 0,
  kLoading = 1,
  kReady = 2,
  kDraining = 3,
  kGone = 4
};
// How a model is divided over devices.
enum class Split : uint8_t {
  kAuto = 0,    // as the planner finds best
  kLayer = 1,   // layers over every node
  kTensor = 2,  // each layer over every node
  kHybrid = 3,  // layers over groups of nodes, each layer over all of its group
};
// What a placement should be good at.
enum class Use : uint8_t {
  kAuto = 0,        // one answer, unless several are known to come at once
  kLatency = 1,     // one answer at a time, as fast as possible
  kThroughput = 2,  // tokens per second of many answers at once
  kPrompts = 3,     // the first token behind a long prompt, as soon as possible
};
// What the planner chose by.
enum class PlanBasis : uint8_t {
  kUnknown = 0,       // also: one of a newer version
  kFastest = 1,       // one node holds it all and is predicted fastest
  kFewest = 2,        // no node holds it alone; the fewest that do
  kSpread = 3,        // layers over all nodes, as asked
  kTensor = 4,        // each layer over all nodes, as asked
  kFasterTensor = 5,  // each layer over several nodes, predicted faster than any one of them
  kFasterLayers = 6,  // layers over several nodes, likewise
  kReplicas = 7,      // the whole model on several nodes: more tokens of many answers in all
  kHybrid = 8,        // layers over groups of nodes, as asked
  kFasterHybrid = 9,  // likewise, predicted faster than any one node
};
struct Expectation {
  PlanBasis basis = PlanBasis::kUnknown;
  double decode_tokens_per_second = 0;
  double prefill_tokens_per_second = 0;
  double ttft_ms = 0;                  // of a prompt of PromptTokensOf(use) tokens (plan.h)
  uint32_t users = 0;                  // answers at once that the next figure is about
  double total_tokens_per_second = 0;  // of all of them together
  std::vector<double> stage_ms;        // of one token, in each stage
  Use use = Use::kAuto;                // what it was chosen for
  friend bool operator==(const Expectation&, const Expectation&) = default;
};
// How busy an instance is: its lead to its owner, and from there to everybody in the summary.
struct InstanceLoad {
  PlanId plan;
  uint32_t active_requests = 0;
  uint32_t queued_requests = 0;
  uint64_t idle_ms = 0;  // since the last request ended; 0 while there is one
  friend bool operator==(const InstanceLoad&, const InstanceLoad&) = default;
};
// Owner to all members, for /v1/cluster and for entry nodes that route requests.
struct InstanceSummary {
  Plan plan;
  // Who coordinates it: Plan::owner, or the lead that adopted it when that owner was lost.
  NodeId owner;
  InstanceState state = InstanceState::kReserving;
  Cause cause;     // of DRAINING and GONE
  NodeId loading;  // while LOADING: the node heard last, and how far it is
  uint32_t loading_percent = 0;
  uint32_t active_requests = 0;
  uint32_t queued_requests = 0;
  uint64_t idle_ms = 0;
  Expectation expected;
  friend bool operator==(const InstanceSummary&, const InstanceSummary&) = default;
};

// Hybrid logical time of a write. A writer takes its wall clock, or counts on from the version that
// it replaces when that is ahead: a write that knows of another always wins, whatever the clocks.
struct HybridTime {
  uint64_t wall_ms = 0;  // since 1970, by the writer's clock
  uint32_t counter = 0;
  NodeId node;  // the writer
  friend auto operator<=>(const HybridTime&, const HybridTime&) = default;
};
enum class DesiredState : uint8_t {
  kUnloaded = 0,  // nobody wants it: an instance is ended
  kOnDemand = 1,  // made room for others; the next request loads it again
  kRunning = 2,   // kept running: a lost instance is planned again
};
// What the request that loaded a model named; the rest is as the settings of a node say.
enum NamedOption : uint8_t {
  kNamedContext = 1,
  kNamedKv = 2,
  kNamedAdapters = 4,
  kContextOfSettings = 8,  // they said one; otherwise it is what memory allowed
  kNamedKeep = 16,
  kNamedCodec = 32,
};
// How long a model that nobody asks stays in memory, in milliseconds; but zero: until the memory is
// needed for another one.
inline constexpr uint64_t kKeepUntilIdle = 1;        // this once: then as if nothing had been said
inline constexpr uint64_t kKeepAlways = UINT64_MAX;  // it makes no room for others
// Whether a model should run, and what decides its bits. The larger version wins everywhere.
struct DesiredModel {
  ModelId model;
  HybridTime version;
  DesiredState state = DesiredState::kUnloaded;
  Split split = {};
  uint32_t context = 0;  // 0: as trained, as far as memory allows
  uint8_t kv_type = 0;
  std::vector<AdapterRef> adapters;
  std::optional<DraftRef> draft;
  uint8_t named = 0;   // bits of NamedOption
  NodeId settings_of;  // whose settings the others follow; zero: nobody's
  uint64_t keep_ms = 0;
  Codec codec = Codec::kF32;
  Use use = {};
  uint32_t users = 0;  // answers at once; 0: not said
  friend bool operator==(const DesiredModel&, const DesiredModel&) = default;
};
// Records that the receiver may not have. Answered by DesiredAck.
struct DesiredUpdate {
  std::vector<DesiredModel> models;
  friend bool operator==(const DesiredUpdate&, const DesiredUpdate&) = default;
};
// What the sender now has of these models: at least the version it was sent.
struct DesiredAck {
  struct Entry {
    ModelId model;
    HybridTime version;
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  std::vector<Entry> models;
  friend bool operator==(const DesiredAck&, const DesiredAck&) = default;
};
// A node that does not hold the model asks one that does to have it running.
struct EnsureInstance {
  ModelId model;
  Split split = {};
  uint32_t context = 0;  // 0: as trained, as far as memory allows
  uint8_t kv_type = 0;
  HybridTime known;  // the record that the asker had: an unload that it did not know of wins
  std::vector<AdapterRef> adapters;
  std::optional<DraftRef> draft;
  uint8_t named = 0;  // as in the record
  NodeId settings_of;
  uint64_t keep_ms = 0;
  Codec codec = Codec::kF32;
  Use use = {};
  uint32_t users = 0;  // answers at once; 0: not said
  friend bool operator==(const EnsureInstance&, const EnsureInstance&) = default;
};
struct EnsureRefused {
  ModelId model;
  Cause cause;
  friend bool operator==(const EnsureRefused&, const EnsureRefused&) = default;
};
// A placement without loading, by a node that holds the model.
struct PlanRequest {
  uint64_t ticket = 0;  // the asker's
  ModelId model;
  Split split = {};
  uint32_t context = 0;  // 0: as trained, as far as memory allows
  uint8_t kv_type = 0;
  std::vector<AdapterRef> adapters;
  std::optional<DraftRef> draft;
  Codec codec = Codec::kF32;
  Use use = {};
  uint32_t users = 0;  // answers at once; 0: not said
  friend bool operator==(const PlanRequest&, const PlanRequest&) = default;
};
// What came of a placement that the planner looked at.
enum class RivalFate : uint8_t {
  kUnspecified = 0,  // also: one of a newer version
  kChosen = 1,
  kSlower = 2,         // than the chosen one
  kTooLittleGain = 3,  // faster, but not by enough for further nodes
  kNoMemory = 4,       // at `short_of`: bytes needed and available
  kGuest = 5,          // `short_of` is a guest and would see the text
  kTooFewParts = 6,    // the layers have fewer parts than there are nodes
};
struct PlanRival {
  std::vector<NodeId> nodes;  // in the order of their stages
  Split split = {};           // auto: one node, or replicas
  RivalFate fate = RivalFate::kUnspecified;
  double decode_tokens_per_second = 0;
  double total_tokens_per_second = 0;  // of all users
  double ttft_ms = 0;
  NodeId short_of;
  uint64_t needed = 0;
  uint64_t available = 0;
  Use use = Use::kAuto;  // by which figure it was compared
  // Of a hybrid: how many of the nodes each group has, in order.
  std::vector<uint32_t> groups;
  friend bool operator==(const PlanRival&, const PlanRival&) = default;
};
struct PlannedReplica {
  Plan plan;
  Expectation expected;
  friend bool operator==(const PlannedReplica&, const PlannedReplica&) = default;
};
struct PlanReply {
  uint64_t ticket = 0;
  bool ok = false;
  Cause cause;  // when not
  Plan plan;
  Expectation expected;
  std::vector<PlanRival> rivals;  // the chosen one first
  // Where the model runs several times, the others: each is asked for its share of the users.
  std::vector<PlannedReplica> replicas;
  friend bool operator==(const PlanReply&, const PlanReply&) = default;
};

// ---- requests: entry node <-> lead ----

// What may stand in SamplerSettings::order. The numbers are the wire's.
enum class SamplerStep : uint8_t {
  kPenalties = 0,  // repeat, frequency and presence over the last penalty_window tokens
  kDry = 1,
  kTopNSigma = 2,
  kTopK = 3,
  kTypicalP = 4,
  kTopP = 5,
  kMinP = 6,
  kXtc = 7,
  kTemperature = 8,
};
struct LogitBias {
  TokenId token = 0;
  float bias = 0;  // added to the logit; -infinity: the token never comes
  friend bool operator==(const LogitBias&, const LogitBias&) = default;
};
// The forms in which a request says what its answer may be (grammar/grammar.h).
enum class GrammarKind : uint8_t { kJsonSchema = 0, kRegex = 1, kGbnf = 2, kChoices = 3 };
// One text of a grammar. In a triggered grammar it stands between `begin` and `end`.
struct GrammarPart {
  GrammarKind kind = GrammarKind::kJsonSchema;
  std::string text = {};     // a schema, an expression, a grammar, or a JSON list of texts
  TokenId begin_token = -1;  // a special token in front of `begin`
  std::string begin = {};
  std::string end = {};
  TokenId end_token = -1;  // behind `end`
  friend bool operator==(const GrammarPart&, const GrammarPart&) = default;
};
// What an answer must be; no parts: anything.
struct Grammar {
  std::vector<GrammarPart> parts;
  // false: the answer is a text of parts[0]. true: it is free until a part begins.
  bool triggered = false;
  bool required = false;  // a part must begin before the answer may end
  bool repeated = false;  // behind a part the answer is free again; else it ends there
  friend bool operator==(const Grammar&, const Grammar&) = default;
};
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
  uint32_t choice = 0;           // of several answers to one prompt: each draws for itself
  float typical_p = 1;           // 1: off
  float top_n_sigma = 0;         // standard deviations of the logits; 0: off
  float xtc_probability = 0;     // 0: off
  float xtc_threshold = 0.1f;
  float dry_multiplier = 0;  // 0: off
  float dry_base = 1.75f;
  uint32_t dry_allowed_length = 2;
  uint32_t dry_window = UINT32_MAX;  // last tokens in which DRY looks for repetitions
  bool mirostat = false;             // Mirostat 2, instead of `order`
  float mirostat_tau = 5;            // bits
  float mirostat_eta = 0.1f;
  std::vector<SamplerStep> order;  // empty: engine/sampler.h says which
  std::vector<LogitBias> logit_bias;
  // Where DRY's repetitions end: single tokens, ascending, and sequences of several, each ended by
  // -1.
  std::vector<TokenId> dry_break_tokens;
  std::vector<TokenId> dry_break_sequences;
  bool logprobs = false;
  uint32_t top_logprobs = 0;  // most likely tokens to report beside the sampled one
  Grammar grammar;
  friend bool operator==(const SamplerSettings&, const SamplerSettings&) = default;
};
// What sampling remembers from token to token beside the tokens: of accepted tokens only.
struct SamplerState {
  bool begun = false;  // false: before the first token, or unknown
  float mirostat_mu = 0;
  std::vector<uint8_t> grammar;  // of a structured output, opaque to all but its engine::TokenMask
  friend bool operator==(const SamplerState&, const SamplerState&) = default;
};
struct TopLogprob {
  TokenId token = 0;
  float logprob = 0;
  friend bool operator==(const TopLogprob&, const TopLogprob&) = default;
};
// Of the model's own distribution, whatever the sampler's settings: natural logarithms, -infinity
// for what is impossible.
struct Logprobs {
  std::vector<float> sampled;   // of each token; empty: not asked for
  std::vector<TopLogprob> top;  // the same number for each token, most likely first
  friend bool operator==(const Logprobs&, const Logprobs&) = default;
};
// Those of tokens [first, first + count) of `tokens`.
Logprobs Part(const Logprobs& all, size_t tokens, size_t first, size_t count);
// Puts `more` behind it.
void Append(Logprobs& all, const Logprobs& more);
// What a request asks for instead of an answer: what the model makes of its prompt
// (docs/arithmetic.md, rule 17).
enum class Readout : uint8_t {
  kNone = 0,    // an answer
  kLast = 1,    // the last position's state: what the output matrix multiplies
  kMean = 2,    // the mean of all positions' states
  kLogits = 3,  // of the tokens named in read_tokens, behind the prompt
};
// What a former plan has left of an answer: positions of its KV, at the stages of that plan, which
// those of the next one may have instead of computing them. Zero: nothing.
struct KeptKv {
  PlanId plan;
  uint32_t positions = 0;
  friend bool operator==(const KeptKv&, const KeptKv&) = default;
};
struct Submit {
  RequestId request;
  PlanId plan;
  std::vector<TokenId> prompt;  // prompt and, after a recovery, everything already emitted
  uint32_t prompt_tokens = 0;   // how many of them are the prompt
  uint32_t max_new_tokens = 0;
  SamplerSettings sampler;
  std::vector<TokenId> stop_tokens;
  uint64_t client =
      0;  // whose request: clients take turns at the lead. Any number that tells them apart
  std::vector<AdapterUse> adapters;  // ascending, at most kMaxAdaptersUsed
  SamplerState state;                // after everything in `prompt`: where a recovery goes on
  uint64_t prefix_scope = 0;         // requests share computed prefixes only where these are equal
  Readout readout = Readout::kNone;  // then nothing is generated
  std::vector<TokenId> read_tokens;  // of Readout::kLogits, at most kMaxReadTokens
  KeptKv kept;                       // of what is in `prompt`
  friend bool operator==(const Submit&, const Submit&) = default;
};
struct StageTime {
  NodeId node;
  uint32_t layer_begin = 0;
  uint32_t layer_end = 0;
  uint64_t microseconds = 0;
  friend bool operator==(const StageTime&, const StageTime&) = default;
};
// A step of the plan that computed rows of a request, for the request's trace. Moments are in
// microseconds since the request came to the lead, by the lead's clock.
struct StepTrace {
  uint64_t begun_us = 0;
  uint64_t returned_us = 0;  // the rows of its outputs are at the lead
  uint64_t done_us = 0;      // and their tokens are sampled
  uint32_t rows = 0;         // of the request
  uint32_t step_rows = 0;    // of all requests in the step
  uint32_t outputs = 0;      // rows of them that came back
  // What each stage computed until `returned_us`, in the order of the message's `stages`.
  std::vector<uint64_t> stage_us;
  friend bool operator==(const StepTrace&, const StepTrace&) = default;
};
struct Tokens {
  RequestId request;
  uint32_t first_index = 0;  // position of tokens[0] in the answer
  std::vector<TokenId> tokens;
  PlanId plan;
  uint32_t cached = 0;  // tokens of the prompt whose KV was there already
  Logprobs logprobs;    // of `tokens`
  SamplerState state;   // after the last of them
  // What each stage has computed for the request so far: an entry that ends it (a stop text) hears
  // nothing more.
  std::vector<StageTime> stages;
  // Since the last message about the request: the last of them brought `tokens`. At most
  // kMaxStepTraces; so many further ones are left out.
  std::vector<StepTrace> steps;
  uint32_t steps_dropped = 0;
  // Positions of prompt and answer whose KV all stages have; 0: not told. Without tokens: that more
  // of a prompt is there.
  uint32_t computed = 0;
  friend bool operator==(const Tokens&, const Tokens&) = default;
};
enum class FinishReason : uint8_t { kStop = 0, kLength = 1, kError = 2, kCancelled = 3 };
struct Finished {
  RequestId request;
  FinishReason reason = FinishReason::kStop;
  ErrorCode code = ErrorCode::kIo;  // for kError
  std::string message;
  uint32_t generated = 0;
  uint64_t prefill_us = 0;
  uint64_t decode_us = 0;
  std::vector<StageTime> stages;
  PlanId plan;           // that the request was submitted for: the end under a former plan is stale
  uint32_t drafted = 0;  // tokens that were guessed
  uint32_t accepted = 0;         // of them: those that were sampled as well
  std::vector<float> values;     // of a readout: the state, or a logit for each of read_tokens
  bool moved = false;            // of kError: the plan makes way for a better one, where it goes on
  std::vector<StepTrace> steps;  // as in Tokens, where the last step brought no token
  uint32_t steps_dropped = 0;
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

// Lead to the other stages: a guess was wrong, so this request's rows in steps up to `through_step`
// need not be computed. Later steps are those of the text that it has. Valid for this plan only,
// and only from its lead. A node that does not know it computes them for nothing.
struct StaleRows {
  PlanId plan;
  RequestId request;
  uint64_t through_step = 0;
  friend bool operator==(const StaleRows&, const StaleRows&) = default;
};

// ---- bulk: a stage without the model file pulls what it needs ----

// The head of a model: every file's metadata bytes and the hash of every tensor. ModelId is its
// hash.
struct ManifestRequest {
  ModelId model;
  bool held_only = false;  // which of its tensors are there, instead of the manifest
  friend bool operator==(const ManifestRequest&, const ManifestRequest&) = default;
};
struct ManifestReply {
  bool found = false;
  std::vector<uint8_t> bytes;  // an older node sends them whatever was asked
  // Bit i % 8 of byte i / 8: tensor i of the manifest is there. Empty: all are.
  std::vector<uint8_t> held;
  friend bool operator==(const ManifestReply&, const ManifestReply&) = default;
};
struct TensorRequest {
  ModelId model;
  std::string name;
  uint64_t offset = 0;
  uint32_t bytes = 0;  // at most kMaxTensorPiece; 0: hashes of its blocks from `offset` on
  friend bool operator==(const TensorRequest&, const TensorRequest&) = default;
};
inline constexpr uint32_t kMaxTensorPiece = 4u << 20;
struct TensorReply {
  bool found = false;
  std::vector<uint8_t> bytes;
  friend bool operator==(const TensorReply&, const TensorReply&) = default;
};

// A frame of any size that measures a link; its tensor is not looked at. Answered by a LinkEcho of
// the same number, without a tensor, as soon as all of it is there.
struct LinkProbe {
  uint32_t number = 0;
  friend bool operator==(const LinkProbe&, const LinkProbe&) = default;
};
struct LinkEcho {
  uint32_t number = 0;
  friend bool operator==(const LinkEcho&, const LinkEcho&) = default;
};
// Some layers of page `index` of a request's KV, of a plan that has moved. It is given away: nobody
// else gets it from there.
struct PageRequest {
  PlanId plan;
  RequestId request;
  uint32_t index = 0;
  std::vector<uint32_t> layers;  // ascending, at most kMaxLayers
  friend bool operator==(const PageRequest&, const PageRequest&) = default;
};
// The first of those layers, one behind the other (backend::StageCompute::SavePage): as many as fit
// into kMaxPagePiece, one at least. Not found: not all of them are there.
struct PageReply {
  bool found = false;
  uint32_t positions = 0;
  uint32_t layers = 0;
  std::vector<uint8_t> bytes;  // at most kMaxPageLayer
  friend bool operator==(const PageReply&, const PageReply&) = default;
};
inline constexpr uint32_t kMaxPagePiece = 4u << 20;
inline constexpr uint32_t kMaxPageLayer = 64u << 20;  // 256 positions of 128 heads of 256, in f32

// ---- data links ----

// One request's part of a step. Idempotent by (request, plan, step).
struct StepItem {
  RequestId request;
  uint32_t first = 0;  // position of its first row
  uint32_t count = 0;  // rows
  // Rows [output_first, output_first + output_count) of the item go back to the lead after the last
  // layer.
  uint32_t output_first = 0;
  uint32_t output_count = 0;
  // The same in every item of a request, and in every sequence that is forked from it.
  std::vector<AdapterUse> adapters;
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
  friend bool operator==(const StepFork&, const StepFork&) = default;
};
// A page of a sequence's KV: positions [first, first + count), count 1 to kPagePositions, `first` a
// multiple of it. `key` names what the page holds: model, arithmetic and every token up to its end
// (engine/stored_prefixes.h).
struct StepPage {
  RequestId request;
  uint32_t first = 0;
  uint32_t count = 0;
  Hash256 key;
  std::vector<AdapterUse> adapters = {};  // to restore: what the sequence is opened with
  // To restore: a stage does not have it, so no stage goes on with the sequence. To store: a stage
  // did not take it.
  bool lost = false;
  bool bare = false;   // without the layers that have a window
  bool moved = false;  // to restore: what the former plan has left (`key` is not used)
  friend bool operator==(const StepPage&, const StepPage&) = default;
};
// A micro-batch on its way through the stages; rows [sum of counts][width] f32 of the items that
// are not cancelled follow the metadata. The last stage sends back only the requested output rows.
// Sequences change in this order: close, truncate, fork, restore, the items, store.
struct Step {
  PlanId plan;
  uint64_t step = 0;  // strictly growing per instance
  std::vector<StepItem> items;
  std::vector<RequestId> close;  // sequences to free
  std::vector<StageTime> times;  // each stage appends what it computed
  std::vector<StepTruncate> truncate;
  std::vector<StepFork> fork;
  std::vector<StepPage> restore;  // pages to append to their sequences, from the stages' stores
  std::vector<StepPage> store;    // pages to keep there
  friend bool operator==(const Step&, const Step&) = default;
};
// A stage could not compute a step: the instance fails.
struct StepFailed {
  PlanId plan;
  uint64_t step = 0;
  ErrorCode code = ErrorCode::kIo;
  std::string message;
  friend bool operator==(const StepFailed&, const StepFailed&) = default;
};

// Between the shards of a plan: what the sender's part of a product adds to the step's `sum`-th
// sum, one [rows][width] for each canonical subtree of its leaves.
struct Partials {
  PlanId plan;
  uint64_t step = 0;
  uint32_t sum = 0;
  uint64_t microseconds = 0;  // that the sender has computed for the step so far
  friend bool operator==(const Partials&, const Partials&) = default;
};

// The lead to the other shards of its group, behind a step: logits of its output rows [first, first
// + count) are wanted now, or `best` of each row and shard if it is not zero. Where other groups
// have computed the last layers, these rows follow the metadata, [count][width] f32.
struct LogitsWanted {
  PlanId plan;
  uint64_t step = 0;
  uint32_t first = 0;
  uint32_t count = 0;
  uint32_t best = 0;
  friend bool operator==(const LogitsWanted&, const LogitsWanted&) = default;
};
// A shard's answer, those of its part of the vocabulary: all, [count][its rows], or of each row the
// best ones (engine/best_logits.h).
struct ShardLogits {
  PlanId plan;
  uint64_t step = 0;
  uint32_t first = 0;
  uint64_t microseconds = 0;  // that the sender has computed for the step so far
  friend bool operator==(const ShardLogits&, const ShardLogits&) = default;
};

// Entry to lead: the client reads more slowly than tokens come; generate none until it says
// otherwise.
struct PauseRequest {
  RequestId request;
  PlanId plan;
  bool paused = false;
  friend bool operator==(const PauseRequest&, const PauseRequest&) = default;
};

// Lead to entry: the request waits at the lead behind so many others. Again when that changes, once
// a second at most.
struct Queued {
  RequestId request;
  PlanId plan;
  uint32_t before = 0;
  friend bool operator==(const Queued&, const Queued&) = default;
};

// ---- pairing (net/pairing.h): before any Hello, on a connection of its own ----

// What the new device shows that it was let in by.
enum class PairKind : uint8_t {
  kCode = 0,  // the six digits that the inviting device shows
  kLink = 1,  // the secret of an invite link
  kAsk = 2,   // nothing: its user compares keys and approves it
};
// The new device: its CPace share (empty when it only asks).
struct PairStart {
  PairKind kind = PairKind::kCode;
  std::vector<uint8_t> share;
  std::string name;  // of the device, for display
  friend bool operator==(const PairStart&, const PairStart&) = default;
};
// The inviting device: its share.
struct PairShare {
  std::vector<uint8_t> share;
  friend bool operator==(const PairShare&, const PairShare&) = default;
};
// The new device: proof that it knows the code.
struct PairConfirm {
  std::vector<uint8_t> tag;
  friend bool operator==(const PairConfirm&, const PairConfirm&) = default;
};
// The inviting device: proof that it knows the code, and a TrustUpdate, sealed with the key that
// only both have.
struct PairGrant {
  std::vector<uint8_t> tag;
  std::vector<uint8_t> sealed;
  friend bool operator==(const PairGrant&, const PairGrant&) = default;
};
enum class PairRefusal : uint8_t {
  kNotInviting = 0,  // also: one of a newer version
  kWrongCode = 1,    // or somebody else between the two devices
  kBusy = 2,         // another device is being paired
  kForgotten = 3,    // this key was forgotten
  kPending = 4,      // asked: to be approved there
};
struct PairRefused {
  PairRefusal code = PairRefusal::kNotInviting;
  std::string reason;  // for display
  friend bool operator==(const PairRefused&, const PairRefused&) = default;
};

// ---- trust (cluster/trust.h) ----

// Ordered: of two opinions about a key the larger one counts.
enum class TrustRole : uint8_t {
  kMember = 0,
  kGuest = 1,      // computes layers in the middle of a model; sees no text
  kForgotten = 2,  // for ever
};
struct TrustEntry {
  NodeId id;
  TrustRole role = TrustRole::kMember;
  std::string name;  // for display
  friend bool operator==(const TrustEntry&, const TrustEntry&) = default;
};
// Whom the sender trusts; with every session and when it changes. `secret` is the cluster's since
// `epoch` (zero: the first one); empty for guests.
struct TrustUpdate {
  HybridTime epoch;
  std::vector<uint8_t> secret;
  std::vector<TrustEntry> entries;
  friend bool operator==(const TrustUpdate&, const TrustUpdate&) = default;
};

// ---- files ----

// A member asks: delete what was downloaded of this model, or pulled from members, and no file that
// is a person's own. Answered by ModelDeleted.
struct DeleteModel {
  uint64_t ticket = 0;  // the asker's
  ModelId model;
  friend bool operator==(const DeleteModel&, const DeleteModel&) = default;
};
struct ModelDeleted {
  uint64_t ticket = 0;
  bool ok = false;
  uint64_t freed_bytes = 0;
  std::string said;  // what was deleted, what stays and why; for display
  friend bool operator==(const ModelDeleted&, const ModelDeleted&) = default;
};

// ---- conversations (store/conversations.h): between members, never to or from guests ----

// Of a row: whose it is, and what. Without a message it is the conversation itself.
struct RowKey {
  uint64_t owner = 0;  // the API key that it belongs to; 0: the home's
  ConversationId conversation;
  MessageId message;
  friend auto operator<=>(const RowKey&, const RowKey&) = default;
};
// One state of a row. Of two the one with the larger (cleared_ms, updated_ms, device) counts.
struct RowVersion {
  uint64_t number = 0;  // the sender's count of rows, when it got this state
  RowKey key;
  uint64_t updated_ms = 0;  // since 1970, by the writer's clock or above what it had seen
  NodeId device;            // that wrote it
  bool deleted = false;
  // Of a conversation: messages up to this time are gone, since it was deleted then, as its writer
  // knew or did.
  uint64_t cleared_ms = 0;
  friend bool operator==(const RowVersion&, const RowVersion&) = default;
};
struct ConversationRow {
  RowVersion version;
  std::string text;  // that is searched: a title, or what a message says
  std::string data;  // the rest, as a JSON object; nodes look into neither
  friend bool operator==(const ConversationRow&, const ConversationRow&) = default;
};
// What text and data of a row take together at most.
inline constexpr uint32_t kMaxRowBytes = 4u << 20;
// The numbers of the sender's rows go up to `last`. `epoch` names its file: another one counts
// anew.
struct ConversationNews {
  uint64_t epoch = 0;
  uint64_t last = 0;
  friend bool operator==(const ConversationNews&, const ConversationNews&) = default;
};
// Asks for the versions behind number `after`, or, where `rows` has numbers, for these rows.
struct ConversationPull {
  uint64_t epoch = 0;
  uint64_t after = 0;
  std::vector<uint64_t> rows;
  friend bool operator==(const ConversationPull&, const ConversationPull&) = default;
};
// Versions behind `after`, by ascending numbers, up to number `through`; the sender's newest is
// `last`.
struct ConversationVersions {
  uint64_t epoch = 0;
  uint64_t after = 0;
  uint64_t through = 0;
  uint64_t last = 0;
  std::vector<RowVersion> versions;
  friend bool operator==(const ConversationVersions&, const ConversationVersions&) = default;
};
// Those that were asked for, in that order, as many as fit into a frame. `through`: the number of
// the last one that was looked at; a row that has another number by now is left out.
struct ConversationRows {
  uint64_t epoch = 0;
  uint64_t through = 0;
  std::vector<ConversationRow> rows;
  friend bool operator==(const ConversationRows&, const ConversationRows&) = default;
};

using Message =
    std::variant<Hello, HelloReply, Heartbeat, NodeUpdate, RecordRequest, PeerHints, Goodbye,
                 Reserve, ReserveReply, Commit, Loaded, LoadProgress, InstanceReady, LeaseRenew,
                 Release, InstanceSummary, EnsureInstance, Submit, Tokens, Finished, CancelRequest,
                 ManifestRequest, ManifestReply, TensorRequest, TensorReply, Step, StepFailed,
                 EnsureRefused, DesiredUpdate, DesiredAck, InstanceLoad, PlanRequest, PlanReply,
                 PauseRequest, Queued, PairStart, PairShare, PairConfirm, PairGrant, PairRefused,
                 TrustUpdate, DeleteModel, ModelDeleted, Partials, LogitsWanted, ShardLogits,
                 ConversationNews, ConversationPull, ConversationVersions, ConversationRows,
                 StaleRows, LinkProbe, LinkEcho, PageRequest, PageReply>;

}  // namespace exo::wire
