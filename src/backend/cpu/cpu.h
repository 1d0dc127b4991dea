// The CPU backend: kernels of one instruction set over a thread pool.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/devices.h"
#include "kernels/kernels.h"
#include "sys/thread_pool.h"

namespace exo::backend {

// `kernels` and `pool` must outlive the backend and its stages. The pool's workers have called
// kernels::SetFloatMode (MakeComputePool does).
std::unique_ptr<Backend> MakeCpuBackend(const kernels::Kernels& kernels, sys::ThreadPool& pool);

// The same with a pool of its own; of `options` the memory limit and whether prepared matrices are
// copied.
std::unique_ptr<Backend> OpenCpu(const kernels::Kernels& kernels,
                                 std::unique_ptr<sys::ThreadPool> pool,
                                 const BackendOptions& options);

}  // namespace exo::backend
