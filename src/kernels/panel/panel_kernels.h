// A kernel set over packed panels: the class that x86 and Arm share. An instruction set's folder
// fills a table of functions (ops.h) and wraps it here; kernels/none stands in where no folder fits
// the processor.
#pragma once

#include <memory>

#include "kernels/kernels.h"
#include "kernels/panel/ops.h"

namespace exo::kernels::panel {

std::unique_ptr<const Kernels> MakePanelKernels(Isa isa, const Ops& ops);

// The set for an instruction set, or null when this machine or build lacks it. Defined by the
// folder of the processor that is built for (x86, arm, none).
const Kernels* FindKernels(Isa isa);

}  // namespace exo::kernels::panel
