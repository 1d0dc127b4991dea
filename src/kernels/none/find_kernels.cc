// For processors without a kernel set of their own: the reference alone.
#include "kernels/panel/panel_kernels.h"

namespace exo::kernels::panel {

const Kernels* FindKernels(Isa) {
  return nullptr;
}

}  // namespace exo::kernels::panel
