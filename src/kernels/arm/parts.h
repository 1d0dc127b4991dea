// The parts of the Arm sets' tables, one per file. Three sets share everything but the integer
// products.
#pragma once

#include "kernels/panel/ops.h"

namespace exo::kernels::panel {

void FillNeonRows(Ops& ops);
void FillNeonFloats(Ops& ops);
void FillNeonAttention(Ops& ops);
void FillNeonDots(Ops& ops);
void FillDotprodDots(Ops& ops);
void FillI8mmDots(Ops& ops);

}  // namespace exo::kernels::panel
