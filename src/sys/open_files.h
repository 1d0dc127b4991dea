// How many files and sockets this process may have open.
#pragma once

#include <cstdint>

namespace exo::sys {

// Raises the limit to what the system allows this process, 65,536 at most, and gives it: many
// systems start programs with 1,024, of which each client and each link takes one.
uint64_t RaiseOpenFileLimit();

}  // namespace exo::sys
