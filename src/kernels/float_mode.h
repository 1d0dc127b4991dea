// The floating-point mode of a thread: round to nearest, no flush to zero, no denormals-are-zero,
// all exceptions masked. Another library loaded with -ffast-math can change it (docs/arithmetic.md,
// rule 1).
#pragma once

namespace exo::kernels {

// Sets the mode of the calling thread (MXCSR = 0x1f80, FPCR = 0).
void SetFloatMode();
// True when the calling thread has the mode.
bool FloatModeIsRight();

}  // namespace exo::kernels
