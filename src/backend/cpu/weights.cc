#include "backend/cpu/weights.h"

#include <algorithm>
#include <mutex>

#include "base/check.h"
#include "base/units.h"
#include "tensor/dequantize.h"

namespace exo::backend {
namespace {

using model::TensorRef;

// Panels packed by one work item: about a megabyte, so that two threads share a small matrix and the
// mapped pages behind are dropped early.
constexpr uint64_t kItemBytes = 1u << 20;

class Loader {
 public:
  Loader(const kernels::Kernels& kernels, sys::ThreadPool& pool, TensorSource& source, uint64_t total,
         const std::function<void(uint64_t, uint64_t)>& progress, const std::atomic<bool>* cancel)
      : kernels_(kernels), pool_(pool), source_(source), total_(total), progress_(progress), cancel_(cancel) {}

  Result<Matrix> LoadMatrix(const TensorRef& tensor) {
    Matrix matrix;
    matrix.weights = {.type = tensor.type, .rows = tensor.rows, .cols = tensor.cols};
    const size_t panels = matrix.weights.panels();
    const size_t panel_bytes = kernels_.PackedBytes(tensor.type, kernels::kPanelRows, tensor.cols);
    CHECK_EQ(panels * panel_bytes, kernels_.PackedBytes(tensor.type, tensor.rows, tensor.cols));
    const auto packed = source_.FindPacked(tensor, kernels_.layout());
    if (packed && packed->bytes.size() == panels * panel_bytes) {
      matrix.weights.data = packed->bytes.data();
      matrix.owner = packed->owner;
      Progress(tensor.bytes);
      return matrix;
    }
    matrix.memory = TRY(Buffer::Allocate(panels * panel_bytes));
    matrix.weights.data = matrix.memory.data();

    const uint64_t row_bytes = TRY(tensor::RowBytes(tensor.type, tensor.cols));
    const size_t per_item = std::max<size_t>(1, kItemBytes / panel_bytes);
    const auto items = static_cast<uint32_t>((panels + per_item - 1) / per_item);
    std::mutex mutex;
    std::optional<Error> failure;
    const bool finished = pool_.Run(items, [&](uint32_t item, unsigned) {
      const size_t first = item * per_item;
      const size_t count = std::min(per_item, panels - first);
      const uint64_t first_row = first * kernels::kPanelRows;
      const uint64_t rows = std::min<uint64_t>(count * kernels::kPanelRows, tensor.rows - first_row);
      const uint64_t offset = first_row * row_bytes;
      const auto bytes = source_.Read(tensor, offset, rows * row_bytes);
      if (!bytes) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = bytes.error();
        return;
      }
      kernels_.Pack(tensor.type, tensor.rows, tensor.cols, first, count, bytes->data(),
                    matrix.memory.data() + first * panel_bytes);
      source_.Done(tensor, offset, rows * row_bytes);
      Progress(rows * row_bytes);
    }, cancel_);
    if (failure) return std::unexpected(*failure);
    if (!finished) return Fail(ErrorCode::kCancelled, "loading was cancelled");
    return matrix;
  }

  Result<Vector> LoadVector(const TensorRef& tensor) {
    const auto bytes = TRY(source_.Read(tensor, 0, tensor.bytes));
    Vector values(tensor.rows * tensor.cols);
    tensor::DequantizeRow(tensor.type, bytes.data(), values.size(), values.data());
    Progress(tensor.bytes);
    return values;
  }
  Result<Vector> LoadVector(const std::optional<TensorRef>& tensor) {
    if (!tensor) return Vector{};
    return LoadVector(*tensor);
  }

 private:
  void Progress(uint64_t bytes) {
    const uint64_t done = done_.fetch_add(bytes) + bytes;
    if (progress_) progress_(done, total_);
  }

  const kernels::Kernels& kernels_;
  sys::ThreadPool& pool_;
  TensorSource& source_;
  const uint64_t total_;
  const std::function<void(uint64_t, uint64_t)>& progress_;
  const std::atomic<bool>* cancel_;
  std::atomic<uint64_t> done_{0};
};

Result<LayerWeights> LoadLayer(Loader& loader, const model::LayerTensors& tensors) {
  LayerWeights layer;
  layer.attn_norm = TRY(loader.LoadVector(tensors.attn_norm));
  layer.q = TRY(loader.LoadMatrix(tensors.attn_q));
  layer.k = TRY(loader.LoadMatrix(tensors.attn_k));
  layer.v = TRY(loader.LoadMatrix(tensors.attn_v));
  layer.o = TRY(loader.LoadMatrix(tensors.attn_output));
  layer.ffn_norm = TRY(loader.LoadVector(tensors.ffn_norm));
  layer.gate = TRY(loader.LoadMatrix(tensors.ffn_gate));
  layer.up = TRY(loader.LoadMatrix(tensors.ffn_up));
  layer.down = TRY(loader.LoadMatrix(tensors.ffn_down));
  layer.q_bias = TRY(loader.LoadVector(tensors.q_bias));
  layer.k_bias = TRY(loader.LoadVector(tensors.k_bias));
  layer.v_bias = TRY(loader.LoadVector(tensors.v_bias));
  layer.q_norm = TRY(loader.LoadVector(tensors.q_norm));
  layer.k_norm = TRY(loader.LoadVector(tensors.k_norm));
  return layer;
}

}  // namespace

uint64_t WeightBytes(const kernels::Kernels& kernels, const StageSpec& spec) {
  uint64_t bytes = 0;
  for (const TensorRef* tensor : StageTensors(spec)) {
    bytes += tensor->rows == 1 ? tensor->cols * sizeof(float)
                               : kernels.PackedBytes(tensor->type, tensor->rows, tensor->cols);
  }
  return bytes;
}

Result<StageWeights> LoadWeights(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                                 const StageSpec& spec, TensorSource& source,
                                 const std::function<void(uint64_t, uint64_t)>& progress,
                                 const std::atomic<bool>* cancel) {
  uint64_t total = 0;
  for (const TensorRef* tensor : StageTensors(spec)) total += tensor->bytes;
  Loader loader(kernels, pool, source, total, progress, cancel);
  StageWeights weights;
  weights.tied = spec.config->tied_output;
  if (spec.head) {
    weights.embedding = TRY(loader.LoadMatrix(spec.tensors->token_embd));
    weights.output_norm = TRY(loader.LoadVector(spec.tensors->output_norm));
    if (!weights.tied) weights.output = TRY(loader.LoadMatrix(spec.tensors->output));
  }
  weights.rope_factors = TRY(loader.LoadVector(spec.tensors->rope_freqs));
  for (uint32_t i = spec.layer_begin; i < spec.layer_end; ++i) {
    weights.layers.push_back(TRY(LoadLayer(loader, spec.tensors->layers[i])));
  }
  return weights;
}

}  // namespace exo::backend
