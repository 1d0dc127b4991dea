#include "sys/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#include "base/units.h"

namespace exo::sys {
namespace {

constexpr size_t kHugePage = 2 * kMiB;

}  // namespace

size_t PageSize() {
  static const auto size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

Result<std::byte*> MapMemory(size_t bytes) {
  // Huge pages need 2 MiB alignment, which mmap does not guarantee: over-allocate, then trim.
  const bool huge = bytes >= kHugePage;
  const size_t pages = RoundUp(bytes, PageSize());
  const size_t mapped = huge ? pages + kHugePage : pages;
  void* at = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    return Fail(ErrorCode::kOverloaded, "the system has no {} of memory left", FormatSize(bytes));
  }
  auto* data = static_cast<std::byte*>(at);
  if (!huge) return data;
  const auto address = reinterpret_cast<uintptr_t>(data);
  const size_t before = RoundUp(address, kHugePage) - address;
  const size_t behind = kHugePage - before;
  if (before > 0) ::munmap(data, before);
  data += before;
  if (behind > 0) ::munmap(data + pages, behind);
  ::madvise(data, pages, MADV_HUGEPAGE);
  return data;
}

void UnmapMemory(std::byte* data, size_t bytes) {
  ::munmap(data, RoundUp(bytes, PageSize()));
}

}  // namespace exo::sys
