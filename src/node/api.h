// What a running node offers to its own edges: the HTTP service and nothing else calls it. One
// implementation (node/node.h); tests of the service use a fake.
//
// Thread: every method but `grammars` is called on the event-loop thread and never blocks; every
// callback comes on the same thread. Heavy work (templates, tokenizing) is done by the node on its
// worker pool.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "grammar/cache.h"
#include "model/chat_template.h"
#include "net/event_loop.h"
#include "node/conversations.h"
#include "node/finding.h"
#include "node/model_metrics.h"
#include "node/pairing.h"
#include "node/request_view.h"
#include "wire/messages.h"

namespace exo::node {

// Beyond ErrorCode: what the HTTP dialects tell apart. Unset fields are zero.
enum class Refusal : uint8_t {
  kNone,
  kUnknownModel,   // 404 model_not_found
  kBadModel,       // its file is broken, or the name is: as the error's code says, about `model`
  kContextLength,  // 400 context_length_exceeded: the prompt alone fills the context
  kQueueFull,      // 429
  kNoPlan,         // 503: does not fit, or members are missing
  kLost,           // a device was lost in mid-answer
  kBadInput,       // 400
  kQuota,          // 429 insufficient_quota: found by the service, which knows the keys
  kCanceled,       // 499: a person ended it
};
struct GenerateError {
  Error error;
  Refusal refusal = Refusal::kNone;
  uint32_t prompt_tokens = 0, context = 0;  // of kContextLength
  std::string field = {};      // of kBadInput: OpenAI's name of what is wrong; empty: the prompt
  uint32_t retry_after_s = 0;  // of kQuota: until there are tokens again
};

// What a chat has beyond its messages: for its template and, with tools, for reading its answer.
enum class ToolUse : uint8_t { kAuto, kNone, kRequired, kNamed };
struct ChatOptions {
  model::DataList tools = {};  // {type: "function", function: {name, description, parameters}}
  ToolUse tool_use = ToolUse::kAuto;
  std::string tool_name = {};  // kNamed
  // Those that may be called, of tools that the prompt has; unset: all.
  std::optional<std::vector<std::string>> allowed_tools = {};
  // Their arguments satisfy their schemas, or the request is refused; others are held as far as the
  // model's format and the schemas let them.
  std::vector<std::string> strict_tools = {};
  bool parallel_tool_calls = true;
  // Names that the template may read beside its own: enable_thinking, reasoning_effort, …
  model::DataMap variables = {};
  // The last message is the beginning of the answer, which goes on in it.
  bool continue_last = false;
  std::string chat_template = {};  // Jinja, in place of the model's own; empty: that one
};

// An adapter to load a model with: a file of this node (its name or path) and the scale of requests
// that say nothing about adapters.
struct AdapterChoice {
  std::string file;
  float scale = 1;

  friend bool operator==(const AdapterChoice&, const AdapterChoice&) = default;
};

// A name with defaults over a model: what requests that use the name get where they say nothing.
// The service fills them in (service/presets.h); the node keeps them and knows the name.
struct PresetMessage {
  std::string role, content;

  friend bool operator==(const PresetMessage&, const PresetMessage&) = default;
};
struct Preset {
  std::string name;
  std::string base;                          // a model's name; not another preset's
  std::string system = {};                   // where a chat has no message of the system
  std::vector<PresetMessage> messages = {};  // before a chat's own
  std::string chat_template = {};            // as in ChatOptions
  std::string parameters = {};               // a JSON object of the service; empty: none
  std::vector<AdapterChoice> adapters = {};  // that the model is loaded with; none: any
  std::string license = {};
  int64_t created = 0;  // seconds since 1970

  friend bool operator==(const Preset&, const Preset&) = default;
};

// Numbers instead of an answer: what the model makes of the prompt (docs/arithmetic.md, rule 17).
struct ReadoutRequest {
  // Unset: the last position's state or the mean of all, as the model's file says; without a word
  // there, the last.
  std::optional<wire::Readout> kind = {};
  uint32_t dimensions = 0;         // of a state: the first ones only; 0: all
  bool unit = true;                // a state is scaled to length one
  bool truncate = false;           // a text too long for the context is cut at its end
  std::vector<std::string> texts;  // of kLogits: one token each
};

// For a reranker: does the document answer the query?
struct RankedPair {
  std::string query, document;
  std::string instruction = {};  // empty: that of a web search
};

struct GenerateRequest {
  std::string model;  // name, alias or id
  // One of them: a chat (rendered by the model's template), a raw prompt, or a pair to rank.
  std::vector<model::ChatMessage> messages;
  std::vector<TokenId> before = {};  // of a chat: the conversation so far, in front of `messages`
  bool tells_prompt = false;         // in StartReport::prompt
  ChatOptions chat = {};
  std::optional<std::string> prompt;
  std::optional<RankedPair> pair = {};
  std::optional<std::string> suffix = {};  // the answer stands between the prompt and this text
  bool special = false;  // the prompt's text may hold control tokens: a template was used already
  bool no_bos = false;   // for a text that is no beginning
  std::optional<std::vector<TokenId>> prompt_ids;  // raw prompt given as ids (/v1/completions)
  wire::SamplerSettings sampler;
  Asker asker = {};
  uint64_t client = 0;                 // clients take turns; any number that tells them apart
  uint64_t prefix_scope = 0;           // prefixes are shared only with requests of the same number
  bool has_seed = false;               // false: the node draws one and reports it
  std::optional<uint32_t> max_tokens;  // unset or more than fits: what is left of the context
  std::vector<std::string> stop;       // stop strings, at most 16 of at most 256 bytes
  std::vector<TokenId> stop_tokens;    // beside the model's own; not shown
  uint32_t choices = 1;                // answers to the prompt, each drawn for itself
  std::vector<std::string> dry_breakers;  // texts that end a repetition, for sampler.dry_*
  std::shared_ptr<const void> lease;      // the caller's; dropped with the texts, once tokenized
  wire::Split split = {};                 // of a model that does not run yet
  // Of the model's adapters, by their index; those that are not named are not used. Unset: all,
  // with the scales that the model was loaded with.
  std::optional<std::vector<wire::AdapterUse>> adapters = {};
  std::optional<ReadoutRequest> readout = {};  // nothing is generated: GenerateStats::values
  // The model is loaded with exactly these; a request to one that runs with others is refused.
  std::optional<std::vector<AdapterChoice>> load_adapters = {};
  std::optional<uint64_t> keep_ms = {};  // as in Placing
  std::vector<std::string> given = {};   // parameters that the client named: no preset sets them
};

// How a model is to be loaded; what is unset is as its last time, or as this node's settings say.
struct Placing {
  wire::Split split = {};                // over which devices, and how
  std::optional<uint32_t> context = {};  // positions; 0: as trained, as far as memory allows
  std::optional<uint8_t> kv_type = {};   // kernels::KvType
  // Exactly these: a model that runs with other ones is not touched but refused.
  std::optional<std::vector<AdapterChoice>> adapters = {};
  // How rows travel between devices: but for f32 they lose bits, and the answers with them.
  std::optional<wire::Codec> codec = {};
  std::optional<std::string> draft = {};  // name or path of a small model that guesses for this one
  std::optional<uint64_t> keep_ms = {};   // as in wire::DesiredModel; a pinned model stays pinned
  bool unpin = false;
  wire::Use use = {};
  // Of a plan that is not carried out:
  uint32_t users = 0;                // answers at once; 0: not said
  std::vector<NodeId> without = {};  // as if these devices were away
};

struct StageReport {
  std::string node;  // display name
  NodeId id;
  uint32_t layer_begin = 0, layer_end = 0;  // [begin, end)
  double milliseconds = 0;                  // computed for this request in all
};

struct GenerateStats {
  uint32_t prompt_tokens = 0;      // once, whatever the number of choices
  uint32_t cached_tokens = 0;      // of the prompt: their KV was there already
  uint32_t drafted_tokens = 0;     // guessed ahead, of all choices
  uint32_t accepted_tokens = 0;    // of them: right
  uint32_t completion_tokens = 0;  // of all choices
  uint64_t seed = 0;
  double ttft_ms = 0;            // from submission to the first token
  double tokens_per_second = 0;  // decode: tokens after the first / time after the first
  double prompt_per_second = 0;  // of the tokens that were computed
  std::vector<StageReport> stages;
  wire::Codec codec = wire::Codec::kF32;    // between them; one alone: f32
  std::vector<float> values;                // of a readout
  std::vector<wire::FinishReason> reasons;  // of each choice
  std::vector<std::string> stops;           // of each choice: the stop text that ended it, if one
  // Tools whose calls are not held to all of their schema.
  std::vector<std::string> loose_tools = {};
};

// What is known of an answer before its first token.
struct StartReport {
  uint32_t prompt_tokens = 0;
  std::vector<StageReport> stages;  // where it is to run; no times yet
  wire::Codec codec = wire::Codec::kF32;
  std::span<const TokenId> prompt = {};  // if the request wants it; valid during the call only
  // That each choice can have: as asked for, and what the context leaves. 0: not known yet.
  uint32_t max_tokens = 0;
};

// The pieces of an answer. All views are valid during the call only.
//
// Text is whole UTF-8 characters; stop strings never appear in it.
struct TextDelta {
  std::string_view text;
};
// What the model thinks before it answers, where its format tells the two apart.
struct ReasoningDelta {
  std::string_view text;
};
// One tool call arrives in pieces: the first has the id and the name, each adds to the arguments
// (JSON text).
struct ToolCallDelta {
  uint32_t index = 0;  // of the call within the answer
  std::string_view id;
  std::string_view name;
  std::string_view arguments;
};
struct TokenLogprob {
  std::string bytes;   // of the token: may be part of a character
  double logprob = 0;  // natural logarithm
};
struct SampledLogprob {
  TokenLogprob token;
  std::vector<TokenLogprob> top;  // most likely first
};
struct Delta {
  std::variant<TextDelta, ReasoningDelta, ToolCallDelta> what;
  // The tokens behind it: may be empty, or more than it shows (a held-back stop prefix).
  std::span<const TokenId> ids;
  std::span<const SampledLogprob> logprobs = {};  // of `ids`, when asked for
  uint32_t choice = 0;
};

// Where an answer goes. After OnDone or OnError nothing more is called.
class GenerateSink {
 public:
  virtual ~GenerateSink() = default;
  // The request was checked, tokenized and accepted: errors from here on are mid-stream. Comes
  // soon, also where the prompt takes long or others are before it.
  virtual void OnStarted(const StartReport& report) = 0;
  virtual void OnDelta(const Delta& delta) = 0;
  // The last choice has ended; `reason` is the first one's, stats.reasons has all.
  virtual void OnDone(wire::FinishReason reason, const GenerateStats& stats) = 0;
  virtual void OnError(const GenerateError& error) = 0;
};

// A running answer. Destroying it cancels the answer and frees its KV.
class Generation {
 public:
  virtual ~Generation() = default;
  // Stops producing until resumed (a slow reader); it keeps its place.
  virtual void SetPaused(bool paused) = 0;
};

// A prompt as its model gets it.
struct TokenizedPrompt {
  std::string text;  // of a chat: what the template wrote; empty for a prompt of ids
  std::vector<TokenId> ids;
  uint32_t context = 0;  // positions that a sequence of the model has
};

// What a model's file says about it.
using MetadataValue = std::variant<uint64_t, int64_t, double, bool, std::string>;
struct ModelDetails {
  std::map<std::string, MetadataValue, std::less<>> metadata;  // without lists
  std::string chat_template;                                   // its source; empty: none
  std::string weights;                                         // type of most of them: "Q8_0"
  uint64_t parameters = 0;
  bool tools = false;     // the template reads tools
  bool thinking = false;  // the template knows a switch for it, or what was thought
  bool infill = false;    // answers may stand before a suffix
  std::string bos, eos;
  uint32_t context = 0;  // as in TokenizedPrompt
};

struct ModelView {
  std::string name;
  ModelId id;
  uint64_t bytes = 0;
  std::string architecture;
  uint32_t context = 0;  // trained context
  uint32_t layers = 0;
  uint64_t parameters = 0;                      // 0: not known here
  std::string weights = {};                     // as in ModelDetails
  int64_t created = 0;                          // seconds since 1970
  bool local = false;                           // the file is on this node
  std::string state;                            // "", "loading", "ready"
  std::vector<wire::AdapterRef> adapters = {};  // that it is loaded with
  std::string draft = "";                       // name of the model that it is loaded with
  bool held = true;                             // a device that is here has its file
  std::vector<std::string> names = {};          // further ones here, of copies of the file
  std::string base = "";                        // of a preset: the model that it is made from
  uint32_t replicas = 0;                        // instances that are ready
};
// Where a model's file lies.
struct ModelPlace {
  std::string name;
  std::string path;                  // of it on this node; empty: it is not here
  std::vector<std::string> devices;  // names of those that are here and have all of it
};
// What removing a model has done on one device.
struct RemovalView {
  std::string device;  // its name
  bool ok = false;
  uint64_t freed_bytes = 0;
  std::string said;  // what was deleted, what stays and why; or why nothing was done
};
struct NodeView {
  wire::NodeRecord record;
  std::string state;   // self, connecting, alive, suspect, dead, left, refused
  std::string detail;  // why refused, …
  double rtt_ms = 0;
  std::string health = {};  // power, heat, owner and what it offers, in words; empty: unknown
};
struct InstanceView {
  wire::InstanceSummary summary;
  std::string state;   // reserving, loading, ready, draining, gone
  std::string detail;  // the state in one sentence
  std::string reason;  // why it is placed like this, in one sentence
  double predicted_tokens_per_second = 0;
  uint64_t keep_ms = 0;           // as in wire::DesiredModel
  uint64_t generated_tokens = 0;  // for clients of this node, since the plan was made
};
struct ClusterView {
  NodeId self;
  std::vector<NodeView> nodes;
  std::vector<InstanceView> instances;
  uint32_t neighbors_of_other_clusters = 0;
  uint64_t sequence = 0;   // of the last event that is in this view
  uint64_t wire_rows = 0;  // as in NodeMetrics
  uint64_t wire_bytes = 0;
};
// A device as the planner knows it.
struct PlanDevice {
  NodeId id;
  std::string name;
  uint64_t memory_available = 0;  // of the budget: what is not reserved
  uint64_t memory_budget = 0;
  double decode_gbps = 0;
  double prefill_gops = 0;
  double disk_gbps = 0;  // 0: no layers are read from its disk
  bool guest = false;
};
// The way of a row between two stages.
struct PlanHop {
  NodeId from;
  NodeId to;
  double rtt_ms = 0;
  double rtt_p99_ms = 0;
  double mbps = 0;       // 0: not known
  double mbps_back = 0;  // from `to` to `from`; likewise
};
// One of the placements that a model runs as.
struct ReplicaView {
  wire::Plan plan;
  wire::Expectation expected;
  std::vector<std::string> node_names;  // one per stage
  std::vector<PlanHop> hops;
};
struct PlanView {
  wire::Plan plan;             // where the model runs several times, the fastest one
  wire::Expectation expected;  // of all together: users and total_tokens_per_second
  std::string reason;
  std::vector<std::string> node_names;  // one per stage
  bool was_running = false;             // of Load: where it is, nobody placed it anew
  // What the planner knows of the devices, and what came of each placement that it looked at.
  std::vector<PlanDevice> devices = {};
  std::vector<PlanHop> hops = {};
  std::vector<ReplicaView> replicas = {};  // the others, where the model runs several times
  std::vector<wire::PlanRival> rivals = {};
  std::vector<std::string> explanation = {};  // the rivals in sentences
};

// One change of a peer, an instance or a request of a client of this node.
enum class EventKind : uint8_t { kPeer, kInstance, kRequest };
constexpr const char* EventKindName(EventKind kind) {
  constexpr const char* kNames[] = {"peer", "instance", "request"};
  return kNames[static_cast<size_t>(kind)];
}
struct StateEvent {
  uint64_t sequence = 0;  // grows by one each time, and across restarts of the node
  int64_t time_ms = 0;    // since 1970
  EventKind kind = EventKind::kPeer;
  NodeId node;       // the peer; the owner of an instance; the entry node of a request
  std::string id;    // of the instance's plan or the request, in hexadecimal
  std::string name;  // of the peer or the model
  std::string
      state;  // as in NodeView and InstanceView; of a request "started", "queued" or "ended"
  std::string detail;  // why, or how much
};
// Hears every event from the subscription on. Thread: the loop.
class EventWatcher {
 public:
  virtual ~EventWatcher() = default;
  virtual void OnEvent(const StateEvent& event) = 0;
};
// Destroying it ends the calls.
class EventSubscription {
 public:
  virtual ~EventSubscription() = default;
};
struct Subscribed {
  std::unique_ptr<EventSubscription> subscription;
  std::vector<StateEvent> past;  // those after `since`, oldest first
  bool missed = false;           // some after `since` are no longer kept: read the state again
  uint64_t sequence = 0;         // of the last event so far
};

// How far a model is on its way here.
struct PullProgress {
  enum class Step : uint8_t { kManifest, kFile, kVerifying, kPlacing };
  Step step = Step::kManifest;
  std::string note = {};              // a sentence about the whole, once; empty: none
  std::string file = {};              // that is coming
  std::string sha256 = {};            // of it, in hexadecimal; empty: not known
  uint64_t completed = 0, total = 0;  // bytes of it
  double bytes_per_second = 0;        // 0: not known yet
  double seconds_left = 0;            // likewise
  unsigned silent_seconds = 0;        // since the last byte, when they have ceased to come

  friend bool operator==(const PullProgress&, const PullProgress&) = default;
};
// A pull that runs, or that has failed a while ago.
struct PullView {
  std::string model;  // as it was asked for, in full
  PullProgress progress;
  std::string error = {};  // why it has failed; empty: it runs
};
// Hears how a pull goes. After OnPulled nothing more is called. Thread: the loop.
class PullWatcher {
 public:
  virtual ~PullWatcher() = default;
  // Several times a second while something changes.
  virtual void OnProgress(const PullProgress& progress) = 0;
  // With the model's name here, or why it is not.
  virtual void OnPulled(const Result<std::string>& name) = 0;
};
// A pull that somebody waits for. When the last one who does goes, the pull stops; what has come
// stays, and the next one goes on from there.
class Pulling {
 public:
  virtual ~Pulling() = default;
};

// A device of the cluster, as its records and this node's clients show it.
struct DeviceMetrics {
  NodeId id;
  std::string name;
  bool alive = false;
  uint64_t memory_total = 0;  // bytes of the machine
  uint64_t memory_budget = 0;
  uint64_t memory_reserved = 0;
  double share = 1;  // of its speed, that models may count on
  wire::HealthRecord health;
  double stage_seconds = 0;  // computed for requests of this node's clients
};
// A device at the other end of links of this node.
struct LinkMetrics {
  NodeId id;
  std::string name;
  double rtt_ms = 0;  // 0: not known
  uint64_t sent_bytes = 0;
  uint64_t received_bytes = 0;  // likewise of rows, sums and logits
};

// Figures of a running node, for monitoring. Counts are since the start.
struct NodeMetrics {
  net::TurnStats loop;
  uint64_t requests_active = 0;  // of this node's clients, being answered
  uint64_t requests_queued = 0;  // not submitted yet, or without a place at the lead
  uint64_t requests_total = 0;
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;  // of the prompts
  uint64_t generated_tokens = 0;
  uint64_t nodes_alive = 0;                             // with this one
  uint64_t instances_ready = 0;                         // models, however often each runs
  std::map<std::string, uint64_t> replicas_ready = {};  // by name: how often
  uint64_t memory_budget = 0;                           // bytes
  uint64_t memory_reserved = 0;
  uint64_t log_lines_lost = 0;  // standard error did not take them
  // The prefix store on disk; all zero without one.
  uint64_t prefix_store_bytes = 0;
  uint64_t prefix_pages_written = 0;
  uint64_t prefix_pages_dropped = 0;  // that could not be written
  uint64_t prefix_pages_loaded = 0;
  uint64_t prefix_pages_missed = 0;                 // looked for and not there, or damaged
  uint64_t prefix_restored_tokens = 0;              // of prompts, by models that this node leads
  uint64_t wire_rows = 0;                           // sent to other stages by stages of this node
  uint64_t wire_bytes = 0;                          // of these rows
  std::map<std::string, ModelMetrics> models = {};  // by name, of this node's clients
  std::map<std::string, double> kv_usage = {};      // part of its KV pages, of models led here
  uint64_t led_steps = 0;                           // that leads of this node computed
  uint64_t led_requests = 0;                        // with rows in them, in all
  // Of answers that went on at a lead of this node: tokens whose KV came along, and the others.
  uint64_t moved_tokens = 0;
  uint64_t recomputed_tokens = 0;
  std::vector<DeviceMetrics> devices = {};
  std::vector<LinkMetrics> links = {};
};

class Api {
 public:
  virtual ~Api() = default;

  // Starts an answer. `sink` must outlive the returned object.
  virtual std::unique_ptr<Generation> Generate(GenerateRequest request, GenerateSink& sink) = 0;
  // What Generate would compute first. Errors: those of a refusal; kNotFound: no such model.
  virtual void Tokenize(GenerateRequest request,
                        std::function<void(Result<TokenizedPrompt>)> done) = 0;
  // The text of a sequence, control tokens included. Errors: kNotFound; kInvalid: not its tokens.
  virtual void Detokenize(std::string model, std::vector<TokenId> ids,
                          std::function<void(Result<std::string>)> done) = 0;
  // Errors: kNotFound, those of reading its file.
  virtual void DescribeModel(
      std::string model, std::function<void(Result<std::shared_ptr<const ModelDetails>>)> done) = 0;
  // Compiled forms of answers, for whoever reads requests. Thread: any. Outlives the API's users.
  virtual grammar::Cache& grammars() = 0;
  // With the presets of this node whose model is there.
  virtual std::vector<ModelView> Models() const = 0;
  // By name or id; of a preset, where its model's lies. Errors: kNotFound, kInvalid (several fit).
  virtual Result<ModelPlace> FindPlace(const std::string& model) const = 0;
  // Null: there is none of this name.
  virtual std::shared_ptr<const Preset> FindPreset(const std::string& name) const = 0;
  // Keeps a preset, in place of one of its name; done when it is on disk. Errors: kNotFound (its
  // model), kInvalid (the name is a model's or none, too large), kOverloaded, kIo.
  virtual void SavePreset(Preset preset, std::function<void(Result<void>)> done) = 0;
  virtual ClusterView Cluster() const = 0;
  virtual NodeMetrics Metrics() const = 0;
  // The calls of this node's clients that run, and the last 200 that have ended; the newest first.
  virtual std::vector<RequestView> RequestList() const = 0;
  // Another number whenever the list is another one.
  virtual uint64_t RequestListVersion() const = 0;
  // Nothing: it is not in the list.
  virtual std::optional<RequestView> FindRequest(const RequestId& call) const = 0;
  // Nothing: it is not among the last 32.
  virtual std::optional<RequestTrace> TraceOf(const RequestId& call) const = 0;
  // Ends a call, whose client gets an error that says so. False: it does not run.
  virtual bool CancelCall(const RequestId& call) = 0;
  // What keeps this device and its cluster from working well, found by looking at both.
  virtual void Diagnose(std::function<void(std::vector<Finding>)> done) = 0;
  // State changes: those that are kept after the event `since` (unset: none), then every further
  // one. `watcher` must outlive the subscription.
  virtual Subscribed Subscribe(std::optional<uint64_t> since, EventWatcher& watcher) = 0;
  // A placement without loading; `model` is a name or the path of a GGUF file on this node.
  virtual void MakePlan(std::string model, const Placing& placing,
                        std::function<void(Result<PlanView>)> done) = 0;
  // Registers a GGUF file of this node (first part of a split one) under its name; done with the
  // name.
  virtual void AddModel(std::string path, std::function<void(Result<std::string>)> done) = 0;
  // Brings a model here by a name of the hub or a registry (fetch/reference.h) or by an https URL.
  // One that is here or on another member is there already. `watcher` must outlive the returned
  // object, and hears nothing before this returns.
  // Errors, by code: kInvalid (no such name; refused by its server), kNotFound, kDisconnected (the
  // internet), kOverloaded, kCorrupt (other bytes than were announced), kIo, kUnsupported.
  virtual std::unique_ptr<Pulling> Pull(std::string model, PullWatcher& watcher) = 0;
  // Those of this node, whoever waits for them.
  virtual std::vector<PullView> PullList() const = 0;
  // Has the model running (loading it when needed); done when ready or refused.
  virtual void Load(std::string model, const Placing& placing,
                    std::function<void(Result<PlanView>)> done) = 0;
  // Frees it everywhere; done when it is gone. `when_idle`: not before the answers that are being
  // computed by it have ended; then done when everybody knows that it is to go.
  virtual void Unload(std::string model, bool when_idle,
                      std::function<void(Result<void>)> done) = 0;
  // Who takes part.
  virtual Pairing& pairing() = 0;
  // What people wrote and were answered. Null: this node keeps none of it (a setting).
  virtual Conversations* conversations() = 0;
  // Forgets a preset, or a model that AddModel registered, also one whose file is missing; the file
  // stays. One that was pulled is deleted. What runs of it is unloaded. `everywhere`: what exo has
  // downloaded of a model is deleted on all devices of the cluster, and files of people stay.
  // Done with what came of it: here, or on each device.
  // Errors: kNotFound, kInvalid (it lies in a model folder; everywhere: a preset, a guest asks),
  // kIo.
  virtual void RemoveModel(std::string model, bool everywhere,
                           std::function<void(Result<std::vector<RemovalView>>)> done) = 0;
};

}  // namespace exo::node
