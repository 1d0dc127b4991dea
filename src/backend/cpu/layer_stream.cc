#include "backend/cpu/layer_stream.h"

#include <chrono>

#include "base/check.h"
#include "base/thread.h"
#include "kernels/float_mode.h"

namespace exo::backend {
namespace {

// How long a step that waits for the disk may not notice that it was cancelled.
constexpr std::chrono::milliseconds kCancelPoll{20};

}  // namespace

LayerStream::LayerStream(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                         TensorSource& source, StageWeights& weights)
    : kernels_(kernels),
      pool_(pool),
      source_(source),
      window_bytes_(weights.window_bytes),
      slots_(weights.windows.size() / weights.window_bytes) {
  CHECK_GE(slots_, 2u);  // one computes while another is filled
  index_of_.resize(weights.layers.size());
  for (const StreamedLayer& plan : weights.streamed) {
    index_of_[plan.layer] = layers_.size();
    Layer& layer = layers_.emplace_back(Layer{.plan = &plan, .matrices = {}});
    for (kernels::Weights* matrix : WeightsOf(weights.layers[plan.layer]))
      layer.matrices.push_back({matrix, matrix->data});
  }
  Start(0);
}

LayerStream::~LayerStream() {
  Stop();
}

void LayerStream::Start(size_t first) {
  next_ = first;
  next_slot_ = 0;
  held_ = false;
  stop_.store(false);
  {
    const MutexLock lock(mutex_);
    free_ = slots_;
    ready_ = 0;
    error_.reset();
  }
  thread_ = StartThread([this, first] { Main(first); });
}

void LayerStream::Stop() {
  {
    const MutexLock lock(mutex_);
    stop_.store(true);
  }
  changed_.NotifyAll();
  thread_.join();
}

Result<void> LayerStream::Acquire(size_t layer, const std::atomic<bool>* cancel) {
  Release();
  const auto index = index_of_[layer];
  if (!index) return {};
  bool failed = false;
  {
    const MutexLock lock(mutex_);
    failed = error_.has_value() && ready_ == 0;
  }
  if (failed || *index != next_) {
    Stop();
    Start(*index);
  }
  {
    const MutexLock lock(mutex_);
    while (ready_ == 0) {
      if (error_) return std::unexpected(*error_);
      if (cancel != nullptr && cancel->load())
        return Fail(ErrorCode::kCancelled, "the step was canceled");
      changed_.WaitUntil(mutex_, std::chrono::steady_clock::now() + kCancelPoll);
    }
    --ready_;
  }
  held_ = true;
  for (const Matrix& matrix : layers_[*index].matrices)
    matrix.weights->data = matrix.first + next_slot_ * window_bytes_;
  next_ = After(next_);
  next_slot_ = (next_slot_ + 1) % slots_;
  return {};
}

void LayerStream::Release() {
  if (!std::exchange(held_, false)) return;
  {
    const MutexLock lock(mutex_);
    ++free_;
  }
  changed_.NotifyAll();
}

const Window* LayerStream::NextWindow(std::pair<size_t, size_t>& at) const {
  auto& [index, window] = at;
  const Window* next = &layers_[index].plan->windows[window];
  if (++window == layers_[index].plan->windows.size()) at = {After(index), 0};
  return next;
}

void LayerStream::Main(size_t first) {
  kernels::SetFloatMode();
  WindowReader reader(
      source_, [this, at = std::pair(first, size_t{0})]() mutable { return NextWindow(at); });
  for (size_t index = first, slot = 0;; index = After(index), slot = (slot + 1) % slots_) {
    {
      const MutexLock lock(mutex_);
      while (free_ == 0 && !stop_.load()) changed_.Wait(mutex_);
      if (stop_.load()) return;
      --free_;
    }
    const auto filled = Fill(reader, index, slot);
    {
      const MutexLock lock(mutex_);
      if (!filled) {
        error_ = filled.error();
      } else {
        ++ready_;
      }
    }
    changed_.NotifyAll();
    if (!filled) return;
  }
}

Result<void> LayerStream::Fill(WindowReader& reader, size_t index, size_t slot) {
  for (Window window : layers_[index].plan->windows) {
    const auto bytes = reader.Next(&stop_);
    if (!bytes) return std::unexpected(bytes.error());
    window.packed += slot * window_bytes_;
    PackPanels(kernels_, window, *bytes, 0, window.count);
    source_.Done(*window.tensor, window.offset(bytes->size() / window.rows()), bytes->size());
    pool_.CountItem();
  }
  return {};
}

}  // namespace exo::backend
