// The micro-benchmark of the CPU: what the planner divides work by.
#pragma once

#include "backend/backend.h"
#include "base/result.h"
#include "kernels/kernels.h"
#include "sys/thread_pool.h"

namespace exo::backend {

// Backend::MeasureSpeed on these threads.
Result<Speed> MeasureSpeed(const kernels::Kernels& kernels, sys::ThreadPool& pool);

}  // namespace exo::backend
