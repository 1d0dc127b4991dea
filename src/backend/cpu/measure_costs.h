// What formats and layers cost this processor beside a product with Q4_0.
#pragma once

#include "backend/backend.h"
#include "base/result.h"
#include "kernels/kernels.h"
#include "sys/thread_pool.h"

namespace exo::backend {

// Backend::MeasureCosts on these threads; `backend` loads the layers that are measured, on them
// too.
Result<WorkCosts> MeasureCosts(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                               Backend& backend);

}  // namespace exo::backend
