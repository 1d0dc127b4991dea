#include "backend/devices.h"

#include "backend/cpu/cpu.h"
#include "kernels/float_mode.h"
#include "sys/system.h"

namespace exo::backend {

Result<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options) {
  const kernels::Kernels* kernels = TRY(kernels::ChooseKernels(options.isa));
  return OpenCpu(*kernels, MakeComputePool(options.threads), options);
}

std::unique_ptr<sys::ThreadPool> MakeComputePool(unsigned threads) {
  return std::make_unique<sys::ThreadPool>(threads == 0 ? sys::UsableCores() : threads,
                                           [] { kernels::SetFloatMode(); });
}

}  // namespace exo::backend
