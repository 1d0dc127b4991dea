#include "backend/cpu/stage.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/units.h"
#include "kernels/elementary.h"

namespace exo::backend {
namespace {

using kernels::ActivationKind;

// Items of a product for each thread: enough to even out unequal cores, few enough that the counter
// is free.
constexpr size_t kItemsPerThread = 8;
// Multiply-adds of a step's products below which one thread has them sooner than several could be
// woken: about 30 us. Models of some million weights would otherwise be slower with each thread: a
// token of exo-tiny took 0.23 ms with two on a busy machine, 0.14 with one (now with two as well).
constexpr size_t kSerialProducts = 1 << 20;
constexpr size_t kMaxPanelsPerItem = 64;
// Attention scratch grows by this many positions at a time.
constexpr size_t kScratchPositions = 4096;

size_t WidestInput(const model::ModelConfig& config) {
  return std::max({config.width, config.q_width(), config.ffn_width});
}

// Floats of each scratch array for one row.
std::array<size_t, kScratches> RowFloats(const model::ModelConfig& config, bool sharded) {
  const model::ExpertConfig& experts = config.experts;
  const bool mixture = experts.count != 0;
  std::array<size_t, kScratches> floats{};
  const auto set = [&](Scratch scratch, size_t n) { floats[static_cast<size_t>(scratch)] = n; };
  for (const Scratch s : {Scratch::kQ, Scratch::kAttention}) set(s, config.q_width());
  for (const Scratch s : {Scratch::kK, Scratch::kV}) set(s, config.kv_width());
  for (const Scratch s : {Scratch::kCos, Scratch::kSin}) set(s, config.rotary_dim / 2);
  for (const Scratch s : {Scratch::kWindowCos, Scratch::kWindowSin}) {
    set(s, config.window != 0 ? config.rotary_dim / 2 : 0);
  }
  for (const Scratch s : {Scratch::kGate, Scratch::kUp}) {
    set(s, std::max<size_t>(config.ffn_width, size_t{experts.used} * experts.width));
  }
  set(Scratch::kBlock,
      mixture || sharded || config.post_norms || config.output_bias ? config.width : 0);
  set(Scratch::kNormed, mixture ? config.width : 0);
  set(Scratch::kRouter, experts.count);
  set(Scratch::kExpertOut, size_t{experts.used} * config.width);
  set(Scratch::kShared, experts.shared ? config.width : 0);
  set(Scratch::kSharedGate, experts.shared ? 1 : 0);
  for (const Scratch s : {Scratch::kHidden, Scratch::kOutput}) set(s, config.width);
  return floats;
}

// Bytes of the activations of `chunk` rows, and of those of their slots, each slot counted by
// itself.
uint64_t ActivationsBytes(const kernels::Kernels& kernels, const model::ModelConfig& config,
                          ActivationKind kind, uint32_t chunk) {
  return kernels.ActivationBytes(kind, chunk, RoundUp(WidestInput(config), 128));
}
uint64_t SlotActivationsBytes(const kernels::Kernels& kernels, const model::ModelConfig& config,
                              ActivationKind kind, uint32_t chunk) {
  const size_t widest = std::max(config.width, config.experts.width);
  return uint64_t{chunk} * config.experts.used *
         kernels.ActivationBytes(kind, 1, RoundUp(widest, 128));
}

uint64_t PartialsBytes(const StageSpec& spec, size_t parts) {
  return uint64_t{parts} * spec.chunk * (spec.config->width + LowRankValues(spec)) * sizeof(float);
}

// What was read is not held open.
StageSpec WithoutSources(StageSpec spec) {
  for (StageAdapter& adapter : spec.adapters) adapter.source.reset();
  return spec;
}

uint64_t LogitsBytes(const StageSpec& spec) {
  // Of rows of logits, or of their states.
  const size_t cols = std::max(spec.config->vocab, spec.config->width);
  return spec.lead ? kLogitRows * cols * sizeof(float) : 0;
}
uint64_t OwnLogitsBytes(const StageSpec& spec) {
  if (!spec.shard) return 0;
  return kLogitRows * uint64_t{spec.shard->vocab_end - spec.shard->vocab_begin} * sizeof(float);
}

}  // namespace

uint64_t ScratchBytes(const kernels::Kernels& kernels, const StageSpec& spec, size_t parts) {
  const model::ModelConfig& config = *spec.config;
  uint64_t bytes = LogitsBytes(spec) + OwnLogitsBytes(spec) + PartialsBytes(spec, parts);
  for (const size_t floats : RowFloats(config, parts != 0))
    bytes += uint64_t{floats} * sizeof(float) * spec.chunk;
  for (const ActivationKind kind : kAllKinds) {
    bytes += ActivationsBytes(kernels, config, kind, spec.chunk) +
             SlotActivationsBytes(kernels, config, kind, spec.chunk);
  }
  return bytes;
}

uint64_t KvBytesPerPosition(const StageSpec& spec, bool windowed) {
  const size_t head_dim = spec.config->head_dim;
  const uint64_t tile = kernels::KvTileBytes(kernels::KvTypeFor(spec.kv_type, head_dim), head_dim);
  uint64_t layers = 0;
  for (uint32_t i = spec.layer_begin; i < spec.layer_end; ++i)
    layers += (spec.config->WindowOf(i) != 0) == windowed;
  return 2 * layers * spec.config->kv_heads * tile / kernels::kKvTile;
}

Result<std::unique_ptr<StageCompute>> CpuStage::Make(const kernels::Kernels& kernels,
                                                     sys::ThreadPool& pool, SpeedMeter& meter,
                                                     const StageSpec& spec, const ShardSums& sums,
                                                     StageWeights weights, bool copy_prepared) {
  std::unique_ptr<CpuStage> stage(
      new CpuStage(kernels, pool, meter, spec, sums, std::move(weights)));
  TRY(stage->AllocateScratch());
  TRY(stage->AllocateAdapterScratch());
  if (!spec.streamed.layers.empty()) {
    CHECK(spec.streamed.source != nullptr);
    if (spec.config->experts.count != 0) {
      stage->experts_ = std::make_unique<ExpertCache>(kernels, pool, stage->spec_, stage->weights_);
    } else {
      stage->stream_ =
          std::make_unique<LayerStream>(kernels, pool, *spec.streamed.source, stage->weights_);
    }
  }
  if (copy_prepared) stage->resident_ = std::make_unique<ResidentCopy>(kernels, stage->weights_);
  return stage;
}

CpuStage::CpuStage(const kernels::Kernels& kernels, sys::ThreadPool& pool, SpeedMeter& meter,
                   const StageSpec& spec, const ShardSums& sums, StageWeights weights)
    : kernels_(kernels),
      pool_(pool),
      meter_(meter),
      spec_(WithoutSources(spec)),
      config_(*spec_.config),
      sums_(sums),
      size_(kernels, spec_),
      weights_(std::move(weights)) {
  weights_bytes_ = WeightBytes(kernels, spec_);
  for (const AdapterWeights& adapter : weights_.adapters) weights_bytes_ += adapter.memory.size();
  group_ = sharded() ? sums.group : config_.group();
  first_head_ = sharded() ? spec_.shard->head_begin % group_ : 0;
  attention_scale_ = config_.attention_scale != 0
                         ? config_.attention_scale
                         : 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
  rope_frequencies_ = kernels::RopeFrequencies(
      config_.rotary_dim, config_.rope_base, config_.rope_scale,
      weights_.rope_factors.empty() ? nullptr : weights_.rope_factors.data());
  if (config_.window != 0) {
    window_rope_frequencies_ =
        kernels::RopeFrequencies(config_.rotary_dim, config_.window_rope_base, 1.0, nullptr);
  }
  attention_scratch_.resize(pool.threads());
  std::array<size_t, 2> layers{};
  for (size_t i = 0; i < weights_.layers.size(); ++i)
    kv_index_.push_back(layers[WindowOf(i) == 0 ? 0 : 1]++);
}

Result<void> CpuStage::AllocateScratch() {
  const auto floats = RowFloats(config_, sharded());
  for (size_t i = 0; i < kScratches; ++i) {
    scratch_[i] = TRY(Buffer::Allocate(floats[i] * spec_.chunk * sizeof(float)));
  }
  for (const ActivationKind kind : kAllKinds) {
    const auto at = static_cast<size_t>(kind);
    activations_[at] =
        TRY(Buffer::Allocate(ActivationsBytes(kernels_, config_, kind, spec_.chunk)));
    slot_activations_[at] =
        TRY(Buffer::Allocate(SlotActivationsBytes(kernels_, config_, kind, spec_.chunk)));
  }
  partials_ = TRY(Buffer::Allocate(PartialsBytes(spec_, sums_.max_parts)));
  logits_ = TRY(Buffer::Allocate(LogitsBytes(spec_)));
  own_logits_ = TRY(Buffer::Allocate(OwnLogitsBytes(spec_)));
  return {};
}

std::unexpected<Error> CpuStage::WindowGone(SequenceId id, uint32_t length) {
  return Fail(ErrorCode::kInvalid,
              "sequence {} cannot go on from position {}: what its layers with a window attend to "
              "there is gone",
              id, length);
}

KvLayout CpuStage::Layout() const {
  return {.type = kernels::KvTypeFor(spec_.kv_type, config_.head_dim),
          .head_dim = config_.head_dim,
          .layers = weights_.layers.size(),
          .heads = config_.kv_heads};
}

Result<void> CpuStage::Open(SequenceId id, uint32_t capacity,
                            std::span<const AdapterUse> adapters) {
  if (sequences_.contains(id)) return Fail(ErrorCode::kInvalid, "sequence {} is open already", id);
  TRY(CheckAdapters(adapters));
  KvLayout layout = Layout();
  KvLayout windowed = layout;
  windowed.window = config_.window;
  windowed.layers = 0;
  for (size_t i = 0; i < weights_.layers.size(); ++i) windowed.layers += WindowOf(i) != 0;
  layout.layers -= windowed.layers;
  sequences_.emplace(id, Sequence{.capacity = capacity,
                                  .kv = KvPages(layout),
                                  .windowed_kv = KvPages(windowed),
                                  .adapters = {adapters.begin(), adapters.end()}});
  return {};
}

Result<void> CpuStage::Reserve(std::span<const Segment> segments) {
  if (segments.empty()) return {};
  uint32_t longest = 0;
  for (const Segment& segment : segments) {
    const uint32_t end = segment.first + segment.count;
    Sequence& sequence = sequences_.at(segment.sequence);
    TRY(sequence.kv.Reserve(segment.first, end));
    TRY(sequence.windowed_kv.Reserve(segment.first, end));
    longest = std::max(longest, end);
  }
  // In steps, so that a growing sequence seldom asks for another buffer.
  const size_t scratch =
      kernels_.AttentionScratchBytes(RoundUp(longest, kScratchPositions), group_, config_.head_dim);
  for (Buffer& buffer : attention_scratch_) {
    if (buffer.size() < scratch) buffer = TRY(Buffer::Allocate(scratch));
  }
  return {};
}

Result<void> CpuStage::Fork(SequenceId from, uint32_t length, SequenceId id, uint32_t capacity) {
  const auto found = sequences_.find(from);
  if (found == sequences_.end()) return Fail(ErrorCode::kInvalid, "sequence {} is not open", from);
  if (length > found->second.defined || length > capacity) {
    return Fail(ErrorCode::kInvalid,
                "sequence {} with {} positions computed cannot give {} to one with room for {}",
                from, found->second.defined, length, capacity);
  }
  if (!found->second.windowed_kv.Reaches(length)) return WindowGone(from, length);
  TRY(Open(id, capacity, std::vector<AdapterUse>(found->second.adapters)));
  const Sequence& source = sequences_.at(from);  // Open may have moved the table
  Sequence& copy = sequences_.at(id);
  copy.kv = source.kv.Share(length);
  copy.windowed_kv = source.windowed_kv.Share(length);
  copy.length = copy.defined = length;
  return {};
}

void CpuStage::Close(SequenceId id) {
  sequences_.erase(id);
}

// Logits of a small vocabulary are sampled in less time than it takes to wake a thread.
void CpuStage::ForEach(size_t count, const std::function<void(size_t i)>& work) {
  if (count == 1 || count * config_.vocab < kSerialValues)
    return StageCompute::ForEach(count, work);
  pool_.Run(static_cast<uint32_t>(count), [&](uint32_t i, unsigned) { work(i); });
}

Result<void> CpuStage::Truncate(SequenceId id, uint32_t length) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return Fail(ErrorCode::kInvalid, "sequence {} is not open", id);
  if (length > found->second.length) {
    return Fail(ErrorCode::kInvalid, "sequence {} holds {} positions, it cannot be cut to {}", id,
                found->second.length, length);
  }
  if (!found->second.windowed_kv.Reaches(length)) return WindowGone(id, length);
  found->second.length = length;
  found->second.defined = std::min(found->second.defined, length);
  found->second.kv.Truncate(length);
  found->second.windowed_kv.Truncate(length);
  return {};
}

std::vector<size_t> CpuStage::LayersOf(PageForm form) const {
  std::vector<size_t> layers;
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    if (form == PageForm::kWhole || WindowOf(i) == 0) layers.push_back(i);
  }
  return layers;
}

std::optional<size_t> CpuStage::SavedBytes(uint32_t positions, PageForm form) const {
  if (sharded()) return std::nullopt;
  return LayersOf(form).size() * Layout().saved_bytes(positions);
}

Result<CpuStage::Sequence*> CpuStage::CheckPage(SequenceId id, uint32_t first, uint32_t positions,
                                                PageForm form, size_t bytes) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return Fail(ErrorCode::kInvalid, "sequence {} is not open", id);
  const auto expected = SavedBytes(positions, form);
  if (!expected)
    return Fail(ErrorCode::kUnsupported, "pages of a part of every layer cannot be saved");
  if (positions == 0 || positions > kernels::kKvPage || first % kernels::kKvPage != 0 ||
      bytes != *expected) {
    return Fail(ErrorCode::kInvalid,
                "a page of {} positions from {} on with {} bytes, {} were expected", positions,
                first, bytes, *expected);
  }
  return &found->second;
}

Result<void> CpuStage::SavePage(SequenceId id, uint32_t first, uint32_t positions, PageForm form,
                                std::span<std::byte> out) {
  const Sequence* sequence = TRY(CheckPage(id, first, positions, form, out.size()));
  if (uint64_t{first} + positions > sequence->defined) {
    return Fail(ErrorCode::kInvalid, "positions {} to {} of sequence {}, which has {}", first,
                uint64_t{first} + positions, id, sequence->defined);
  }
  const size_t page = first / kernels::kKvPage, bytes = Layout().saved_bytes(positions);
  for (const size_t layer : LayersOf(form)) {
    const KvPages& pages = sequence->*PagesOf(layer);
    if (!pages.Has(page)) return WindowGone(id, first);
    pages.Save(page, kv_index_[layer], positions, out.first(bytes));
    out = out.subspan(bytes);
  }
  return {};
}

Result<void> CpuStage::LoadPage(SequenceId id, uint32_t first, uint32_t count, uint32_t positions,
                                PageForm form, std::span<const std::byte> saved) {
  Sequence* sequence = TRY(CheckPage(id, first, positions, form, saved.size()));
  const uint64_t end = uint64_t{first} + count;
  const bool bare = form == PageForm::kBare;
  if (count == 0 || count > positions || (bare && count != kernels::kKvPage) ||
      first != sequence->length || sequence->length != sequence->defined ||
      end > sequence->capacity) {
    return Fail(ErrorCode::kInvalid, "positions {} to {} behind the {} of sequence {}", first, end,
                sequence->length, id);
  }
  TRY(sequence->kv.Reserve(first, static_cast<uint32_t>(end)));
  if (bare) {
    sequence->windowed_kv.Skip(static_cast<uint32_t>(end));
  } else {
    TRY(sequence->windowed_kv.Reserve(first, static_cast<uint32_t>(end)));
  }
  const size_t page = first / kernels::kKvPage, bytes = Layout().saved_bytes(positions);
  for (const size_t layer : LayersOf(form)) {
    (sequence->*PagesOf(layer)).Load(page, kv_index_[layer], count, positions, saved.first(bytes));
    saved = saved.subspan(bytes);
  }
  sequence->length = sequence->defined = static_cast<uint32_t>(end);
  return {};
}

void CpuStage::ForRows(size_t rows, size_t cost,
                       const std::function<void(size_t first, size_t count)>& work) {
  if (rows * cost < kSerialValues || pool_.threads() == 1) {
    work(0, rows);
    return;
  }
  const size_t per_item = std::max<size_t>(1, rows / (pool_.threads() * kItemsPerThread));
  pool_.Run(
      static_cast<uint32_t>((rows + per_item - 1) / per_item),
      [&](uint32_t item, unsigned) {
        const size_t first = item * per_item;
        work(first, std::min(per_item, rows - first));
      },
      cancel_);
}

void CpuStage::NormPrepare(std::span<const Product> products, const float* x, const Vector& gain,
                           size_t rows) {
  std::array<bool, kAllKinds.size()> wanted{};
  for (const Product& product : products) {
    wanted[static_cast<size_t>(product.x.kind)] = true;
  }
  const size_t cols = gain.size();
  ForRows(rows, cols, [&](size_t first, size_t count) {
    for (const ActivationKind kind : kAllKinds) {
      if (!wanted[static_cast<size_t>(kind)]) continue;
      kernels_.NormPrepare(kind, x, cols, gain.data(), config_.norm_eps, rows, cols, first, count,
                           ActivationsOf(kind));
    }
  });
}

void CpuStage::Prepare(ActivationKind kind, const float* x, size_t cols, size_t rows) {
  ForRows(rows, cols, [&](size_t first, size_t count) {
    kernels_.Prepare(kind, x, cols, rows, cols, first, count, ActivationsOf(kind));
  });
}

CpuStage::Product CpuStage::Of(const kernels::Weights& weights, size_t rows, float* out,
                               bool add) const {
  const ActivationKind kind = kernels::KindFor(weights.type);
  return {.weights = &weights,
          .x = {.kind = kind, .tokens = rows, .cols = weights.cols, .data = ActivationsOf(kind)},
          .out = out,
          .add = add};
}

void CpuStage::MatMul(std::span<const Product> products) {
  size_t panels = 0;
  size_t values = 0;
  for (const Product& product : products) {
    panels += product.weights->panels();
    values += product.weights->rows * product.weights->cols * product.x.tokens;
  }
  if (values < kSerialProducts) {
    for (const Product& product : products) {
      kernels_.MatMul(*product.weights, product.x, 0, product.weights->panels(), product.out,
                      product.weights->rows, product.add);
    }
    return;
  }
  // Even: long prompts take panels in pairs.
  const size_t per_item = RoundUp(
      std::clamp<size_t>(panels / (pool_.threads() * kItemsPerThread), 1, kMaxPanelsPerItem), 2);
  const auto work = [&](uint32_t item, unsigned) {
    size_t begin = item * per_item;
    const size_t end = std::min(begin + per_item, panels);
    size_t base = 0;
    for (const Product& product : products) {
      const size_t own = product.weights->panels();
      const size_t first = std::max(begin, base);
      const size_t last = std::min(end, base + own);
      if (first < last) {
        kernels_.MatMul(*product.weights, product.x, first - base, last - first, product.out,
                        product.weights->rows, product.add);
      }
      base += own;
    }
  };
  pool_.Run(static_cast<uint32_t>((panels + per_item - 1) / per_item), work, cancel_);
}

void CpuStage::AddBias(const Vector& bias, size_t rows) {
  if (bias.empty()) return;
  const size_t width = config_.width;
  ForRows(rows, width, [&](size_t first, size_t count) {
    for (size_t row = first; row < first + count; ++row) {
      float* block = At(Scratch::kBlock) + row * width;
      kernels_.Add(block, bias.data(), width, block);
    }
  });
}

void CpuStage::AddBlock(const Vector& gain, size_t rows, float* hidden) {
  const size_t width = config_.width;
  ForRows(rows, width, [&](size_t first, size_t count) {
    for (size_t row = first; row < first + count; ++row) {
      float* block = At(Scratch::kBlock) + row * width;
      if (!gain.empty()) kernels_.RmsNorm(block, gain.data(), config_.norm_eps, width, block);
      kernels_.Add(hidden + row * width, block, width, hidden + row * width);
    }
  });
}

}  // namespace exo::backend
