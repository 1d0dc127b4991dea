#include "kernels/x86/x86_kernels.h"

namespace exo::kernels::x86 {
const Kernels* FindKernels(Isa) { return nullptr; }
}  // namespace exo::kernels::x86
