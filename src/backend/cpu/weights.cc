#include "backend/cpu/weights.h"

#include <algorithm>
#include <deque>
#include <thread>

#include "base/check.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "base/units.h"
#include "tensor/dequantize.h"

namespace exo::backend {
namespace {

using model::TensorRef;

// Bytes of the file that one background item packs: a few tenths of a
// millisecond, since a compute job of an answer beside the load may have to
// wait for it.
constexpr uint64_t kItemBytes = 256u << 10;
// What is read at once and packed as one job: enough items for all threads,
// little enough that pages are dropped early.
constexpr uint64_t kWindowBytes = 2u << 20;
// Windows read ahead of packing.
constexpr size_t kReadAhead = 2;
// Where a tensor may begin.
constexpr uint64_t kAlignment = 64;

std::unexpected<Error> CancelledError() {
  return Fail(ErrorCode::kCancelled, "loading was canceled");
}

// Panels [first, first + count) of matrix `index` of a tensor, and where they
// go.
struct Window {
  const TensorRef* tensor;
  uint64_t index;
  size_t first;
  size_t count;
  std::byte* packed;

  uint64_t rows() const {
    return std::min<uint64_t>(count * kernels::kPanelRows,
                              tensor->rows - first * kernels::kPanelRows);
  }
  // Where its bytes begin in the tensor.
  uint64_t offset(uint64_t row_bytes) const {
    return (index * tensor->rows + first * kernels::kPanelRows) * row_bytes;
  }
};

// Reads windows in order on a thread of its own, kReadAhead ahead of who packs
// them.
class WindowReader {
 public:
  WindowReader(TensorSource& source, const std::vector<Window>& windows)
      : source_(source), windows_(windows), thread_(StartThread([this] { Main(); })) {}
  // At most the time of one read.
  ~WindowReader() {
    {
      const MutexLock lock(mutex_);
      stop_ = true;
    }
    changed_.NotifyAll();
    thread_.join();
  }

  // The next window's bytes. Errors: those of the source, kCancelled.
  Result<std::span<const std::byte>> Next(const std::atomic<bool>* cancel) {
    const MutexLock lock(mutex_);
    while (ready_.empty()) {
      if (cancel != nullptr && cancel->load()) return CancelledError();
      changed_.WaitUntil(mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(50));
    }
    auto bytes = std::move(ready_.front());
    ready_.pop_front();
    changed_.NotifyAll();
    return bytes;
  }

 private:
  using Bytes = Result<std::span<const std::byte>>;

  Bytes Read(const Window& window) {
    const TensorRef& tensor = *window.tensor;
    const uint64_t row_bytes = TRY(tensor::RowBytes(tensor.type, tensor.cols));
    return source_.Read(tensor, window.offset(row_bytes), window.rows() * row_bytes);
  }
  void Main() {
    for (const Window& window : windows_) {
      {
        const MutexLock lock(mutex_);
        while (!stop_ && ready_.size() >= kReadAhead) changed_.Wait(mutex_);
        if (stop_) return;
      }
      Bytes bytes = Read(window);
      const bool failed = !bytes;
      {
        const MutexLock lock(mutex_);
        ready_.push_back(std::move(bytes));
      }
      changed_.NotifyAll();
      if (failed) return;
    }
  }

  TensorSource& source_;
  const std::vector<Window>& windows_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<Bytes> ready_ EXO_GUARDED_BY(mutex_);
  bool stop_ EXO_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

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
    const auto prepared = source_.FindPacked(tensor, kernels_.layout());
    if (prepared && prepared->bytes.size() == tensor.count * matrix_bytes) {
      data = prepared->bytes.data();
      matrices.owner = prepared->owner;
      if (prepared->broken != nullptr) broken_ = prepared->broken;
      Progress(tensor.bytes);
    } else {
      std::byte* own = TRY(Take(tensor.count * matrix_bytes));
      data = own;
      for (uint64_t i = 0; i < tensor.count; ++i) PlanMatrix(tensor, i, own + i * matrix_bytes);
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

  // Reads and packs what was planned. Reading, which may wait for a disk, is a
  // thread of its own: it never holds the workers, and one window is read while
  // another is packed.
  Result<void> PackAll() {
    WindowReader reader(source_, windows_);
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
    if (memory_.size() == 0) memory_ = TRY(Buffer::Allocate(packed_));
    CHECK_LE(taken_ + bytes, memory_.size());
    std::byte* at = memory_.data() + taken_;
    taken_ += RoundUp(bytes, kAlignment);
    return at;
  }

  // Plans the windows of matrix `index` of a tensor, packed to `packed`.
  void PlanMatrix(const TensorRef& tensor, uint64_t index, std::byte* packed) {
    const size_t panels = (tensor.rows + kernels::kPanelRows - 1) / kernels::kPanelRows;
    const size_t panel_bytes = kernels_.PackedBytes(tensor.type, kernels::kPanelRows, tensor.cols);
    CHECK_EQ(panels * panel_bytes, kernels_.PackedBytes(tensor.type, tensor.rows, tensor.cols));
    const size_t per_window = std::max<size_t>(1, kWindowBytes / panel_bytes);
    for (size_t first = 0; first < panels; first += per_window) {
      windows_.push_back({.tensor = &tensor,
                          .index = index,
                          .first = first,
                          .count = std::min(per_window, panels - first),
                          .packed = packed + first * panel_bytes});
    }
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
      kernels_.Pack(tensor.type, tensor.rows, tensor.cols, window.first + skip,
                    std::min(per_item, window.count - skip),
                    bytes.data() + skip * kernels::kPanelRows * row_bytes,
                    window.packed + skip * panel_bytes);
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
                                 const StageSpec& spec, const ShardPlan* shard,
                                 TensorSource& source,
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
  if (spec.lead) weights.embedding = TRY(loader.LoadMatrix(spec.tensors->token_embd));
  if (HasOutput(spec)) {
    weights.output_norm = TRY(loader.LoadVector(spec.tensors->output_norm));
    if (!weights.tied) weights.output = TRY(loader.LoadMatrix(spec.tensors->output));
  }
  weights.rope_factors = TRY(loader.LoadVector(spec.tensors->rope_freqs));
  for (uint32_t i = spec.layer_begin; i < spec.layer_end; ++i) {
    const ShardLayer* parts = shard == nullptr ? nullptr : &shard->layers[i - spec.layer_begin];
    weights.layers.push_back(TRY(LoadLayer(loader, spec.tensors->layers[i], parts)));
  }
  TRY(loader.PackAll());
  weights.adapters = TRY(LoadAdapters(kernels, spec, cancel));
  weights.broken = loader.broken();
  return weights;
}

}  // namespace exo::backend
