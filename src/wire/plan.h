// The identity of a plan, and what a plan from the network must satisfy before anybody acts on it.
// The id is a hash, never a counter: two nodes that plan at once can never give two plans one name,
// and a frame that carries the id of another plan is stale or foreign (it is dropped).
//
// Thread: pure, any thread.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "wire/messages.h"

namespace exo::wire {

// First 16 bytes of SHA-256 over every field but `id` (little-endian, lengths in front of lists).
PlanId ComputePlanId(const Plan& plan);

// Limits on plans from the network. Positions: a KV cache is indexed with 32 bits.
inline constexpr uint32_t kMaxLayers = 4096;
inline constexpr uint32_t kMaxContext = 1u << 24;
inline constexpr uint32_t kMaxPages = 1u << 22;
inline constexpr uint32_t kMaxChunk = 8192;
inline constexpr uint64_t kMaxAdapterBytes = uint64_t{1} << 40;
// Types of a KV cache (kernels::KvType): numbers below this.
inline constexpr uint8_t kKvTypes = 3;
// By Plan::kv_type, as kernels::KvType numbers them.
inline constexpr std::array<std::string_view, kKvTypes> kKvNames = {"f16", "f32", "q8_0"};
// By Codec.
inline constexpr std::array<std::string_view, 4> kCodecNames = {"f32", "f16", "int8", "int4"};
inline std::string_view NameOf(Codec codec) {
  return kCodecNames[static_cast<size_t>(codec)];
}
// By Split.
inline constexpr std::array<std::string_view, 4> kSplitNames = {"auto", "layer", "tensor",
                                                                "hybrid"};
// By Use.
inline constexpr std::array<std::string_view, 4> kUseNames = {"auto", "latency", "throughput",
                                                              "prompts"};
// Of the prompt that an expectation's time to the first token is about: what agents send, where a
// plan is for prompts.
inline constexpr uint32_t PromptTokensOf(Use use) {
  return use == Use::kPrompts ? 2048 : 512;
}
inline constexpr uint32_t kMaxUsers = 1024;  // answers at once that a plan is made for
// KV memory is taken in pages of this many positions of all layers (kernels::kKvPage).
inline constexpr uint32_t kPagePositions = 256;

// Stages contiguous over [0, layers), no node or adapter twice, limits kept, id equal to the hash.
// Errors: kInvalid with the field and its value.
Result<void> Validate(const Plan& plan);

// Index of the node's stage, or -1.
int StageOf(const Plan& plan, const NodeId& node);

// Where a stage has no memory for all of its layers, some are held and the others read from its
// disk for each step, into windows for so many layers: one computes while the next one is read.
inline constexpr uint32_t kStreamWindows = 2;
struct LayerSpan {
  uint32_t begin = 0;  // [begin, end), not empty
  uint32_t end = 0;
};
// Whether a layer of the span is read, where so many are: they are spread evenly, so that the disk
// is at work while those between them compute.
bool IsStreamed(const LayerSpan& layers, uint32_t streamed, uint32_t layer);
// All of a stage's, ascending.
std::vector<uint32_t> StreamedLayers(const StagePlan& stage);
// How many the whole plan has.
uint32_t StreamedLayersOf(const Plan& plan);

// Stages [begin, end) that compute the same layers: one, or the shards of a tensor split.
struct StageGroup {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
  bool Has(size_t stage) const { return begin <= stage && stage < end; }
  friend bool operator==(const StageGroup&, const StageGroup&) = default;
};
// In the order of their layers.
std::vector<StageGroup> GroupsOf(const Plan& plan);
StageGroup GroupOf(const Plan& plan, size_t stage);
// Whether some of its layers are divided over several nodes.
inline bool HasShards(const Plan& plan) {
  return std::ranges::any_of(plan.stages, [](const StagePlan& s) { return s.shard.has_value(); });
}
// Layers over groups, of which one at least is of several nodes.
inline bool IsHybrid(const Plan& plan) {
  return HasShards(plan) && GroupsOf(plan).size() > 1;
}
// How it is divided; auto: one node has it all.
Split SplitOf(const Plan& plan);
// Where the rows of a plan lose bits, in the order of its layers: two plans with the same losses
// compute the same bits, whatever devices they are of. None: every bit is that of one device.
struct WireLoss {
  Codec codec = Codec::kF32;
  std::vector<uint32_t> cuts;  // behind so many layers; where the last stage sends to the lead: all
  friend auto operator<=>(const WireLoss&, const WireLoss&) = default;
};
WireLoss LossOf(const Plan& plan);

// The stages to which `stage` sends the rows of a step that it has computed. All shards of a group
// have them: each sends them to its part of the next group, one hop, and the first one of the last
// group returns them to the lead. Of the only group nobody sends any.
std::vector<size_t> RowsTo(const Plan& plan, size_t stage);
// The stage from which it has the rows of a step: shards beside the lead have those from there, and
// the lead has them back from the last group, which may be itself.
size_t RowsFrom(const Plan& plan, size_t stage);

// The stages to which `stage` opens data links: to where its rows go, and to all shards of its
// group behind it. Two stages share one, that the first of them opens.
std::vector<size_t> ConnectsTo(const Plan& plan, size_t stage);
// Those that open one to it.
std::vector<size_t> ConnectedFrom(const Plan& plan, size_t stage);
// Whether the stage has a data link with that node.
bool AreLinked(const Plan& plan, size_t stage, const NodeId& node);

// KV pages of a sequence of so many positions.
inline uint64_t PagesOf(uint64_t positions) {
  return (positions + kPagePositions - 1) / kPagePositions;
}
// A layer with a window keeps the pages that the rows of a step of `chunk` attend to: at most so
// many of one sequence.
inline uint64_t WindowPages(uint32_t window, uint32_t chunk) {
  return PagesOf(uint64_t{window} + chunk) + 1;
}
// Pages that the plan's reservation holds of each layer with a window, where kv_pages are those of
// each other layer: of as many sequences as have a whole context, or of many short ones.
inline constexpr uint64_t kLeastWindowed = 16;
inline uint64_t WindowedPages(uint64_t kv_pages, uint32_t context, uint32_t window,
                              uint32_t chunk) {
  const uint64_t whole = std::max<uint64_t>(1, PagesOf(context));
  const uint64_t sequences = std::max(kLeastWindowed, (kv_pages + whole - 1) / whole);
  return std::min(kv_pages, sequences * WindowPages(window, chunk));
}
inline uint64_t WindowedPages(const Plan& plan, uint32_t window) {
  return WindowedPages(plan.kv_pages, plan.context, window, plan.chunk);
}
inline uint64_t ReservedPositions(const Plan& plan) {
  return uint64_t{plan.kv_pages} * kPagePositions;
}

// What a request may use of a plan's adapters: strictly ascending indices below `adapters`, finite
// scales that are not 0, at most kMaxAdaptersUsed. Errors: kInvalid with the value.
Result<void> CheckUses(const std::vector<AdapterUse>& uses, size_t adapters);

// [begin, end), which is not empty, for display: "0-7", "8".
std::string RangeText(uint64_t begin, uint64_t end);
// Layers [begin, end), likewise: "layers 0-7", "layer 8", "no layers".
std::string LayersText(uint64_t begin, uint64_t end);
// "layers 0-7 of exo-tiny": what is lost with a stage, for display (both ends inclusive).
std::string DescribeStage(const Plan& plan, int stage);

}  // namespace exo::wire
