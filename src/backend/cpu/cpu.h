// The CPU backend: kernels of one instruction set over a thread pool.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "kernels/kernels.h"
#include "sys/thread_pool.h"

namespace exo::backend {

// `kernels` and `pool` must outlive the backend and its stages. The pool's workers have called
// kernels::SetFloatMode (MakeComputePool does).
std::unique_ptr<Backend> MakeCpuBackend(const kernels::Kernels& kernels, sys::ThreadPool& pool);

// A pool whose workers have the right floating-point mode.
std::unique_ptr<sys::ThreadPool> MakeComputePool(unsigned threads);

}  // namespace exo::backend
