// Opens the devices of this machine. The only way to a backend for the rest of the program: what is
// behind it (backend/cpu/, later others) is private.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "base/result.h"
#include "sys/thread_pool.h"

namespace exo::backend {

struct BackendOptions {
  std::string isa;                       // kernels::IsaName; empty: the best one
  unsigned threads = 0;                  // 0: the cores this process may use
  std::optional<uint64_t> memory_limit;  // bytes for stages; unset: what is free, less a reserve
  // Matrices of a prepared file move into memory of their own while they are used already.
  bool copy_prepared = true;
};

// Errors: kInvalid (no such instruction set), kUnsupported (this machine lacks it).
Result<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options);

// Threads with the right floating-point mode, for work beside stages: preparing and quantizing
// files. 0: the cores this process may use.
std::unique_ptr<sys::ThreadPool> MakeComputePool(unsigned threads);

}  // namespace exo::backend
