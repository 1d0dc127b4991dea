// Memory straight from the system: whole pages, zero until touched, given back at once when freed.
#pragma once

#include <cstddef>

#include "base/result.h"

namespace exo::sys {

// Bytes of a page: 4, 16 or 64 KiB.
size_t PageSize();

// `bytes` > 0, aligned to a page, from 2 MiB on to a huge page and in huge pages where the system
// has them. Errors: kOverloaded with the size when the system refuses.
Result<std::byte*> MapMemory(size_t bytes);
// Of MapMemory, with the same size.
void UnmapMemory(std::byte* data, size_t bytes);

}  // namespace exo::sys
