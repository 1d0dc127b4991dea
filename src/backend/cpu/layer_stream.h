// Layers of a stage that are not held in memory: read one after the other, in the order in which
// steps need them and again from the first one on, into windows that they share. While one of them
// computes, the next ones are read and packed; the first ones of the next step are at hand when it
// begins.
//
// Two threads: one waits for the disk, one packs. Packing is no job of the compute pool, which
// would give it a quarter of the time: the step waits for it.
//
// Thread: the stage's.
#pragma once

#include <atomic>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/weights.h"
#include "base/mutex.h"
#include "sys/thread_pool.h"

namespace exo::backend {

class LayerStream {
 public:
  // Begins to read. `weights`, which has streamed layers, and `source` outlive it, the weights at
  // the same address; `pool` is told of progress.
  LayerStream(const kernels::Kernels& kernels, sys::ThreadPool& pool, TensorSource& source,
              StageWeights& weights);
  // At most the time of one read.
  ~LayerStream();

  // Until Release, or the next Acquire, the matrices of this layer of the stage are there: waits
  // for the disk where they are streamed. Another layer than the next one of the round, as after a
  // step that was cancelled, begins anew from there. Errors: those of the source, after which the
  // next call tries again; kCancelled.
  Result<void> Acquire(size_t layer, const std::atomic<bool>* cancel);
  void Release();

 private:
  struct Matrix {
    kernels::Weights* weights;
    const std::byte* first;  // in the first window
  };
  struct Layer {
    const StreamedLayer* plan;
    std::vector<Matrix> matrices;
  };

  void Start(size_t first);
  void Stop();
  // The reader's next window, behind `at`.
  const Window* NextWindow(std::pair<size_t, size_t>& at) const;
  void Main(size_t first);
  Result<void> Fill(WindowReader& reader, size_t index, size_t slot);
  size_t After(size_t index) const { return (index + 1) % layers_.size(); }

  const kernels::Kernels& kernels_;
  sys::ThreadPool& pool_;
  TensorSource& source_;
  const uint64_t window_bytes_;
  const size_t slots_;  // windows of layers
  std::vector<Layer> layers_;
  std::vector<std::optional<size_t>> index_of_;  // by layer of the stage

  size_t next_ = 0;       // index of the layer that comes next
  size_t next_slot_ = 0;  // and where it is packed
  bool held_ = false;     // the one before is in use

  std::atomic<bool> stop_{false};
  std::thread thread_;
  Mutex mutex_;
  CondVar changed_;
  size_t free_ EXO_GUARDED_BY(mutex_) = 0;   // slots
  size_t ready_ EXO_GUARDED_BY(mutex_) = 0;  // slots that are packed and not yet acquired
  std::optional<Error> error_ EXO_GUARDED_BY(mutex_);
};

}  // namespace exo::backend
