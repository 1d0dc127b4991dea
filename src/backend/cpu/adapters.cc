#include "backend/cpu/adapters.h"

#include <algorithm>

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

uint64_t PackedBytes(const kernels::Kernels& kernels, const TensorRef& tensor) {
  return RoundUp(kernels.PackedBytes(PackedType(tensor.type), tensor.rows, tensor.cols),
                 kAlignment);
}

uint64_t PackedBytes(const kernels::Kernels& kernels, const StageSpec& spec,
                     const model::AdapterTensors& adapter) {
  uint64_t bytes = 0;
  for (uint32_t i = spec.layer_begin; i < spec.layer_end; ++i) {
    for (const auto& pair : adapter.layers[i].pairs) {
      if (pair) bytes += PackedBytes(kernels, pair->a) + PackedBytes(kernels, pair->b);
    }
  }
  return bytes;
}

// Packs one matrix to `packed`.
Result<kernels::Weights> LoadOne(const kernels::Kernels& kernels, TensorSource& source,
                                 const TensorRef& tensor, std::byte* packed) {
  const std::span<const std::byte> bytes = TRY(source.Read(tensor, 0, tensor.bytes));
  const kernels::Weights weights = {
      .type = PackedType(tensor.type), .rows = tensor.rows, .cols = tensor.cols, .data = packed};
  const std::byte* rows = bytes.data();
  std::vector<float> values;
  if (weights.type != tensor.type) {
    const uint64_t row_bytes = TRY(tensor::RowBytes(tensor.type, tensor.cols));
    values.resize(tensor.rows * tensor.cols);
    for (uint64_t row = 0; row < tensor.rows; ++row) {
      tensor::DequantizeRow(tensor.type, bytes.data() + row * row_bytes, tensor.cols,
                            values.data() + row * tensor.cols);
    }
    rows = std::as_bytes(std::span(values)).data();
  }
  kernels.Pack(weights.type, weights.rows, weights.cols, 0, weights.panels(), rows, packed);
  source.Done(tensor, 0, tensor.bytes);
  return weights;
}

Result<AdapterWeights> LoadAdapter(const kernels::Kernels& kernels, const StageSpec& spec,
                                   const StageAdapter& adapter, const std::atomic<bool>* cancel) {
  AdapterWeights loaded{.tensors = adapter.tensors, .memory = {}, .layers = {}};
  loaded.memory = TRY(Buffer::Allocate(PackedBytes(kernels, spec, *adapter.tensors)));
  std::byte* at = loaded.memory.data();
  const auto load = [&](const TensorRef& tensor) -> Result<kernels::Weights> {
    if (cancel != nullptr && cancel->load())
      return Fail(ErrorCode::kCancelled, "loading was canceled");
    const auto weights = TRY(LoadOne(kernels, *adapter.source, tensor, at));
    at += PackedBytes(kernels, tensor);
    return weights;
  };
  for (uint32_t i = spec.layer_begin; i < spec.layer_end; ++i) {
    AdaptedLayer& layer = loaded.layers.emplace_back();
    for (size_t target = 0; target < model::kAdapterTargets; ++target) {
      const auto& pair = adapter.tensors->layers[i].pairs[target];
      if (pair) layer[target] = AdapterMatrices{.a = TRY(load(pair->a)), .b = TRY(load(pair->b))};
    }
  }
  return loaded;
}

}  // namespace

uint64_t AdapterWeightBytes(const kernels::Kernels& kernels, const StageSpec& spec) {
  uint64_t bytes = 0;
  for (const StageAdapter& adapter : spec.adapters)
    bytes += PackedBytes(kernels, spec, *adapter.tensors);
  return bytes;
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
  scratch.low = scratch.products * spec.chunk * rank * sizeof(float);
  scratch.low_x = kernels.ActivationBytes(ActivationKind::kFloat, spec.chunk, rank);
  scratch.out = size_t{spec.chunk} * out * sizeof(float);
  return scratch;
}

uint64_t AdapterScratchBytes(const kernels::Kernels& kernels, const StageSpec& spec) {
  const AdapterScratch scratch = AdapterScratchOf(kernels, spec);
  return scratch.input + scratch.low + scratch.products * scratch.low_x + scratch.out;
}

Result<std::vector<AdapterWeights>> LoadAdapters(const kernels::Kernels& kernels,
                                                 const StageSpec& spec,
                                                 const std::atomic<bool>* cancel) {
  std::vector<AdapterWeights> adapters;
  for (const StageAdapter& adapter : spec.adapters)
    adapters.push_back(TRY(LoadAdapter(kernels, spec, adapter, cancel)));
  return adapters;
}

}  // namespace exo::backend
