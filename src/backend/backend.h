// What computes a stage: layers [begin, end) of one model on one device, with the KV caches of its
// sequences, and at the lead also embedding and output. The engine above decides which sequences
// and positions a step holds; a backend only computes, and gives the same bits whatever the
// division of work (docs/arithmetic.md).
//
// Thread: one caller at a time per StageCompute (the instance's stage thread).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/collective.h"
#include "backend/speed_meter.h"
#include "backend/work_costs.h"
#include "base/ids.h"
#include "base/result.h"
#include "kernels/kernels.h"
#include "model/adapter.h"
#include "model/config.h"
#include "model/tensors.h"

namespace exo::backend {

// Where weights come from while a stage loads: a model file or a cache of tensors pulled from a
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
    // Set for good once `bytes` are no longer the file's (it was cut off): what was computed from
    // them since is worthless. Null: that cannot happen. Lives as long as `owner`.
    const std::atomic<bool>* broken = nullptr;
  };
  virtual std::optional<Packed> FindPacked(const model::TensorRef&, std::string_view /*layout*/) {
    return {};
  }
  // These bytes will not be read again: their pages need not stay in memory.
  virtual void Done(const model::TensorRef& tensor, uint64_t offset, uint64_t bytes) = 0;
};

// The part of each layer that one shard of a tensor split computes: some query heads, with the KV
// heads that they share (where a cut goes through a group, both sides have its KV head), some
// columns of the dense or shared feed-forward block, and some experts of a mixture. Heads and
// columns are cut between leaves (backend/collective.h) and between the blocks of the weights. And
// its rows of the output matrix, cut between panels. Every shard has heads, and columns where there
// are no experts; the lead has rows of the output matrix.
struct Shard {
  uint32_t head_begin = 0;  // [begin, end) of ModelConfig::heads
  uint32_t head_end = 0;
  uint32_t ffn_begin = 0;  // [begin, end) of ModelConfig::ffn_width
  uint32_t ffn_end = 0;
  uint32_t vocab_begin = 0;  // [begin, end) of ModelConfig::vocab
  uint32_t vocab_end = 0;
  uint32_t expert_begin = 0;  // [begin, end) of ModelConfig::experts.count
  uint32_t expert_end = 0;
};

// A low-rank adapter that a stage is loaded with, for the sequences that want it.
struct StageAdapter {
  std::shared_ptr<const model::AdapterTensors> tensors;
  std::shared_ptr<TensorSource> source;  // of the stage's layers of it; read by Load alone
};
// What a sequence uses of them.
struct AdapterUse {
  uint32_t adapter = 0;  // index into StageSpec::adapters
  float scale = 1;
  friend bool operator==(const AdapterUse&, const AdapterUse&) = default;
};

// Layers of a stage whose matrices are not held in memory: each step reads them from their source,
// one after the other, into windows that they share. Of a mixture only the experts are not held:
// those that a step's rows go to are read, and the windows keep those that were used last
// (docs/adr/0031-layers-from-disk.md).
struct StreamedLayers {
  std::vector<uint32_t> layers;          // of the model, ascending; empty: none
  uint32_t windows = 2;                  // layers, or all experts of so many, at hand at once
  std::shared_ptr<TensorSource> source;  // of all of them; not needed to estimate
};

struct StageSpec {
  std::shared_ptr<const model::ModelConfig> config;
  std::shared_ptr<const model::ModelTensors> tensors;
  uint32_t layer_begin = 0;  // [begin, end), may be empty at a lead
  uint32_t layer_end = 0;
  bool lead = false;  // embedding and output matrix too
  // Set: the stage computes this part and sums with the others' through Batch::collective.
  std::optional<Shard> shard;
  kernels::KvType kv_type = kernels::KvType::kF16;
  uint32_t chunk = 256;  // rows of one Run at most
  std::vector<StageAdapter> adapters = {};
  StreamedLayers streamed = {};  // none of a shard

  bool IsStreamed(uint32_t layer) const {
    return std::ranges::binary_search(streamed.layers, layer);
  }
};

// Whether the stage multiplies with rows of the output matrix.
bool HasOutput(const StageSpec& spec);
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

// What a Batch gives back.
enum class Wanted : uint8_t {
  kHidden,  // hidden states of all rows after the stage's layers: what the next stage continues
  kOutput,  // those of output_rows only: what the last stage returns to the lead
  kLogits,  // lead: logits of output_rows; of a shard, those of its part of the vocabulary
};

// One step of a stage: rows in, layers over them, rows out. What it points to must live until the
// Running has been waited for or destroyed.
struct Batch {
  // Each continues its sequence (first <= its length; later positions are overwritten). Empty: no
  // layers run, as when a lead turns rows that came back into logits.
  std::span<const Segment> segments;
  // The rows' input, as many as the segments hold: tokens to embed (lead), or hidden [rows][width].
  std::span<const TokenId> tokens;
  std::span<const float> hidden;
  // Of kOutput and kLogits: indices of rows, ascending.
  std::span<const uint32_t> output_rows;
  Wanted wanted = Wanted::kHidden;
  const std::atomic<bool>* cancel = nullptr;  // null: cannot be cancelled
  // Of a shard, and only there: called between products, and at the lead for logits, on the thread
  // that waits.
  Collective* collective = nullptr;
};

// Rows of logits that a stage holds at once: 16 rows of a vocabulary of 150,000 are 9 MiB.
inline constexpr size_t kLogitRows = 16;

// Of Running::Logits.
inline constexpr uint32_t kAllLogits = 0;

// A batch at work; what it gives back belongs to the stage and is valid until the stage's next Run.
class Running {
 public:
  // A batch that was not waited for is cancelled.
  virtual ~Running() = default;
  // Blocks until the layers are done. Once.
  // Returns hidden [rows][width] of kHidden or kOutput, nothing of kLogits.
  // Errors: kCancelled (the positions count as computed, their KV is undefined: truncate or close
  // the sequences), those of the device.
  virtual Result<std::span<const float>> Wait() = 0;
  // Of kLogits, after Wait: logits [count][vocab] of outputs [first, first + count), count <=
  // kLogitRows. `best`: kAllLogits, or so many of each row are wanted; a lead whose output matrix
  // is divided may then give -inf for others that are worse. Of a shard that is not the lead: those
  // of its own part of the vocabulary, all of them. The caller may change them; the next call
  // overwrites them. Hidden states stay on the device. Errors: those of the device and of the
  // collective.
  virtual Result<std::span<float>> Logits(size_t first, size_t count, uint32_t best) = 0;
  // Of kLogits, after Wait: what the output matrix would multiply, the hidden states after the
  // output norm, [count][width] of outputs [first, first + count), count <= kLogitRows. Valid until
  // the next call of any kind. Errors: those of the device.
  virtual Result<std::span<const float>> States(size_t first, size_t count) = 0;
};

// Which layers of a stage a saved page holds.
enum class PageForm : uint8_t {
  kWhole,  // all
  kBare,   // without those that have a window: what is left when that has moved on
};

class StageCompute {
 public:
  virtual ~StageCompute() = default;

  // A sequence of at most `capacity` positions; Run takes KV memory as it grows, 256 positions at a
  // time. Layers with a window let go of what lies before the window of a segment's first position:
  // the sequence cannot be cut, overwritten or forked where that is missing (but at position 0).
  // `adapters`: of the stage, in ascending order; they decide the bits of all its positions.
  // Errors: kInvalid (already open, an adapter that the stage does not have).
  virtual Result<void> Open(SequenceId sequence, uint32_t capacity,
                            std::span<const AdapterUse> adapters = {}) = 0;
  // Opens `sequence` with the adapters and the first `length` positions of `from`: the bits that
  // computing them again would give. They share the memory until one of them writes to it. Errors:
  // those of Open; kInvalid (`from` is unknown or shorter, positions below `length` are undefined
  // since a step was cancelled, or a window there is gone).
  virtual Result<void> Fork(SequenceId from, uint32_t length, SequenceId sequence,
                            uint32_t capacity) = 0;
  virtual void Close(SequenceId sequence) = 0;
  // Forgets positions from `length` on (a rejected draft, a replayed step). Errors: kInvalid
  // (unknown, shorter, or a window there is gone).
  virtual Result<void> Truncate(SequenceId sequence, uint32_t length) = 0;

  // Bytes of a saved page of `positions` (1 to kernels::kKvPage): those of each of its layers in
  // turn, as many for every layer, so that a part of the layers can be cut out. They are the same
  // on every device. Nothing: the stage cannot save pages (a shard has a part of every layer).
  virtual std::optional<size_t> SavedBytes(uint32_t positions, PageForm form) const = 0;
  // Positions [first, first + positions) of a sequence, `first` a multiple of kKvPage, into `out`
  // of SavedBytes(positions, form). Errors: kInvalid (not open, not computed, of a whole page: a
  // window there is gone), kUnsupported.
  virtual Result<void> SavePage(SequenceId sequence, uint32_t first, uint32_t positions,
                                PageForm form, std::span<std::byte> out) = 0;
  // Appends the first `count` positions of a page that was saved with `positions` of them: the bits
  // that computing them would give. Of a bare page all kKvPage; behind it the windows are gone, and
  // come back with the whole pages that follow. Errors: kInvalid (not open, `first` is not its
  // length or not a multiple of kKvPage, no page of that size: nothing changed), kUnsupported,
  // kOverloaded.
  virtual Result<void> LoadPage(SequenceId sequence, uint32_t first, uint32_t count,
                                uint32_t positions, PageForm form,
                                std::span<const std::byte> page) = 0;

  // Checks a batch and starts it. A device may compute it while the caller does other things; one
  // batch at a time. Errors: kInvalid (unknown sequence, over capacity, too many rows, a token
  // outside the vocabulary: nothing changed), kOverloaded (no memory for more positions).
  virtual Result<std::unique_ptr<Running>> Run(const Batch& batch) = 0;

  // Host work between batches: work(i) for each i in [0, count), beside each other on the threads
  // that compute the stage where it has some. Returns when all is done.
  virtual void ForEach(size_t count, const std::function<void(size_t i)>& work) {
    for (size_t i = 0; i < count; ++i) work(i);
  }

  virtual uint64_t weights_bytes() const = 0;
};

// Bytes a stage will take, from the same arithmetic that the loader uses.
struct StageBytes {
  uint64_t weights = 0;                   // held, and the windows of those that are not
  uint64_t read_per_token = 0;            // of the weights: a mixture reads only the chosen experts
  uint64_t kv_per_position = 0;           // of layers that attend to all positions
  uint64_t windowed_kv_per_position = 0;  // of the others
  uint64_t scratch = 0;
};

enum class DeviceKind : uint8_t { kCpu, kGpu };

// What a backend computes on.
struct DeviceInfo {
  DeviceKind kind = DeviceKind::kCpu;
  std::string name;            // "AMD EPYC 9B14"
  std::string isa;             // "avx512"; what kernels were chosen for
  uint32_t cores = 0;          // compute threads
  uint64_t memory_total = 0;   // bytes of the device, or of this process's limit
  uint64_t memory_budget = 0;  // bytes of them that stages may take in all
};

// What the planner divides work by: for as long as one likes, not in the best moment.
struct Speed {
  double decode_gbps = 0;   // GB/s of Q4_0 weights streamed by a one-token product past the caches
  double prefill_gops = 0;  // 1e9 operations (2 per multiply-add) per second with 64 tokens
  // The part of the time that it computes when it does nothing else; a quota takes the rest. Short
  // work between pauses is done at decode_gbps / duty.
  double duty = 1;
  bool alone = true;  // false: this process did other work meanwhile, and the figures are low
};

// A device: its memory, its arithmetic, its speed, and the stages it computes.
// Thread: any; stages of one backend share its device.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string Describe() const = 0;  // "cpu avx512, 2 threads"
  virtual const DeviceInfo& device() const = 0;
  // Version and known-answer hash of the arithmetic (docs/arithmetic.md, rule 11): devices with
  // different ones never share an instance. Cost: a few milliseconds.
  virtual NumericsId Numerics() const = 0;
  // Measures now, as sampling.h says: what the device gives, with its quota. Cost: 0.5 s, 2 s
  // under a quota, and 120 MiB.
  virtual Result<Speed> MeasureSpeed() = 0;
  // Measures what formats and layers cost beside Q4_0, for the planner and for TakeWork. It
  // compares, so that a quota and a slow moment hardly matter. Cost: a second and 160 MiB.
  virtual Result<WorkCosts> MeasureCosts() = 0;
  // What was measured before: in these TakeWork tells what is done from now on.
  virtual void SetCosts(WorkCosts costs) = 0;
  // What stages have computed since the last call.
  virtual WorkDone TakeWork() = 0;
  // Grows while the device computes: a sign of progress.
  virtual uint64_t items_done() const = 0;
  // Time that the device has worked since it was opened.
  virtual std::chrono::nanoseconds busy() const = 0;
  // The packed layout it reads (TensorSource::FindPacked).
  virtual std::string_view layout() const = 0;
  virtual StageBytes Estimate(const StageSpec& spec) const = 0;
  // Reads and repacks the stage's tensors, in parallel, behind whatever stages of this backend
  // compute meanwhile. `progress(done, total)` bytes, from the calling thread.
  // Errors: those of the sources, kOverloaded (memory), kCancelled; of a shard, kInvalid (not cut
  // where it may be) and kUnsupported (adapters).
  virtual Result<std::unique_ptr<StageCompute>> Load(
      const StageSpec& spec, TensorSource& source,
      const std::function<void(uint64_t done, uint64_t total)>& progress,
      const std::atomic<bool>* cancel) = 0;
};

}  // namespace exo::backend
