// Weights on their way from a source into packed panels: what is read at once, and the thread that
// reads it ahead of whoever packs it. Reading, which may wait for a disk, never holds the workers,
// and one window is read while another is packed.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "base/mutex.h"
#include "kernels/kernels.h"

namespace exo::backend {

// What is read at once and packed as one job: enough items for all threads, little enough that
// pages are dropped early.
inline constexpr uint64_t kWindowBytes = 2u << 20;
// Where a packed matrix may begin.
inline constexpr uint64_t kMatrixAlignment = 64;
// Windows read ahead of packing.
inline constexpr size_t kReadAhead = 2;

// Panels [first, first + count) of matrix `index` of a tensor, and where they go.
struct Window {
  const model::TensorRef* tensor;
  uint64_t index;
  size_t first;
  size_t count;
  std::byte* packed;

  uint64_t rows() const;
  // Where its bytes begin in the tensor.
  uint64_t offset(uint64_t row_bytes) const;
};

// Appends the windows of matrix `index` of a tensor, packed to `packed`.
void PlanMatrix(const kernels::Kernels& kernels, const model::TensorRef& tensor, uint64_t index,
                std::byte* packed, std::vector<Window>& windows);
// Packs panels [first, first + count) of a window, `bytes` being what was read of all of it.
// Thread: any, several parts at once.
void PackPanels(const kernels::Kernels& kernels, const Window& window,
                std::span<const std::byte> bytes, size_t first, size_t count);

// Reads windows in order on a thread of its own, kReadAhead ahead of who packs them.
class WindowReader {
 public:
  // `next` gives one window after the other, on that thread; null: there are no more.
  WindowReader(TensorSource& source, std::function<const Window*()> next);
  // At most the time of one read.
  ~WindowReader();

  // The next window's bytes. Errors: those of the source, kCancelled.
  Result<std::span<const std::byte>> Next(const std::atomic<bool>* cancel);

 private:
  using Bytes = Result<std::span<const std::byte>>;

  Bytes Read(const Window& window);
  void Main();

  TensorSource& source_;
  const std::function<const Window*()> next_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<Bytes> ready_ EXO_GUARDED_BY(mutex_);
  bool stop_ EXO_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace exo::backend
