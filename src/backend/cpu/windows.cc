#include "backend/cpu/windows.h"

#include <algorithm>

#include "base/check.h"
#include "base/thread.h"
#include "tensor/dtype.h"

namespace exo::backend {

uint64_t Window::rows() const {
  return std::min<uint64_t>(count * kernels::kPanelRows,
                            tensor->rows - first * kernels::kPanelRows);
}

uint64_t Window::offset(uint64_t row_bytes) const {
  return (index * tensor->rows + first * kernels::kPanelRows) * row_bytes;
}

void PlanMatrix(const kernels::Kernels& kernels, const model::TensorRef& tensor, uint64_t index,
                std::byte* packed, std::vector<Window>& windows) {
  const size_t panels = (tensor.rows + kernels::kPanelRows - 1) / kernels::kPanelRows;
  const size_t panel_bytes = kernels.PackedBytes(tensor.type, kernels::kPanelRows, tensor.cols);
  CHECK_EQ(panels * panel_bytes, kernels.PackedBytes(tensor.type, tensor.rows, tensor.cols));
  const size_t per_window = std::max<size_t>(1, kWindowBytes / panel_bytes);
  for (size_t first = 0; first < panels; first += per_window) {
    windows.push_back({.tensor = &tensor,
                       .index = index,
                       .first = first,
                       .count = std::min(per_window, panels - first),
                       .packed = packed + first * panel_bytes});
  }
}

void PackPanels(const kernels::Kernels& kernels, const Window& window,
                std::span<const std::byte> bytes, size_t first, size_t count) {
  const model::TensorRef& tensor = *window.tensor;
  const size_t panel_bytes = kernels.PackedBytes(tensor.type, kernels::kPanelRows, tensor.cols);
  const uint64_t row_bytes = bytes.size() / window.rows();
  kernels.Pack(tensor.type, tensor.rows, tensor.cols, window.first + first, count,
               bytes.data() + first * kernels::kPanelRows * row_bytes,
               window.packed + first * panel_bytes);
}

WindowReader::WindowReader(TensorSource& source, std::function<const Window*()> next)
    : source_(source), next_(std::move(next)), thread_(StartThread([this] { Main(); })) {}

WindowReader::~WindowReader() {
  {
    const MutexLock lock(mutex_);
    stop_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

Result<std::span<const std::byte>> WindowReader::Next(const std::atomic<bool>* cancel) {
  const MutexLock lock(mutex_);
  while (ready_.empty()) {
    if (cancel != nullptr && cancel->load())
      return Fail(ErrorCode::kCancelled, "loading was canceled");
    changed_.WaitUntil(mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(50));
  }
  auto bytes = std::move(ready_.front());
  ready_.pop_front();
  changed_.NotifyAll();
  return bytes;
}

WindowReader::Bytes WindowReader::Read(const Window& window) {
  const model::TensorRef& tensor = *window.tensor;
  const uint64_t row_bytes = TRY(tensor::RowBytes(tensor.type, tensor.cols));
  return source_.Read(tensor, window.offset(row_bytes), window.rows() * row_bytes);
}

void WindowReader::Main() {
  while (const Window* window = next_()) {
    {
      const MutexLock lock(mutex_);
      while (!stop_ && ready_.size() >= kReadAhead) changed_.Wait(mutex_);
      if (stop_) return;
    }
    Bytes bytes = Read(*window);
    const bool failed = !bytes;
    {
      const MutexLock lock(mutex_);
      ready_.push_back(std::move(bytes));
    }
    changed_.NotifyAll();
    if (failed) return;
  }
}

}  // namespace exo::backend
