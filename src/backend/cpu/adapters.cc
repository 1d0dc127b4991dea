#include "backend/cpu/adapters.h"

#include <algorithm>
#include <cstring>

#include "base/units.h"
#include "tensor/dequantize.h"

namespace exo::backend {
namespace {

using kernels::ActivationKind;
using model::TensorRef;
using tensor::DType;

constexpr uint64_t kAlignment = 64;

DType PackedType(DType type) {
  return tensor::Info(type).quantized ? DType::kF32 : type;
}

// Rows and columns of a tensor.
struct Region {
  uint64_t row = 0, rows = 0;
  uint64_t col = 0, cols = 0;
};

// What of one adapted matrix's pair is loaded.
struct PairRegions {
  std::vector<Region> a;
  Region b;
};

// `cut`: of a shard; null: all.
PairRegions RegionsOf(const model::AdapterPair& pair, const AdapterCut* cut) {
  const TensorRef& a = pair.a;
  const TensorRef& b = pair.b;
  if (cut == nullptr) return {.a = {{0, a.rows, 0, a.cols}}, .b = {.rows = b.rows, .cols = b.cols}};
  PairRegions regions{
      .a = {}, .b = {.row = cut->row_begin, .rows = cut->row_end - cut->row_begin, .cols = b.cols}};
  if (!cut->divided) regions.a = {{0, a.rows, 0, a.cols}};
  for (const LeafRange& leaves : cut->subtrees) {
    const uint64_t begin = uint64_t{leaves.begin} * kLeafColumns;
    const uint64_t end = std::min<uint64_t>(a.cols, uint64_t{leaves.end} * kLeafColumns);
    regions.a.push_back({0, a.rows, begin, end - begin});
  }
  return regions;
}

const AdapterCut* CutOf(const ShardPlan* shard, size_t target) {
  return shard == nullptr ? nullptr : &shard->adapters[target];
}

uint64_t PackedBytes(const kernels::Kernels& kernels, DType type, const Region& region) {
  return RoundUp(kernels.PackedBytes(PackedType(type), region.rows, region.cols), kAlignment);
}

uint64_t PackedBytes(const kernels::Kernels& kernels, const StageSpec& spec, const ShardPlan* shard,
                     const model::AdapterTensors& adapter) {
  uint64_t bytes = 0;
  for (uint32_t i = spec.layer_begin; i < spec.layer_end; ++i) {
    for (size_t target = 0; target < model::kAdapterTargets; ++target) {
      const auto& pair = adapter.layers[i].pairs[target];
      if (!pair) continue;
      const PairRegions regions = RegionsOf(*pair, CutOf(shard, target));
      if (regions.b.rows == 0) continue;
      for (const Region& a : regions.a) bytes += PackedBytes(kernels, pair->a.type, a);
      bytes += PackedBytes(kernels, pair->b.type, regions.b);
    }
  }
  return bytes;
}

// The rows of a region as kernels pack them, the quantized ones as the floats that they stand for.
std::vector<std::byte> RowsOf(const TensorRef& tensor, const Region& region,
                              std::span<const std::byte> bytes) {
  const uint64_t row_bytes = tensor::RowBytes(tensor.type, tensor.cols).value();
  const bool quantized = PackedType(tensor.type) != tensor.type;
  const uint64_t value = quantized ? sizeof(float) : row_bytes / tensor.cols;
  std::vector<std::byte> rows(region.rows * region.cols * value);
  std::vector<float> values(quantized ? tensor.cols : 0);
  for (uint64_t i = 0; i < region.rows; ++i) {
    const std::byte* row = bytes.data() + (region.row + i) * row_bytes;
    if (quantized) {
      tensor::DequantizeRow(tensor.type, row, tensor.cols, values.data());
      row = std::as_bytes(std::span(values)).data();
    }
    std::memcpy(&rows[i * region.cols * value], row + region.col * value, region.cols * value);
  }
  return rows;
}

// Packs a region of one matrix to `packed`.
Result<kernels::Weights> LoadOne(const kernels::Kernels& kernels, TensorSource& source,
                                 const TensorRef& tensor, const Region& region, std::byte* packed) {
  const std::span<const std::byte> bytes = TRY(source.Read(tensor, 0, tensor.bytes));
  const kernels::Weights weights = {
      .type = PackedType(tensor.type), .rows = region.rows, .cols = region.cols, .data = packed};
  const std::vector<std::byte> rows = RowsOf(tensor, region, bytes);
  kernels.Pack(weights.type, weights.rows, weights.cols, 0, weights.panels(), rows.data(), packed);
  source.Done(tensor, 0, tensor.bytes);
  return weights;
}

Result<AdapterWeights> LoadAdapter(const kernels::Kernels& kernels, const StageSpec& spec,
                                   const ShardPlan* shard, const StageAdapter& adapter,
                                   const std::atomic<bool>* cancel) {
  AdapterWeights loaded{.tensors = adapter.tensors, .memory = {}, .layers = {}};
  loaded.memory = TRY(Buffer::Allocate(PackedBytes(kernels, spec, shard, *adapter.tensors)));
  std::byte* at = loaded.memory.data();
  const auto load = [&](const TensorRef& tensor, const Region& region) -> Result<kernels::Weights> {
    if (cancel != nullptr && cancel->load())
      return Fail(ErrorCode::kCancelled, "loading was canceled");
    const auto weights = TRY(LoadOne(kernels, *adapter.source, tensor, region, at));
    at += PackedBytes(kernels, tensor.type, region);
    return weights;
  };
  for (uint32_t i = spec.layer_begin; i < spec.layer_end; ++i) {
    AdaptedLayer& layer = loaded.layers.emplace_back();
    for (size_t target = 0; target < model::kAdapterTargets; ++target) {
      const auto& pair = adapter.tensors->layers[i].pairs[target];
      if (!pair) continue;
      const PairRegions regions = RegionsOf(*pair, CutOf(shard, target));
      if (regions.b.rows == 0) continue;  // a shard without columns of a block
      AdapterMatrices& own = layer[target].emplace();
      for (const Region& a : regions.a) own.a.push_back(TRY(load(pair->a, a)));
      own.b = TRY(load(pair->b, regions.b));
    }
  }
  return loaded;
}

}  // namespace

uint64_t AdapterWeightBytes(const kernels::Kernels& kernels, const StageSpec& spec,
                            const ShardPlan* shard) {
  uint64_t bytes = 0;
  for (const StageAdapter& adapter : spec.adapters)
    bytes += PackedBytes(kernels, spec, shard, *adapter.tensors);
  return bytes;
}

size_t LowRankValues(const StageSpec& spec) {
  size_t values = 0;
  for (const StageAdapter& adapter : spec.adapters) values += adapter.tensors->max_rank;
  return values;
}

AdapterScratch AdapterScratchOf(const kernels::Kernels& kernels, const StageSpec& spec) {
  if (spec.adapters.empty()) return {};
  size_t rank = 0, input = 0, out = 0;
  for (const StageAdapter& adapter : spec.adapters) {
    for (const model::AdapterLayer& layer : adapter.tensors->layers) {
      size_t of_layer = 0;  // no input's products are wider than all of them
      for (const auto& pair : layer.pairs) {
        if (!pair) continue;
        rank = std::max<size_t>(rank, pair->rank());
        input = std::max<size_t>(input, pair->a.cols);
        of_layer = std::max<size_t>(of_layer, pair->b.rows);
      }
      out = std::max(out, 3 * of_layer);
    }
  }
  AdapterScratch scratch{.products = 3};
  scratch.input = kernels.ActivationBytes(ActivationKind::kFloat, spec.chunk, input);
  const size_t shared = spec.shard ? LowRankValues(spec) : 0;
  scratch.low = spec.chunk * std::max(scratch.products * rank, shared) * sizeof(float);
  scratch.low_x = kernels.ActivationBytes(ActivationKind::kFloat, spec.chunk, rank);
  scratch.out = size_t{spec.chunk} * out * sizeof(float);
  return scratch;
}

uint64_t AdapterScratchBytes(const kernels::Kernels& kernels, const StageSpec& spec) {
  const AdapterScratch scratch = AdapterScratchOf(kernels, spec);
  return scratch.input + scratch.low + scratch.products * scratch.low_x + scratch.out;
}

Result<std::vector<AdapterWeights>> LoadAdapters(const kernels::Kernels& kernels,
                                                 const StageSpec& spec, const ShardPlan* shard,
                                                 const std::atomic<bool>* cancel) {
  std::vector<AdapterWeights> adapters;
  for (const StageAdapter& adapter : spec.adapters)
    adapters.push_back(TRY(LoadAdapter(kernels, spec, shard, adapter, cancel)));
  return adapters;
}

}  // namespace exo::backend
