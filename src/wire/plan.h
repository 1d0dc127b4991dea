// The identity of a plan, and what a plan from the network must satisfy before anybody acts on it.
// The id is a hash, never a counter: two nodes that plan at once can never give two plans one name,
// and a frame that carries the id of another plan is stale or foreign (it is dropped).
//
// Thread: pure, any thread.
#pragma once

#include <string>

#include "base/result.h"
#include "wire/messages.h"

namespace exo::wire {

// First 16 bytes of SHA-256 over every field but `id` (little-endian, lengths in front of lists).
PlanId ComputePlanId(const Plan& plan);

// Limits on plans from the network. Positions: a KV cache is indexed with 32 bits.
inline constexpr uint32_t kMaxLayers = 4096;
inline constexpr uint32_t kMaxContext = 1u << 24;
inline constexpr uint32_t kMaxSequences = 1024;
inline constexpr uint32_t kMaxChunk = 8192;
// Types of a KV cache (kernels::KvType): numbers below this.
inline constexpr uint8_t kKvTypes = 3;
// KV memory is taken in pages of this many positions of all layers (kernels::kKvPage).
inline constexpr uint32_t kPagePositions = 256;

// Stages contiguous over [0, layers), no node twice, limits kept, id equal to the hash.
// Errors: kInvalid with the field and its value.
Result<void> Validate(const Plan& plan);

// Index of the node's stage, or -1.
int StageOf(const Plan& plan, const NodeId& node);

// What the plan's KV reservation holds: `sequences` of the whole context, or more shorter ones.
inline uint64_t ReservedPages(uint32_t context, uint32_t sequences) {
  return (uint64_t{context} + kPagePositions - 1) / kPagePositions * sequences;
}
inline uint64_t ReservedPages(const Plan& plan) {
  return ReservedPages(plan.context, plan.sequences);
}
inline uint64_t ReservedPositions(const Plan& plan) {
  return ReservedPages(plan) * kPagePositions;
}

// "layers 0-7 of exo-tiny": what is lost with a stage, for display (both ends inclusive).
std::string DescribeStage(const Plan& plan, int stage);

}  // namespace exo::wire
