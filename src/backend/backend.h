// What computes a stage: layers [begin, end) of one model on one device, with the KV caches of its
// sequences, and at the lead also embedding and output. The engine above decides which sequences
// and positions a step holds; a backend only computes, and gives the same bits whatever the
// division of work (docs/arithmetic.md).
//
// Thread: one caller at a time per StageCompute (the instance's stage thread).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "kernels/kernels.h"
#include "model/config.h"
#include "model/tensors.h"

namespace exo::backend {

// Where weights come from while a stage loads: a mapped file or a cache of tensors pulled from a
// peer. Thread: any, several reads at once.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // Bytes [offset, offset + bytes) of a tensor; valid until Done or destruction.
  // Errors: kNotFound, kIo, kCorrupt.
  virtual Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                                  uint64_t bytes) = 0;
  // The tensor as kernels of `layout` (kernels::Kernels::layout) pack it, when it was prepared
  // before: used where it lies, for as long as `owner` lives. Nothing: read it and pack it.
  struct Packed {
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner;
  };
  virtual std::optional<Packed> FindPacked(const model::TensorRef&, std::string_view /*layout*/) {
    return {};
  }
  // These bytes will not be read again: their pages need not stay in memory.
  virtual void Done(const model::TensorRef& tensor, uint64_t offset, uint64_t bytes) = 0;
};

struct StageSpec {
  std::shared_ptr<const model::ModelConfig> config;
  std::shared_ptr<const model::ModelTensors> tensors;
  uint32_t layer_begin = 0;  // [begin, end), may be empty at a lead
  uint32_t layer_end = 0;
  bool lead = false;  // embedding and output matrix too
  kernels::KvType kv_type = kernels::KvType::kF16;
  uint32_t chunk = 256;  // rows of one Forward at most
};

// Every tensor that the stage needs, in loading order.
std::vector<const model::TensorRef*> StageTensors(const StageSpec& spec);

// A sequence of this stage; chosen by the caller, never reused while open.
using SequenceId = uint64_t;

// Rows [row, row + count) of a step belong to positions [first, first + count) of one sequence.
struct Segment {
  SequenceId sequence = 0;
  uint32_t first = 0;
  uint32_t count = 0;
};

class StageCompute {
 public:
  virtual ~StageCompute() = default;

  // Takes KV memory for `capacity` positions. Errors: kOverloaded (memory), kInvalid (already
  // open).
  virtual Result<void> Open(SequenceId sequence, uint32_t capacity) = 0;
  virtual void Close(SequenceId sequence) = 0;
  // Forgets positions from `length` on (a rejected draft, a replayed step).
  virtual Result<void> Truncate(SequenceId sequence, uint32_t length) = 0;

  // Lead: hidden[i] = embedding of tokens[i]. hidden [tokens][width].
  // Errors: kInvalid (a token outside the vocabulary).
  virtual Result<void> Embed(std::span<const TokenId> tokens, std::span<float> hidden) = 0;
  // Runs this stage's layers over hidden [rows][width] in place; rows = sum of the segments'
  // counts. Each segment continues its sequence (first <= its length; later positions are
  // overwritten). Errors: kInvalid (unknown sequence, over capacity: nothing changed), kCancelled
  // (the positions count as computed, their KV and hidden rows are undefined: truncate or close the
  // sequences).
  virtual Result<void> Forward(std::span<const Segment> segments, std::span<float> hidden,
                               const std::atomic<bool>* cancel) = 0;
  // Lead: logits [rows][vocab] of hidden [rows][width] after the last layer. Errors: kCancelled.
  virtual Result<void> Logits(std::span<const float> hidden, std::span<float> logits,
                              const std::atomic<bool>* cancel) = 0;

  virtual uint64_t weights_bytes() const = 0;
};

// Bytes a stage will take, from the same arithmetic that the loader uses.
struct StageBytes {
  uint64_t weights = 0;
  uint64_t read_per_token = 0;  // of the weights: a mixture reads only the chosen experts
  uint64_t kv_per_position = 0;
  uint64_t scratch = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string Describe() const = 0;  // "cpu avx512, 2 threads"
  virtual StageBytes Estimate(const StageSpec& spec) const = 0;
  // Reads and repacks the stage's tensors, in parallel. `progress(done, total)` bytes, from any
  // thread. Errors: those of the source, kOverloaded (memory), kCancelled.
  virtual Result<std::unique_ptr<StageCompute>> Load(
      const StageSpec& spec, TensorSource& source,
      const std::function<void(uint64_t done, uint64_t total)>& progress,
      const std::atomic<bool>* cancel) = 0;
};

}  // namespace exo::backend
