#include "backend/cpu/weights.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "base/units.h"
#include "tensor/dequantize.h"

namespace exo::backend {
namespace {

using model::TensorRef;

// Bytes of the file that one background item packs: a few tenths of a
// millisecond, since a compute job of an answer beside the load may have to
// wait for it.
constexpr uint64_t kItemBytes = 256u << 10;

std::unexpected<Error> CancelledError() {
  return Fail(ErrorCode::kCancelled, "loading was canceled");
}

class Loader {
 public:
  // Tensors are planned first and packed by PackAll: their places are known at
  // once. `memory` becomes that of all matrices: one block, so that nearly all
  // of it is in huge pages. `packed`: its size.
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
    if (unheld_.contains(&tensor) && streamed_ == nullptr) {
      for (uint64_t i = 0; i < tensor.count; ++i)
        matrices.weights.push_back({.type = tensor.type, .rows = tensor.rows, .cols = tensor.cols});
      return matrices;
    }
    // Where memory is short, pages of a mapping come and go as the system likes.
    const auto prepared = may_map_ ? source_.FindPacked(tensor, kernels_.layout()) : std::nullopt;
    if (prepared && prepared->bytes.size() == tensor.count * matrix_bytes) {
      data = prepared->bytes.data();
      matrices.owner = prepared->owner;
      if (prepared->broken != nullptr) broken_ = prepared->broken;
      Progress(tensor.bytes);
    } else {
      std::byte* own = TRY(Take(tensor.count * matrix_bytes));
      data = own;
      std::vector<Window>& windows = streamed_ != nullptr ? streamed_->windows : windows_;
      for (uint64_t i = 0; i < tensor.count; ++i)
        PlanMatrix(kernels_, tensor, i, own + i * matrix_bytes, windows);
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
    source_.Done(tensor, 0, tensor.bytes);
    Progress(tensor.bytes);
    return values;
  }
  Result<Vector> LoadVector(const std::optional<TensorRef>& tensor) {
    if (!tensor) return Vector{};
    return LoadVector(*tensor);
  }

  // From here to null, matrices are those of a layer that is not held: planned in `layer`, packed
  // to `window` by others.
  void Stream(StreamedLayer* layer, std::byte* window) {
    streamed_ = layer;
    window_ = window;
  }
  // Of a stage that streams layers: these have no data, but those that Stream plans. Nothing that
  // the source has prepared is used where it lies.
  void LeaveOut(std::set<const TensorRef*> matrices) {
    unheld_ = std::move(matrices);
    may_map_ = false;
  }

  // Reads and packs what was planned.
  Result<void> PackAll() {
    WindowReader reader(source_, [this, at = size_t{0}]() mutable {
      return at < windows_.size() ? &windows_[at++] : nullptr;
    });
    for (const Window& window : windows_) {
      const auto bytes = reader.Next(cancel_);
      if (!bytes) return std::unexpected(bytes.error());
      TRY(PackWindow(window, *bytes));
    }
    return {};
  }

  // Of the prepared matrices, which all come from one file.
  const std::atomic<bool>* broken() const { return broken_; }

 private:
  // The next bytes of the memory, which is only mapped when something is
  // packed.
  Result<std::byte*> Take(uint64_t bytes) {
    if (streamed_ != nullptr)
      return std::exchange(window_, window_ + RoundUp(bytes, kMatrixAlignment));
    if (memory_.size() == 0) memory_ = TRY(Buffer::Allocate(packed_));
    CHECK_LE(taken_ + bytes, memory_.size());
    std::byte* at = memory_.data() + taken_;
    taken_ += RoundUp(bytes, kMatrixAlignment);
    return at;
  }

  // A background job of the pool: an answer of another model goes first.
  Result<void> PackWindow(const Window& window, std::span<const std::byte> bytes) {
    const TensorRef& tensor = *window.tensor;
    const size_t panel_bytes = kernels_.PackedBytes(tensor.type, kernels::kPanelRows, tensor.cols);
    const uint64_t row_bytes = TRY(tensor::RowBytes(tensor.type, tensor.cols));
    const size_t per_item = std::max<size_t>(1, kItemBytes / panel_bytes);
    const auto items = static_cast<uint32_t>((window.count + per_item - 1) / per_item);
    const auto pack = [&](uint32_t item, unsigned) {
      const size_t skip = item * per_item;
      PackPanels(kernels_, window, bytes, skip, std::min(per_item, window.count - skip));
    };
    if (!pool_.RunBackground(items, pack, cancel_)) return CancelledError();
    source_.Done(tensor, window.offset(row_bytes), bytes.size());
    Progress(bytes.size());
    return {};
  }

  void Progress(uint64_t bytes) {
    done_ += bytes;
    if (progress_) progress_(done_, total_);
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
  std::vector<Window> windows_;
  std::set<const TensorRef*> unheld_;
  bool may_map_ = true;
  StreamedLayer* streamed_ = nullptr;
  std::byte* window_ = nullptr;  // where its next matrix goes
  uint64_t done_ = 0;
  const std::atomic<bool>* broken_ = nullptr;
};

Result<std::vector<PartOfMatrix>> LoadParts(Loader& loader, const std::vector<MatrixPart>& parts) {
  std::vector<PartOfMatrix> loaded;
  for (const MatrixPart& part : parts)
    loaded.push_back({TRY(loader.LoadMatrix(part.tensor)), part.leaves});
  return loaded;
}

Result<LayerWeights> LoadLayer(Loader& loader, const model::LayerTensors& tensors,
                               const ShardLayer* parts) {
  LayerWeights layer;
  layer.attn_norm = TRY(loader.LoadVector(tensors.attn_norm));
  layer.q = TRY(loader.LoadMatrix(tensors.attn_q));
  layer.k = TRY(loader.LoadMatrix(tensors.attn_k));
  layer.v = TRY(loader.LoadMatrix(tensors.attn_v));
  if (parts == nullptr) {
    layer.o = TRY(loader.LoadMatrix(tensors.attn_output));
    layer.down = TRY(loader.LoadMatrix(tensors.ffn_down));
  } else {
    layer.o_parts = TRY(LoadParts(loader, parts->o));
    layer.down_parts = TRY(LoadParts(loader, parts->down));
  }
  layer.ffn_norm = TRY(loader.LoadVector(tensors.ffn_norm));
  layer.gate = TRY(loader.LoadMatrix(tensors.ffn_gate));
  layer.up = TRY(loader.LoadMatrix(tensors.ffn_up));
  layer.router = TRY(loader.LoadMatrix(tensors.router));
  layer.shared_router = TRY(loader.LoadMatrix(tensors.shared_router));
  layer.gate_exps = TRY(loader.LoadMatrices(tensors.gate_exps));
  layer.up_exps = TRY(loader.LoadMatrices(tensors.up_exps));
  layer.down_exps = TRY(loader.LoadMatrices(tensors.down_exps));
  layer.q_bias = TRY(loader.LoadVector(tensors.q_bias));
  layer.k_bias = TRY(loader.LoadVector(tensors.k_bias));
  layer.v_bias = TRY(loader.LoadVector(tensors.v_bias));
  layer.o_bias = TRY(loader.LoadVector(tensors.o_bias));
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

// The matrices of a streamed layer that it does not hold: of a mixture, those of its experts.
std::vector<const TensorRef*> StreamedMatrices(const StageSpec& spec, uint32_t layer) {
  const model::LayerTensors& tensors = spec.tensors->layers[layer];
  std::vector<const TensorRef*> matrices;
  for (const TensorRef* tensor : tensors.All()) {
    const bool of_experts =
        tensors.gate_exps && (tensor == &*tensors.gate_exps || tensor == &*tensors.up_exps ||
                              tensor == &*tensors.down_exps);
    if (!tensor->vector && (of_experts || !tensors.gate_exps)) matrices.push_back(tensor);
  }
  return matrices;
}

std::set<const TensorRef*> StreamedMatrices(const StageSpec& spec) {
  std::set<const TensorRef*> all;
  for (const uint32_t layer : spec.streamed.layers) {
    const auto own = StreamedMatrices(spec, layer);
    all.insert(own.begin(), own.end());
  }
  return all;
}

uint64_t AlignedBytesOf(const kernels::Kernels& kernels, const TensorRef& tensor) {
  return tensor.count * RoundUp(PackedBytes(kernels, tensor), kMatrixAlignment);
}

// Of one window: it holds what any of the streamed layers reads. 0: there are none.
uint64_t StreamWindowBytes(const kernels::Kernels& kernels, const StageSpec& spec) {
  uint64_t most = 0;
  for (const uint32_t layer : spec.streamed.layers) {
    uint64_t bytes = 0;
    for (const TensorRef* tensor : StreamedMatrices(spec, layer))
      bytes += AlignedBytesOf(kernels, *tensor);
    most = std::max(most, bytes);
  }
  return most;
}

// What a load reads, and the memory that its matrices take.
struct LoadSize {
  uint64_t total = 0;
  uint64_t packed = 0;
};
LoadSize SizeOf(const kernels::Kernels& kernels, const StageSpec& spec) {
  const std::set<const TensorRef*> streamed = StreamedMatrices(spec);
  LoadSize size;
  for (const TensorRef* tensor : StageTensors(spec)) {
    if (streamed.contains(tensor)) continue;
    size.total += tensor->bytes;
    if (!tensor->vector) size.packed += AlignedBytesOf(kernels, *tensor);
  }
  return size;
}

}  // namespace

uint64_t WeightBytes(const kernels::Kernels& kernels, const StageSpec& spec) {
  const std::set<const TensorRef*> streamed = StreamedMatrices(spec);
  uint64_t bytes = spec.streamed.windows * StreamWindowBytes(kernels, spec);
  for (const TensorRef* tensor : StageTensors(spec)) {
    if (!streamed.contains(tensor)) bytes += tensor->count * PackedBytes(kernels, *tensor);
  }
  return bytes;
}

uint64_t ReadBytes(const kernels::Kernels& kernels, const StageSpec& spec) {
  uint64_t bytes = 0;
  for (const TensorRef* tensor : StageTensors(spec)) {
    bytes += tensor->count_read(spec.config->experts.used) * PackedBytes(kernels, *tensor);
  }
  return bytes;
}

uint64_t StreamScratchBytes(const StageSpec& spec) {
  // Windows that are ready, one that is read and one that is packed.
  return spec.streamed.layers.empty() ? 0 : (kReadAhead + 2) * kWindowBytes;
}

std::vector<kernels::Weights*> WeightsOf(LayerWeights& layer) {
  std::vector<kernels::Weights*> all;
  for (Matrix* matrix : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up,
                         &layer.down, &layer.router, &layer.shared_router}) {
    if (matrix->weights.rows != 0) all.push_back(&matrix->weights);
  }
  for (Matrices* matrices : {&layer.gate_exps, &layer.up_exps, &layer.down_exps}) {
    for (kernels::Weights& one : matrices->weights) all.push_back(&one);
  }
  return all;
}

Result<StageWeights> LoadWeights(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                                 const StageSpec& spec, const ShardPlan* shard,
                                 TensorSource& source,
                                 const std::function<void(uint64_t, uint64_t)>& progress,
                                 const std::atomic<bool>* cancel) {
  const LoadSize size = SizeOf(kernels, spec);
  StageWeights weights;
  Loader loader(kernels, pool, source, size.total, size.packed, weights.memory, progress, cancel);
  if (!spec.streamed.layers.empty()) {
    loader.LeaveOut(StreamedMatrices(spec));
    weights.window_bytes = StreamWindowBytes(kernels, spec);
    weights.windows = TRY(Buffer::Allocate(spec.streamed.windows * weights.window_bytes));
  }
  weights.tied = spec.config->tied_output;
  if (spec.lead) weights.embedding = TRY(loader.LoadMatrix(spec.tensors->token_embd));
  if (HasOutput(spec)) {
    weights.output_norm = TRY(loader.LoadVector(spec.tensors->output_norm));
    if (!weights.tied) weights.output = TRY(loader.LoadMatrix(spec.tensors->output));
  }
  weights.rope_factors = TRY(loader.LoadVector(spec.tensors->rope_freqs));
  for (uint32_t i = spec.layer_begin; i < spec.layer_end; ++i) {
    const ShardLayer* parts = shard == nullptr ? nullptr : &shard->layers[i - spec.layer_begin];
    if (spec.IsStreamed(i) && spec.config->experts.count == 0) {
      weights.streamed.push_back({.layer = i - spec.layer_begin, .windows = {}});
      loader.Stream(&weights.streamed.back(), weights.windows.data());
    }
    weights.layers.push_back(TRY(LoadLayer(loader, spec.tensors->layers[i], parts)));
    loader.Stream(nullptr, nullptr);
  }
  TRY(loader.PackAll());
  weights.adapters = TRY(LoadAdapters(kernels, spec, shard, cancel));
  weights.broken = loader.broken();
  return weights;
}

}  // namespace exo::backend
