#include "backend/buffer.h"

#include <sys/mman.h>

#include "base/units.h"

namespace exo::backend {

namespace {

constexpr size_t kHugePage = 2 * kMiB;
constexpr size_t kPage = 4096;

}  // namespace

Result<Buffer> Buffer::Allocate(size_t bytes) {
  Buffer buffer;
  if (bytes == 0) return buffer;
  // A huge page needs its place: what the system gives may begin anywhere, so more is taken and
  // cut.
  const bool huge = bytes >= kHugePage;
  const size_t pages = RoundUp(bytes, kPage);
  const size_t mapped = huge ? pages + kHugePage : pages;
  void* at = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    return Fail(ErrorCode::kOverloaded, "the system has no {} of memory left", FormatSize(bytes));
  }
  auto* data = static_cast<std::byte*>(at);
  if (huge) {
    const auto address = reinterpret_cast<uintptr_t>(data);
    const size_t before = RoundUp(address, kHugePage) - address;
    const size_t behind = kHugePage - before;
    if (before > 0) ::munmap(data, before);
    data += before;
    if (behind > 0) ::munmap(data + pages, behind);
    ::madvise(data, pages, MADV_HUGEPAGE);
  }
  buffer.data_ = data;
  buffer.size_ = bytes;
  return buffer;
}

Buffer::~Buffer() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace exo::backend
