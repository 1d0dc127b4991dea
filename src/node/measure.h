// The micro-benchmark of a device: what the planner divides work by. About a second; the result is
// kept in the state file under the processor's name, instruction set and thread count, and measured
// anew when they change.
#pragma once

#include "base/result.h"
#include "kernels/kernels.h"
#include "store/state.h"
#include "sys/thread_pool.h"

namespace exo::node {

struct Speed {
  double decode_gbps =
      0;  // GB/s of Q4_0 weights streamed by a one-token product larger than the caches
  double prefill_gops = 0;  // 1e9 operations (2 per multiply-add) per second with 64 tokens
};

// Measures now. Cost: about 1 s and 100 MiB.
Result<Speed> MeasureSpeed(const kernels::Kernels& kernels, sys::ThreadPool& pool);
// From the state file when it fits, else measured and saved.
Result<Speed> KnownSpeed(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                         store::State& state);

}  // namespace exo::node
