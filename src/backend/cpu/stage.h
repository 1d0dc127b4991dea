// A stage on the CPU: the layer loop over kernels and thread pool. One operation is one or two jobs
// of the pool; rows (tokens), panels (output rows) and (sequence, KV head, query tile) are its
// items. stage.cc: sequences, memory and products; stage_run.cc: batches; stage_attention.cc and
// stage_ffn.cc: the blocks of a layer, which know no architecture, only the options of ModelConfig;
// stage_experts.cc: a mixture of experts; stage_adapters.cc: low-rank adapters; stage_shard.cc:
// sums over shards.
#pragma once

#include <array>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "backend/buffer.h"
#include "backend/cpu/expert_cache.h"
#include "backend/cpu/layer_stream.h"
#include "backend/cpu/resident_copy.h"
#include "backend/cpu/routing.h"
#include "backend/cpu/step_size.h"
#include "backend/cpu/weights.h"
#include "backend/kv_pages.h"
#include "sys/thread_pool.h"

namespace exo::backend {

// Scratch bytes of a stage, without attention scratch. `parts`: ShardPlan::max_parts of a shard.
uint64_t ScratchBytes(const kernels::Kernels& kernels, const StageSpec& spec, size_t parts);
// K and V bytes of one position in the stage's layers with, or without, a window.
uint64_t KvBytesPerPosition(const StageSpec& spec, bool windowed);

// Float arrays of a step, one row of each per token.
enum class Scratch : uint8_t {
  kQ,
  kK,
  kV,
  kAttention,
  kCos,  // of layers without a window
  kSin,
  kWindowCos,
  kWindowSin,
  kGate,  // [ffn] of the dense block, [used][expert width] of experts; the same of kUp
  kUp,
  kBlock,   // what a block adds to the hidden state, where it cannot be added at once
  kNormed,  // the input of router and experts
  kRouter,
  kExpertOut,  // [used][width]
  kShared,     // [width], the shared expert
  kSharedGate,
  kHidden,  // [width], the hidden state itself
  kOutput,  // [width], of output rows
};
inline constexpr size_t kScratches = 18;
inline constexpr size_t kActivationKinds = 3;
inline constexpr std::array<kernels::ActivationKind, kActivationKinds> kAllKinds = {
    kernels::ActivationKind::kFloat, kernels::ActivationKind::kQ8x32,
    kernels::ActivationKind::kQ8x128};
// A row operation below this many values runs on the calling thread: waking others costs more (~5
// us).
inline constexpr size_t kSerialValues = 1 << 15;

// What a shard must know beside its spec (ShardPlan).
struct ShardSums {
  size_t max_parts = 0;  // 0: not a shard
  uint32_t group = 0;
};

class CpuStage final : public StageCompute {
 public:
  static Result<std::unique_ptr<StageCompute>> Make(const kernels::Kernels& kernels,
                                                    sys::ThreadPool& pool, SpeedMeter& meter,
                                                    const StageSpec& spec, const ShardSums& sums,
                                                    StageWeights weights, bool copy_prepared);

  Result<void> Open(SequenceId sequence, uint32_t capacity,
                    std::span<const AdapterUse> adapters) override;
  void Close(SequenceId sequence) override;
  Result<void> Truncate(SequenceId sequence, uint32_t length) override;
  Result<void> Fork(SequenceId from, uint32_t length, SequenceId sequence,
                    uint32_t capacity) override;
  std::optional<size_t> SavedBytes(uint32_t positions, PageForm form) const override;
  Result<void> SavePage(SequenceId sequence, uint32_t first, uint32_t positions, PageForm form,
                        std::span<std::byte> out) override;
  Result<void> LoadPage(SequenceId sequence, uint32_t first, uint32_t count, uint32_t positions,
                        PageForm form, std::span<const std::byte> page) override;
  Result<std::unique_ptr<Running>> Run(const Batch& batch) override;
  void ForEach(size_t count, const std::function<void(size_t i)>& work) override;
  uint64_t weights_bytes() const override { return weights_bytes_; }

 private:
  struct Sequence {
    uint32_t capacity = 0;
    uint32_t length = 0;
    uint32_t defined = 0;  // <= length: positions below it were computed to the end
    KvPages kv;            // of layers that attend to all
    KvPages windowed_kv;   // of the others
    std::vector<AdapterUse> adapters = {};
  };
  // One product of a step: out [x.tokens][weights->rows], added to what is there with `add`.
  struct Product {
    const kernels::Weights* weights;
    kernels::Activations x;
    float* out;
    bool add = false;
  };
  // One matrix of each expert, with the results of slot s at out[s][rows].
  struct ExpertProduct {
    const Matrices* matrices;
    float* out;
  };
  // A product whose rows may be adapted: out [rows][rows of its matrix].
  struct Adapted {
    model::AdapterTarget target;
    float* out;
  };
  // The input of products, [rows][cols]; with a gain, its RMSNorm is.
  struct RowInput {
    const float* rows;
    const Vector* gain = nullptr;
  };
  // What a step computes with one adapter.
  struct AdapterRows {
    const AdapterWeights* adapter;
    std::vector<size_t> rows;   // of the step, ascending
    std::vector<float> scales;  // of each
  };
  // A query tile of one sequence: rows [row, row + count) at positions [first, …).
  struct Tile {
    const Sequence* sequence;
    size_t row;
    uint32_t first;
    uint32_t count;
  };

  CpuStage(const kernels::Kernels& kernels, sys::ThreadPool& pool, SpeedMeter& meter,
           const StageSpec& spec, const ShardSums& sums, StageWeights weights);
  bool sharded() const { return sums_.max_parts != 0; }
  KvLayout Layout() const;
  // Of a page to save or load. Errors: kUnsupported, kInvalid.
  Result<Sequence*> CheckPage(SequenceId id, uint32_t first, uint32_t positions, PageForm form,
                              size_t bytes);
  // The stage's layers that a page of this form holds.
  std::vector<size_t> LayersOf(PageForm form) const;
  Result<void> AllocateScratch();
  static std::unexpected<Error> WindowGone(SequenceId id, uint32_t length);
  Result<void> AllocateAdapterScratch();
  // --- a batch, called by its CpuRunning (stage_run.cc) ---
  friend class CpuRunning;
  Result<void> Check(const Batch& batch) const;
  Result<void> CheckSegments(std::span<const Segment> segments, size_t rows) const;
  // Memory for the positions that the segments write.
  Result<void> Reserve(std::span<const Segment> segments);
  void Embed(std::span<const TokenId> tokens, std::span<float> hidden) const;
  Result<std::span<const float>> Compute(const Batch& batch);
  Result<void> RunLayers(std::span<const Segment> segments, std::span<float> hidden);
  void TakeOutputs(std::span<const uint32_t> rows);
  // Whether the weights that were computed with are still those of the model. Errors: kCorrupt.
  Result<void> CheckWeights() const;
  Result<std::span<float>> Logits(size_t first, size_t count, uint32_t best);
  Result<std::span<float>> ShardLogits(size_t first, size_t count, uint32_t best);
  // What of it is multiplied here.
  kernels::Weights OutputMatrix() const;
  // out [count][rows of it here] = the output matrix times outputs [first, first + count).
  void MultiplyOutput(size_t first, size_t count, float* out);
  std::span<const float> States(size_t first, size_t count);

  void PlaceRows(std::span<const Segment> segments);
  // Errors of both: those of the collective.
  Result<void> AttentionBlock(size_t layer, size_t rows, float* hidden);
  Result<void> FeedForwardBlock(const LayerWeights& layer, size_t rows, float* hidden);
  // Of a shard: out [rows][width] = the product of x [rows][cols] with a matrix whose columns are
  // divided among shards: the parts here, then those of the others. Returns the sums of adapters
  // that change it, for AddLowSums.
  Result<std::vector<SplitSum>> SumParts(const LayerWeights& layer, model::AdapterTarget target,
                                         const float* x, size_t cols, size_t rows, float* out);
  // What SumParts made of kBlock goes to the hidden state, with what adapters add to it.
  void AddSplitBlock(const LayerWeights& layer, model::AdapterTarget target,
                     std::span<const SplitSum> low, size_t rows, float* hidden);
  // The sum to be, with the values of the parts here, which stand in partials_ from `at` on.
  SplitSum MultiplyParts(SplitProduct product, std::span<const PartOfMatrix> parts, const float* x,
                         size_t cols, size_t rows, std::span<float> out, size_t at);
  // Likewise of the experts here, which have been computed.
  SplitSum MixOwnExperts(size_t rows, std::span<float> out, size_t at);
  // Both blocks of a mixture: the experts' part of kBlock and, where there is one, the shared
  // expert's kShared, in one exchange.
  Result<void> SumMixture(const LayerWeights& layer, size_t rows);
  // The gated block of layer.gate, up and down on the prepared rows; GateUp without down. `x`: what
  // the rows were prepared from.
  void GateUp(const LayerWeights& layer, const RowInput& x, size_t rows);
  void Dense(const LayerWeights& layer, const RowInput& x, size_t rows, float* out, bool add);
  // The block of a mixture on the rows of kNormed: kBlock.
  Result<void> MixtureBlock(const LayerWeights& layer, size_t rows);
  // Routes the rows and computes the results of the experts here, by slot: kExpertOut.
  // Errors: those of reading experts that are not held.
  Result<void> RunExperts(const LayerWeights& layer, size_t rows);
  // The experts here that have slots, ascending.
  std::vector<uint32_t> ChosenExperts() const;
  // out [rows][width] = the weighted results of all experts of each row.
  void MixExperts(size_t rows, float* out);
  // Prepares the rows of kNormed for the shared expert's gate and up.
  void PrepareShared(const LayerWeights& layer, size_t rows);
  // kBlock += sigmoid(shared_router · kNormed) * kShared.
  void AddSharedExpert(const LayerWeights& layer, size_t rows);
  // block += bias, where there is one.
  void AddBias(const Vector& bias, size_t rows);
  // hidden += block; with a gain, its RMSNorm.
  void AddBlock(const Vector& gain, size_t rows, float* hidden);

  // Of the stage's layer `layer`.
  kernels::KvHead KvOf(const Sequence& sequence, size_t layer, size_t head) const {
    return (sequence.*PagesOf(layer)).Head(kv_index_[layer], head);
  }
  // Where it is layer kv_index_[layer].
  KvPages Sequence::* PagesOf(size_t layer) const {
    return WindowOf(layer) == 0 ? &Sequence::kv : &Sequence::windowed_kv;
  }
  uint32_t WindowOf(size_t layer) const {
    return config_.WindowOf(spec_.layer_begin + static_cast<uint32_t>(layer));
  }
  void ForRows(size_t rows, size_t cost,
               const std::function<void(size_t first, size_t count)>& work);
  void NormPrepare(std::span<const Product> products, const float* x, const Vector& gain,
                   size_t rows);
  void Prepare(kernels::ActivationKind kind, const float* x, size_t cols, size_t rows);
  // A product of the prepared rows.
  Product Of(const Matrix& matrix, size_t rows, float* out, bool add = false) const {
    return Of(matrix.weights, rows, out, add);
  }
  Product Of(const kernels::Weights& weights, size_t rows, float* out, bool add = false) const;
  void MatMul(std::span<const Product> products);
  void Activate(float* gate, const float* up, size_t n) const;

  void RotateAndStore(size_t layer, size_t rows);
  void Attend(size_t layer);
  // The query heads here that share KV head `kv_head`: a group, or what a shard has of it.
  struct HeadRange {
    uint32_t begin;
    uint32_t count;
  };
  HeadRange HeadsOf(size_t kv_head) const;

  // --- adapters (stage_adapters.cc) ---
  Result<void> CheckAdapters(std::span<const AdapterUse> adapters) const;
  void PlaceAdapters();
  // Adds the adapters' part to finished products of the input `x`.
  void AddAdapters(const LayerWeights& layer, std::span<const Adapted> products, const RowInput& x);
  void AddAdapter(const AdapterRows& group, const LayerWeights& layer,
                  std::span<const Adapted> products, const RowInput& x);
  // Of a shard, where the columns of `target` are divided: the sums to be of each adapter's A x,
  // with what the columns here, x [rows][cols], give of them, in partials_ from `at` on.
  std::vector<SplitSum> MultiplyLowParts(const LayerWeights& layer, model::AdapterTarget target,
                                         SplitProduct product, const float* x, size_t cols,
                                         size_t at);
  // out [rows][width] += B (scale * those sums).
  void AddLowSums(const LayerWeights& layer, model::AdapterTarget target,
                  std::span<const SplitSum> sums, float* out);
  // A product's u = A x [slots][rank], and where B (scale * u) is added.
  struct Low {
    const AdapterMatrices* pair;
    float* u;
    float* out;
  };
  void AddLow(const AdapterRows& group, std::span<const Low> products);
  // Null: the adapter does not change this matrix.
  const AdapterMatrices* PairOf(const AdapterRows& group, const LayerWeights& layer,
                                model::AdapterTarget target) const;
  static Product LowProduct(const kernels::Weights& weights, size_t slots, const std::byte* x,
                            float* out);
  // Columns [0, cols) of rows that are `stride` values apart.
  void PrepareAdapterInput(const AdapterRows& group, const RowInput& x, size_t stride, size_t cols);
  // u [slots][rank] *= scale, prepared for the product with B.
  void ScaleLow(const AdapterRows& group, size_t rank, float* u, std::byte* prepared);

  // Slots: rows times the experts they go to, ordered by expert (routing.h). Those of the experts
  // here are computed, whose matrices are the layer's.
  void Route(const LayerWeights& layer, size_t rows);
  size_t expert_begin() const { return sharded() ? spec_.shard->expert_begin : 0; }
  size_t expert_end() const { return sharded() ? spec_.shard->expert_end : config_.experts.count; }
  void PrepareSlots(kernels::ActivationKind kind, size_t cols,
                    const std::function<const float*(size_t slot)>& value);
  std::byte* SlotActivations(size_t expert, kernels::ActivationKind kind, size_t cols) const;
  void MatMulExperts(std::span<const ExpertProduct> products);

  float* At(Scratch scratch) const {
    return scratch_[static_cast<size_t>(scratch)].As<float>().data();
  }
  std::byte* ActivationsOf(kernels::ActivationKind kind) const {
    return activations_[static_cast<size_t>(kind)].data();
  }
  bool cancelled() const { return cancel_ != nullptr && cancel_->load(std::memory_order_relaxed); }

  const kernels::Kernels& kernels_;
  sys::ThreadPool& pool_;
  SpeedMeter& meter_;
  const StageSpec spec_;
  const model::ModelConfig& config_;
  const ShardSums sums_;
  const StepSize size_;
  StageWeights weights_;
  std::unique_ptr<ResidentCopy> resident_;  // null: prepared matrices stay mapped
  std::unique_ptr<LayerStream> stream_;     // null: all layers are held, or it is a mixture
  std::unique_ptr<ExpertCache> experts_;    // of a mixture; null: all experts are held
  uint64_t weights_bytes_ = 0;
  uint32_t group_ = 0;       // query heads of a KV head, of the whole model
  uint32_t first_head_ = 0;  // where the first query head here stands in its group
  float attention_scale_ = 0;
  std::vector<double> rope_frequencies_;
  std::vector<double> window_rope_frequencies_;  // of layers with a window
  std::vector<size_t> kv_index_;                 // of each layer, among those of its kind
  std::unordered_map<SequenceId, Sequence> sequences_;

  // Of the step in progress.
  const std::atomic<bool>* cancel_ = nullptr;
  Collective* collective_ = nullptr;
  std::vector<const Sequence*> row_sequence_;
  std::vector<uint32_t> row_position_;
  std::vector<Tile> tiles_;
  Routing routing_;
  std::vector<Product> expert_products_;
  std::vector<AdapterRows> adapter_rows_;

  // Scratch, allocated once for spec.chunk rows.
  std::array<Buffer, kScratches> scratch_;
  std::array<Buffer, kActivationKinds> activations_;       // by ActivationKind
  std::array<Buffer, kActivationKinds> slot_activations_;  // by ActivationKind
  std::vector<Buffer> attention_scratch_;                  // by worker, grown by Reserve
  Buffer adapter_input_, adapter_low_, adapter_out_;       // adapters.h: AdapterScratch
  std::array<Buffer, 3> adapter_low_x_;
  Buffer partials_;    // of a shard, what it gives in one exchange: [max_parts][chunk][width
                       // and all adapters' ranks]
  Buffer own_logits_;  // of a shard: [kLogitRows][its rows of the output matrix]
  Buffer logits_;      // [kLogitRows][vocab], or [width], of a lead
};

}  // namespace exo::backend
