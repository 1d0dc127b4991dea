// Where a model is placed: on one node, as layers over several in any order, as a part of each
// layer on several, as layers over groups of such, or whole on each of several, whichever is
// predicted fastest for what the model is used for; further nodes only where they gain enough. What
// was compared, the prediction and why are part of the answer, so that they can be told and
// compared with the measurement; a refusal lists required and available memory.
//
// Thread: pure, any thread. Cost, of a release build: tens of milliseconds for 8 nodes, below 1 s
// for 32 (docs/performance.md).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "wire/messages.h"
#include "wire/plan.h"

namespace exo::cluster {

// Where a tensor split may cut the layers of a model and its output matrix. No heads: nowhere.
struct TensorCuts {
  uint32_t kv_heads = 0;
  uint32_t kv_step = 1;  // cuts are multiples of it, or the end; likewise the others
  uint32_t heads = 0;    // query heads; with a cut inside a group both sides hold its KV head
  uint32_t head_step = 1;
  uint32_t ffn_width = 0;  // of the dense or shared block; 0: experts only
  uint32_t ffn_step = 1;
  uint32_t vocab = 0;
  uint32_t vocab_step = 1;
  uint32_t experts = 0;  // 0: no mixture
  uint32_t experts_used = 0;

  uint32_t group() const { return heads / kv_heads; }
};

// Bytes of a layer's weights by how they are divided; what is in none is held whole by every shard.
struct LayerParts {
  uint64_t heads = 0;  // query and output matrix
  uint64_t kv = 0;     // key and value matrix
  uint64_t ffn = 0;    // the dense or shared block
  uint64_t experts = 0;
};

// What the weights of one format cost a row.
struct FormatWork {
  uint32_t format = 0;  // GGUF's number
  double bytes = 0;     // read, packed
  double ops = 0;       // 2 per multiply-add
};

// What a model costs, from the loader's own arithmetic (backend::Estimate), per layer.
struct ModelShape {
  ModelId id;
  std::string name;
  uint32_t width = 0;  // of the hidden state
  uint32_t trained_context = 0;
  std::vector<uint64_t> layer_bytes;         // in memory, packed; size = number of layers
  std::vector<uint64_t> layer_decode_bytes;  // read for one token; empty: all of layer_bytes
  // Of the layers' and the output matrix's formats; empty: all as Q4_0.
  std::vector<std::vector<FormatWork>> layer_work = {};
  std::optional<uint32_t> output_format = {};
  TensorCuts cuts = {};
  std::vector<LayerParts> layer_parts = {};  // of layer_bytes
  uint64_t partials_bytes = 0;               // of each shard in addition to scratch_bytes
  uint64_t embedding_bytes = 0;              // at the lead, in memory
  uint64_t output_bytes = 0;                 // at the lead, in memory; read for each token
  // Bytes of one position in one layer, keys and values, by wire::Plan::kv_type.
  std::array<uint32_t, wire::kKvTypes> kv_bytes_per_position = {};
  // A layer attends to its last `window` positions, every window_period-th to all; 0: all do.
  uint32_t window = 0;
  uint32_t window_period = 1;
  uint64_t ops_per_token_layer = 0;   // 2 per multiply-add
  uint64_t scratch_bytes = 0;         // of each stage
  uint64_t stream_scratch_bytes = 0;  // of one that reads layers from disk in addition
  uint64_t lead_scratch_bytes = 0;    // of the lead in addition (logits)
  uint64_t logits_bytes = 0;          // of a shard in addition, when it has the whole vocabulary

  uint32_t layers() const { return static_cast<uint32_t>(layer_bytes.size()); }
  bool HasWindow(uint32_t layer) const { return window != 0 && (layer + 1) % window_period != 0; }
};

// What was measured, or said, of the way to another node.
struct PlanLink {
  NodeId to;
  double rtt_ms = 0;      // there and back, the median; <= 0: unknown
  double rtt_p99_ms = 0;  // 99 of 100 are no longer; <= 0: unknown
  double mbps = 0;        // 1e6 bits per second to there; <= 0: unknown, not counted
};

struct PlanNode {
  NodeId id;
  std::string name;
  uint64_t memory_available = 0;  // budget less what is reserved
  uint64_t memory_budget = 0;
  double decode_gbps = 0;  // <= 0: unknown, taken as the slowest known one
  double prefill_gops = 0;
  double layer_bytes = 0;                      // as in wire::DeviceRecord
  std::vector<wire::FormatCost> formats = {};  // likewise
  double duty = 1;                             // likewise, above 0
  double rtt_ms = 0;                           // from the planning node; <= 0: unknown
  double disk_gbps = 0;                        // as in wire::DeviceRecord
  // What it gives of itself, which the speeds count already. 0: it takes no part, but is the last
  // resort; its speeds are then those that it would have.
  double share = 1;
  // Holds layers in the middle only: neither the first ones nor the last, whose inputs and outputs
  // are almost the text.
  bool guest = false;
  // To other nodes. Where neither end lists a link, its round trips are those from the planning
  // node.
  std::vector<PlanLink> links = {};
};

struct PlanOptions {
  NodeId owner;
  uint64_t term = 0;
  uint64_t nonce = 0;  // makes equal plans of different moments different
  NodeId prefer;       // wins ties: the node that asks, usually the owner
  wire::Split split = wire::Split::kAuto;
  wire::Use use = wire::Use::kAuto;
  uint32_t users = 0;    // answers at once; 0: not known
  uint32_t context = 0;  // 0: as trained, as far as memory allows
  // Rows of one step: 256 is where matmul throughput is flat (bench/kernel_bench.cc).
  uint32_t chunk = 256;
  uint8_t kv_type = 0;
  // Every stage reserves all of their bytes, though it holds those of its own layers only.
  std::vector<wire::AdapterRef> adapters = {};
  std::optional<wire::DraftRef> draft = {};
  wire::Codec codec = wire::Codec::kF32;
};
// Nodes are chosen for so many positions: a longer context is not worth another, slower division.
// On the nodes that were chosen it grows to the trained one as far as half of the memory that is
// left allows.
inline constexpr uint32_t kDefaultContext = 4096;
// Sequences of the whole context for which memory is reserved, or more shorter ones; fewer where
// that does not fit.
inline constexpr uint32_t kDefaultSequences = 4;
// Answers at once where a plan is for throughput and nobody says how many.
inline constexpr uint32_t kDefaultUsers = 4;
// Predictions are off by about a tenth: a plan over further nodes that is faster by less may be
// slower.
inline constexpr double kWorthMoreNodes = 1.1;
// A split of each layer waits for its slowest device 2 L times a token, and was measured at up to a
// quarter less than was predicted (docs/performance.md): one that is not asked for must promise so
// much more than other plans do.
inline constexpr double kWorthSplitting = 1.3;
// The whole model on a further node must add so much to what the others give together: it takes
// memory there, and a load.
inline constexpr double kWorthReplica = 1.05;
// So many of kShortSequence positions (or of the context, if that is less) at least, where half of
// the memory that is left holds them: chats are more often many than long.
inline constexpr uint32_t kShortSequences = 32;
inline constexpr uint32_t kShortSequence = 1024;

struct Prediction {
  double decode_tokens_per_second = 0;   // one request
  double prefill_tokens_per_second = 0;  // a prompt of wire::PromptTokensOf
  double ttft_ms = 0;                    // of that prompt
  std::vector<double> stage_decode_ms;   // one token in each stage
  std::vector<double> stage_chunk_ms;    // a full chunk in each stage
  uint32_t users = 1;
  double total_tokens_per_second = 0;  // of so many answers at once
};

struct PlanChoice {
  wire::Plan plan;  // with id, every field set
  Prediction prediction;
  wire::PlanBasis basis = wire::PlanBasis::kUnknown;
  std::vector<wire::PlanRival> rivals;  // what was compared: the best few of each kind
  wire::Use use = wire::Use::kLatency;  // what for
  // Where the model runs several times, the others, the fastest first. Each prediction, that of the
  // first one included, is for its share of the users; all have the same context.
  std::vector<PlanChoice> replicas = {};
};
// The placements of a choice one by one, none with replicas.
std::vector<PlanChoice> EachReplica(PlanChoice choice);
// Answers at once that a choice was predicted for.
uint32_t UsersOf(const PlanChoice& choice);
// Of each kind, for display.
inline constexpr size_t kMostRivals = 16;

// Devices of no share are used where the others alone cannot hold the model. Where all together
// could not, whatever else they give up, layers are read from their disks (streaming.h).
// Errors: kInvalid (no layers, context above the trained one is allowed, kv_type unknown),
// kOverloaded (nothing fits: needed against available per node and in all, in human units),
// kNotFound (no nodes).
Result<PlanChoice> MakePlan(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                            const PlanOptions& options);

// The same refusal as a cause: its figures, and the sentence as detail.
wire::Cause PlanCause(const Error& error, const ModelShape& shape,
                      const std::vector<PlanNode>& nodes, const PlanOptions& options);

wire::Expectation ExpectationOf(const PlanChoice& choice);

// Positions that KV is reserved for, of a layer that attends to all and of one with a window.
struct KvPositions {
  uint64_t all = 0;
  uint64_t windowed = 0;
  uint64_t Of(const ModelShape& shape, uint32_t layer) const {
    return shape.HasWindow(layer) ? windowed : all;
  }
};
KvPositions ReservedKv(const ModelShape& shape, uint64_t pages, uint32_t context, uint32_t chunk);

// Bytes of a stage: weights, KV of all reserved positions, scratch.
struct StageShare {
  uint32_t layer_begin = 0;
  uint32_t layer_end = 0;
  bool lead = false;
  std::optional<wire::ShardPlan> shard = {};
  uint32_t streamed = 0;  // layers that are not held, but for wire::kStreamWindows of them
};
uint64_t StageMemory(const ModelShape& shape, const StageShare& share, const KvPositions& positions,
                     uint8_t kv_type);

// The prediction for a given plan; nodes not in the list count as the slowest known one. `users`:
// answers at once, at least 1. `use`: decides how long the prompt is.
Prediction Predict(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                   const wire::Plan& plan, uint32_t users = 1, wire::Use use = wire::Use::kLatency);

}  // namespace exo::cluster
