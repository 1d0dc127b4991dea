#include "kernels/float_mode.h"

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace exo::kernels {

#if defined(__x86_64__)

// Masks for every exception, rounding to nearest, neither FTZ nor DAZ; the low six bits are flags
// that any operation may set.
constexpr uint32_t kMxcsr = 0x1f80;
constexpr uint32_t kMxcsrFlags = 0x3f;

void SetFloatMode() {
  _mm_setcsr(kMxcsr);
}
bool FloatModeIsRight() {
  return (_mm_getcsr() & ~kMxcsrFlags) == kMxcsr;
}

#elif defined(__aarch64__)

void SetFloatMode() {
  const uint64_t mode = 0;
  asm volatile("msr fpcr, %0" : : "r"(mode));
}
bool FloatModeIsRight() {
  uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode == 0;
}

#else  // WebAssembly and others have one mode only

void SetFloatMode() {}
bool FloatModeIsRight() {
  return true;
}

#endif

}  // namespace exo::kernels
