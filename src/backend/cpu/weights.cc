#include "backend/cpu/weights.h"

#include <algorithm>
#include <mutex>

#include "base/check.h"
#include "base/units.h"
#include "tensor/dequantize.h"

namespace exo::backend {
namespace {

using model::TensorRef;

// Panels packed by one work item: about a megabyte, so that two threads share a small matrix and
// the mapped pages behind are dropped early.
constexpr uint64_t kItemBytes = 1u << 20;
// Where a tensor may begin.
constexpr uint64_t kAlignment = 64;

class Loader {
 public:
  // `memory` becomes that of all matrices: one block, so that nearly all of it is in huge pages.
  // `packed`: its size.
  Loader(const kernels::Kernels& kernels, sys::ThreadPool& pool, TensorSource& source,
         uint64_t total, uint64_t packed, Buffer& memory,
         const std::function<void(uint64_t, uint64_t)>& progress, const std::atomic<bool>* cancel)
      : kernels_(kernels),
        pool_(pool),
        source_(source),
        total_(total),
        packed_(packed),
        memory_(memory),
        progress_(progress),
        cancel_(cancel) {}

  // Every matrix of a tensor.
  Result<Matrices> LoadMatrices(const TensorRef& tensor) {
    const size_t matrix_bytes = kernels_.PackedBytes(tensor.type, tensor.rows, tensor.cols);
    Matrices matrices;
    const std::byte* data = nullptr;
    const auto prepared = source_.FindPacked(tensor, kernels_.layout());
    if (prepared && prepared->bytes.size() == tensor.count * matrix_bytes) {
      data = prepared->bytes.data();
      matrices.owner = prepared->owner;
      Progress(tensor.bytes);
    } else {
      std::byte* own = TRY(Take(tensor.count * matrix_bytes));
      data = own;
      for (uint64_t i = 0; i < tensor.count; ++i)
        TRY(PackMatrix(tensor, i, own + i * matrix_bytes));
    }
    for (uint64_t i = 0; i < tensor.count; ++i) {
      matrices.weights.push_back({.type = tensor.type,
                                  .rows = tensor.rows,
                                  .cols = tensor.cols,
                                  .data = data + i * matrix_bytes});
    }
    return matrices;
  }
  Result<Matrices> LoadMatrices(const std::optional<TensorRef>& tensor) {
    if (!tensor) return Matrices{};
    return LoadMatrices(*tensor);
  }

  Result<Matrix> LoadMatrix(const TensorRef& tensor) {
    CHECK_EQ(tensor.count, 1u);
    Matrices one = TRY(LoadMatrices(tensor));
    return Matrix{.weights = one.weights[0], .owner = one.owner};
  }
  Result<Matrix> LoadMatrix(const std::optional<TensorRef>& tensor) {
    if (!tensor) return Matrix{};
    return LoadMatrix(*tensor);
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
  // The next bytes of the memory, which is only mapped when something is packed.
  Result<std::byte*> Take(uint64_t bytes) {
    if (memory_.size() == 0) memory_ = TRY(Buffer::Allocate(packed_));
    CHECK_LE(taken_ + bytes, memory_.size());
    std::byte* at = memory_.data() + taken_;
    taken_ += RoundUp(bytes, kAlignment);
    return at;
  }

  // Packs matrix `index` of a tensor to `packed`.
  Result<void> PackMatrix(const TensorRef& tensor, uint64_t index, std::byte* packed) {
    const size_t panels = (tensor.rows + kernels::kPanelRows - 1) / kernels::kPanelRows;
    const size_t panel_bytes = kernels_.PackedBytes(tensor.type, kernels::kPanelRows, tensor.cols);
    CHECK_EQ(panels * panel_bytes, kernels_.PackedBytes(tensor.type, tensor.rows, tensor.cols));
    const uint64_t row_bytes = TRY(tensor::RowBytes(tensor.type, tensor.cols));
    const size_t per_item = std::max<size_t>(1, kItemBytes / panel_bytes);
    const auto items = static_cast<uint32_t>((panels + per_item - 1) / per_item);
    std::mutex mutex;
    std::optional<Error> failure;
    const bool finished = pool_.Run(
        items,
        [&](uint32_t item, unsigned) {
          const size_t first = item * per_item;
          const size_t count = std::min(per_item, panels - first);
          const uint64_t first_row = first * kernels::kPanelRows;
          const uint64_t rows =
              std::min<uint64_t>(count * kernels::kPanelRows, tensor.rows - first_row);
          const uint64_t offset = (index * tensor.rows + first_row) * row_bytes;
          const auto bytes = source_.Read(tensor, offset, rows * row_bytes);
          if (!bytes) {
            const std::lock_guard lock(mutex);
            if (!failure) failure = bytes.error();
            return;
          }
          kernels_.Pack(tensor.type, tensor.rows, tensor.cols, first, count, bytes->data(),
                        packed + first * panel_bytes);
          source_.Done(tensor, offset, rows * row_bytes);
          Progress(rows * row_bytes);
        },
        cancel_);
    if (failure) return std::unexpected(*failure);
    if (!finished) return Fail(ErrorCode::kCancelled, "loading was cancelled");
    return {};
  }

  void Progress(uint64_t bytes) {
    const uint64_t done = done_.fetch_add(bytes) + bytes;
    if (progress_) progress_(done, total_);
  }

  const kernels::Kernels& kernels_;
  sys::ThreadPool& pool_;
  TensorSource& source_;
  const uint64_t total_;
  const uint64_t packed_;
  Buffer& memory_;
  uint64_t taken_ = 0;
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
  layer.router = TRY(loader.LoadMatrix(tensors.router));
  layer.shared_router = TRY(loader.LoadMatrix(tensors.shared_router));
  layer.gate_exps = TRY(loader.LoadMatrices(tensors.gate_exps));
  layer.up_exps = TRY(loader.LoadMatrices(tensors.up_exps));
  layer.down_exps = TRY(loader.LoadMatrices(tensors.down_exps));
  layer.q_bias = TRY(loader.LoadVector(tensors.q_bias));
  layer.k_bias = TRY(loader.LoadVector(tensors.k_bias));
  layer.v_bias = TRY(loader.LoadVector(tensors.v_bias));
  layer.q_norm = TRY(loader.LoadVector(tensors.q_norm));
  layer.k_norm = TRY(loader.LoadVector(tensors.k_norm));
  layer.post_attn_norm = TRY(loader.LoadVector(tensors.post_attn_norm));
  layer.post_ffn_norm = TRY(loader.LoadVector(tensors.post_ffn_norm));
  return layer;
}

// Bytes of one of a tensor's matrices, packed, or of a vector.
uint64_t PackedBytes(const kernels::Kernels& kernels, const TensorRef& tensor) {
  return tensor.vector ? tensor.cols * sizeof(float)
                       : kernels.PackedBytes(tensor.type, tensor.rows, tensor.cols);
}

}  // namespace

uint64_t WeightBytes(const kernels::Kernels& kernels, const StageSpec& spec) {
  uint64_t bytes = 0;
  for (const TensorRef* tensor : StageTensors(spec))
    bytes += tensor->count * PackedBytes(kernels, *tensor);
  return bytes;
}

uint64_t ReadBytes(const kernels::Kernels& kernels, const StageSpec& spec) {
  uint64_t bytes = 0;
  for (const TensorRef* tensor : StageTensors(spec)) {
    bytes += tensor->count_read(spec.config->experts.used) * PackedBytes(kernels, *tensor);
  }
  return bytes;
}

Result<StageWeights> LoadWeights(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                                 const StageSpec& spec, TensorSource& source,
                                 const std::function<void(uint64_t, uint64_t)>& progress,
                                 const std::atomic<bool>* cancel) {
  uint64_t total = 0, packed = 0;
  for (const TensorRef* tensor : StageTensors(spec)) {
    total += tensor->bytes;
    if (!tensor->vector)
      packed += RoundUp(tensor->count * PackedBytes(kernels, *tensor), kAlignment);
  }
  StageWeights weights;
  Loader loader(kernels, pool, source, total, packed, weights.memory, progress, cancel);
  weights.tied = spec.config->tied_output;
  if (spec.lead) {
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
