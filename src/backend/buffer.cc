#include "backend/buffer.h"

#include "sys/memory.h"

namespace exo::backend {

Result<Buffer> Buffer::Allocate(size_t bytes) {
  Buffer buffer;
  if (bytes == 0) return buffer;
  buffer.data_ = TRY(sys::MapMemory(bytes));
  buffer.size_ = bytes;
  return buffer;
}

Buffer::~Buffer() {
  if (data_ != nullptr) sys::UnmapMemory(data_, size_);
}

}  // namespace exo::backend
