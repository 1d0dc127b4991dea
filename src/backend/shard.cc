#include "backend/shard.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "backend/split_trees.h"
#include "base/check.h"
#include "tensor/dtype.h"

namespace exo::backend {
namespace {

using model::TensorRef;

// [begin, end) of `columns` must be whole leaves and whole blocks of `tensor`.
Result<void> CheckCut(const TensorRef& tensor, uint64_t begin, uint64_t end) {
  const uint64_t grain = std::max<uint64_t>(kLeafColumns, tensor::Info(tensor.type).block_values);
  const auto cut = [&](uint64_t at) { return at % grain == 0 || at == tensor.cols; };
  if (begin < end && end <= tensor.cols && cut(begin) && cut(end)) return {};
  return Fail(ErrorCode::kInvalid,
              "columns [{}, {}) of {} with {} cannot be a shard: cut at multiples of {}", begin,
              end, tensor.name, tensor.cols, grain);
}

// Cuts tensors of one stage and remembers where each part lies.
class Cutter {
 public:
  explicit Cutter(ShardPlan& plan) : plan_(plan) {}

  TensorRef Rows(const TensorRef& whole, uint64_t begin, uint64_t end) {
    return Cut(whole, {.whole = whole, .row = begin}, end - begin, whole.cols);
  }
  TensorRef Columns(const TensorRef& whole, uint64_t begin, uint64_t end) {
    return Cut(whole, {.whole = whole, .col = begin}, whole.rows, end - begin);
  }
  void Values(std::optional<TensorRef>& vector, uint64_t begin, uint64_t end) {
    if (vector) vector = Columns(*vector, begin, end);
  }
  void Experts(std::optional<TensorRef>& matrices, uint64_t begin, uint64_t end) {
    CHECK(matrices.has_value());
    TensorRef some = *matrices;
    some.count = end - begin;
    matrices = Cut(some, {.whole = *matrices, .matrix = begin}, some.rows, some.cols);
  }
  std::vector<MatrixPart> Parts(const TensorRef& whole, uint64_t begin, uint64_t end) {
    std::vector<MatrixPart> parts;
    for (const LeafRange& leaves : ColumnSubtrees(whole.cols, begin, end)) {
      const uint64_t last = std::min<uint64_t>(whole.cols, uint64_t{leaves.end} * kLeafColumns);
      parts.push_back({Columns(whole, uint64_t{leaves.begin} * kLeafColumns, last), leaves});
    }
    return parts;
  }

 private:
  // `like`: the whole tensor with the part's count of matrices.
  TensorRef Cut(const TensorRef& like, Slice slice, uint64_t rows, uint64_t cols) {
    TensorRef part = like;
    part.rows = rows;
    part.cols = cols;
    part.bytes = part.count * rows * tensor::RowBytes(like.type, cols).value();
    part.name = fmt::format("{}[{}+{}, {}+{}, {}+{}]", like.name, slice.matrix, part.count,
                            slice.row, rows, slice.col, cols);
    plan_.slices.emplace(part.name, std::move(slice));
    return part;
  }

  ShardPlan& plan_;
};

// The KV heads that the shard's query heads share: [begin, end).
uint32_t KvBegin(const model::ModelConfig& whole, const Shard& shard) {
  return shard.head_begin / whole.group();
}
uint32_t KvEnd(const model::ModelConfig& whole, const Shard& shard) {
  return (shard.head_end + whole.group() - 1) / whole.group();
}

// Query heads, and the KV heads that they share. Returns the parts of the output matrix.
Result<std::vector<MatrixPart>> CutHeads(Cutter& cutter, const model::ModelConfig& whole,
                                         const Shard& shard, model::LayerTensors& layer) {
  const uint64_t head_dim = whole.head_dim;
  const uint64_t q = shard.head_begin * head_dim, q_end = shard.head_end * head_dim;
  const uint64_t kv = KvBegin(whole, shard) * head_dim, kv_end = KvEnd(whole, shard) * head_dim;
  TRY(CheckCut(layer.attn_output, q, q_end));
  layer.attn_q = cutter.Rows(layer.attn_q, q, q_end);
  layer.attn_k = cutter.Rows(layer.attn_k, kv, kv_end);
  layer.attn_v = cutter.Rows(layer.attn_v, kv, kv_end);
  cutter.Values(layer.q_bias, q, q_end);
  cutter.Values(layer.k_bias, kv, kv_end);
  cutter.Values(layer.v_bias, kv, kv_end);
  std::vector<MatrixPart> parts = cutter.Parts(layer.attn_output, q, q_end);
  // For estimates; the parts are what is loaded.
  layer.attn_output = cutter.Columns(layer.attn_output, q, q_end);
  return parts;
}

// Columns of the dense or shared block, where the model has one. Returns the parts of down.
Result<std::vector<MatrixPart>> CutColumns(Cutter& cutter, const Shard& shard,
                                           model::LayerTensors& layer) {
  if (!layer.ffn_down) return std::vector<MatrixPart>{};
  if (shard.ffn_begin == shard.ffn_end) {
    layer.ffn_gate.reset();
    layer.ffn_up.reset();
    layer.ffn_down.reset();
    return std::vector<MatrixPart>{};
  }
  TRY(CheckCut(*layer.ffn_down, shard.ffn_begin, shard.ffn_end));
  layer.ffn_gate = cutter.Rows(*layer.ffn_gate, shard.ffn_begin, shard.ffn_end);
  layer.ffn_up = cutter.Rows(*layer.ffn_up, shard.ffn_begin, shard.ffn_end);
  std::vector<MatrixPart> parts = cutter.Parts(*layer.ffn_down, shard.ffn_begin, shard.ffn_end);
  layer.ffn_down = cutter.Columns(*layer.ffn_down, shard.ffn_begin, shard.ffn_end);
  return parts;
}

// The shard's tensors of a layer; those that stay whole keep their names.
Result<ShardLayer> CutLayer(Cutter& cutter, const model::ModelConfig& whole, const Shard& shard,
                            model::LayerTensors& layer) {
  ShardLayer parts = {.o = TRY(CutHeads(cutter, whole, shard, layer)),
                      .down = TRY(CutColumns(cutter, shard, layer))};
  if (whole.experts.count == 0) return parts;
  for (auto* matrices : {&layer.gate_exps, &layer.up_exps, &layer.down_exps})
    cutter.Experts(*matrices, shard.expert_begin, shard.expert_end);
  return parts;
}

// The shard's rows of the output matrix. A lead that holds it whole as the embedding multiplies
// with some of its rows.
Result<void> CutOutput(Cutter& cutter, const StageSpec& spec, model::ModelConfig& config,
                       model::ModelTensors& tensors) {
  const Shard& shard = *spec.shard;
  const auto cut = [&](uint32_t at) { return at % kernels::kPanelRows == 0 || at == config.vocab; };
  if (shard.vocab_begin > shard.vocab_end || shard.vocab_end > config.vocab ||
      (spec.lead && shard.vocab_begin == shard.vocab_end) || !cut(shard.vocab_begin) ||
      !cut(shard.vocab_end)) {
    return Fail(ErrorCode::kInvalid,
                "rows [{}, {}) of an output matrix of {} cannot be a shard: cut at multiples of {}",
                shard.vocab_begin, shard.vocab_end, config.vocab, kernels::kPanelRows);
  }
  if (!HasOutput(spec) || (spec.lead && config.tied_output)) return {};
  const TensorRef& whole = config.tied_output ? tensors.token_embd : tensors.output;
  tensors.output = cutter.Rows(whole, shard.vocab_begin, shard.vocab_end);
  config.tied_output = false;
  return {};
}

AdapterCuts CutAdapters(const model::ModelConfig& whole, const Shard& shard) {
  const uint64_t head = whole.head_dim;
  const AdapterCut q{.row_begin = shard.head_begin * head, .row_end = shard.head_end * head};
  const AdapterCut kv{.row_begin = KvBegin(whole, shard) * head,
                      .row_end = KvEnd(whole, shard) * head};
  const AdapterCut ffn{.row_begin = shard.ffn_begin, .row_end = shard.ffn_end};
  const auto divided = [&](uint64_t columns, const AdapterCut& own) {
    return AdapterCut{.divided = true,
                      .subtrees = ColumnSubtrees(columns, own.row_begin, own.row_end),
                      .row_end = whole.width};
  };
  // In the order of model::AdapterTarget.
  return {q, kv, kv, divided(whole.q_width(), q), ffn, ffn, divided(whole.ffn_width, ffn)};
}

// Heads there must be, and a feed-forward block: columns of a dense one, or some or no experts.
Result<void> CheckRanges(const model::ModelConfig& whole, const Shard& shard) {
  const auto check = [](const char* what, uint32_t begin, uint32_t end, uint32_t all,
                        bool may_be_empty) -> Result<void> {
    if ((begin < end || (begin == end && may_be_empty)) && end <= all) return {};
    return Fail(ErrorCode::kInvalid, "{} [{}, {}) of {} cannot be a shard", what, begin, end, all);
  };
  const bool mixture = whole.experts.count != 0;
  TRY(check("heads", shard.head_begin, shard.head_end, whole.heads, false));
  TRY(check("columns", shard.ffn_begin, shard.ffn_end, whole.ffn_width, mixture));
  return check("experts", shard.expert_begin, shard.expert_end, whole.experts.count, true);
}

}  // namespace

uint64_t Slice::Start() const {
  return (matrix * whole.rows + row) * tensor::RowBytes(whole.type, whole.cols).value() +
         tensor::RowBytes(whole.type, col).value();
}

Result<ShardPlan> PlanShard(const StageSpec& spec) {
  CHECK(spec.shard.has_value());
  const Shard& shard = *spec.shard;
  const model::ModelConfig& whole = *spec.config;
  TRY(CheckRanges(whole, shard));
  ShardPlan plan{.spec = spec,
                 .layers = {},
                 .group = whole.group(),
                 .max_parts = SplitTrees(whole, {&shard, 1}).MostParts(0),
                 .slices = {},
                 .adapters = CutAdapters(whole, shard)};
  auto config = std::make_shared<model::ModelConfig>(whole);
  config->kv_heads = KvEnd(whole, shard) - KvBegin(whole, shard);
  config->heads = shard.head_end - shard.head_begin;
  config->ffn_width = shard.ffn_end - shard.ffn_begin;
  auto tensors = std::make_shared<model::ModelTensors>(*spec.tensors);
  Cutter cutter(plan);
  TRY(CutOutput(cutter, spec, *config, *tensors));
  for (uint32_t i = spec.layer_begin; i < spec.layer_end; ++i)
    plan.layers.push_back(TRY(CutLayer(cutter, whole, shard, tensors->layers[i])));
  plan.spec.config = std::move(config);
  plan.spec.tensors = std::move(tensors);
  return plan;
}

Result<std::span<const std::byte>> ShardSource::Read(const TensorRef& tensor, uint64_t offset,
                                                     uint64_t bytes) {
  const auto found = plan_.slices.find(tensor.name);
  if (found == plan_.slices.end()) return source_.Read(tensor, offset, bytes);
  const Slice& slice = found->second;
  if (!slice.IsGathered(tensor)) return source_.Read(slice.whole, slice.Start() + offset, bytes);
  const uint64_t row_bytes = tensor::RowBytes(slice.whole.type, slice.whole.cols).value();
  const uint64_t own = tensor::RowBytes(tensor.type, tensor.cols).value();
  CHECK_EQ(offset % own, 0u);
  const uint64_t rows = bytes / own, from = offset / own * row_bytes;
  const auto all = TRY(source_.Read(slice.whole, from, rows * row_bytes));
  std::vector<std::byte> part(bytes);
  for (uint64_t i = 0; i < rows; ++i)
    std::memcpy(&part[i * own], &all[i * row_bytes + slice.Start()], own);
  source_.Done(slice.whole, from, rows * row_bytes);
  const MutexLock lock(mutex_);
  return gathered_[{tensor.name, offset}] = std::move(part);
}

void ShardSource::Done(const TensorRef& tensor, uint64_t offset, uint64_t bytes) {
  const auto found = plan_.slices.find(tensor.name);
  if (found == plan_.slices.end()) return source_.Done(tensor, offset, bytes);
  const Slice& slice = found->second;
  if (!slice.IsGathered(tensor)) return source_.Done(slice.whole, slice.Start() + offset, bytes);
  const MutexLock lock(mutex_);
  gathered_.erase({tensor.name, offset});
}

}  // namespace exo::backend
