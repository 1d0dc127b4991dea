// The kernel sets for 64-bit Arm: NEON, which every such processor has, with the dot product
// instructions (dotprod), and with the matrix products of bytes (i8mm). User programs cannot read
// the processor's feature registers everywhere, so Linux is asked; elsewhere plain NEON is used.
#include "kernels/arm/parts.h"
#include "kernels/panel/panel_kernels.h"

#if defined(__linux__)
#include <sys/auxv.h>
#endif

namespace exo::kernels::panel {
namespace {

#if defined(__linux__)
// Bits of the kernel's interface (asm/hwcap.h: ASIMDDP, I8MM).
bool HasDotprod() {
  return (getauxval(AT_HWCAP) >> 20 & 1) != 0;
}
bool HasI8mm() {
  return HasDotprod() && (getauxval(AT_HWCAP2) >> 13 & 1) != 0;
}
#else
bool HasDotprod() {
  return false;
}
bool HasI8mm() {
  return false;
}
#endif

std::unique_ptr<const Kernels> Make(Isa isa, void (*fill_dots)(Ops&)) {
  Ops ops;
  fill_dots(ops);
  FillNeonFloats(ops);
  FillNeonRows(ops);
  FillNeonAttention(ops);
  return MakePanelKernels(isa, ops);
}

}  // namespace

const Kernels* FindKernels(Isa isa) {
  if (isa == Isa::kNeonI8mm && HasI8mm()) {
    static const auto kernels = Make(isa, FillI8mmDots);
    return kernels.get();
  }
  if (isa == Isa::kNeonDotprod && HasDotprod()) {
    static const auto kernels = Make(isa, FillDotprodDots);
    return kernels.get();
  }
  if (isa == Isa::kNeon) {
    static const auto kernels = Make(isa, FillNeonDots);
    return kernels.get();
  }
  return nullptr;
}

}  // namespace exo::kernels::panel
