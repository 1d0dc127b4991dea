// The kernel sets for x86-64: AVX-512, AVX-VNNI and AVX2.
#include <initializer_list>

#include "kernels/panel/panel_kernels.h"
#include "kernels/x86/cpu_features.h"

namespace exo::kernels::panel {
namespace {

// With AVX-512, AMD's family 19h is Zen 4.
void FillAvx512Decode(Ops& ops) {
  if (__builtin_cpu_is("amdfam19h")) FillAvx512DecodeZen4(ops);
}

Ops MakeOps(std::initializer_list<void (*)(Ops&)> parts) {
  Ops ops;
  for (const auto part : parts) part(ops);
  return ops;
}

}  // namespace

const Kernels* FindKernels(Isa isa) {
  if (isa == Isa::kAvx512 && HasAvx512()) {
    static const auto kernels =
        MakePanelKernels(isa, MakeOps({FillAvx512Dots32, FillAvx512Dots256, FillAvx512Floats,
                                       FillAvx512Rows, FillAvx512Attention, FillAvx512Decode}));
    return kernels.get();
  }
  if (isa == Isa::kAvxVnni && HasAvxVnni()) {
    static const auto kernels =
        MakePanelKernels(isa, MakeOps({FillAvxVnniDots32, FillAvxVnniDots256, FillAvx2Floats,
                                       FillAvx2Rows, FillAvx2Attention}));
    return kernels.get();
  }
  if (isa == Isa::kAvx2 && HasAvx2()) {
    static const auto kernels =
        MakePanelKernels(isa, MakeOps({FillAvx2Dots32, FillAvx2Dots256, FillAvx2Floats,
                                       FillAvx2Rows, FillAvx2Attention}));
    return kernels.get();
  }
  return nullptr;
}

}  // namespace exo::kernels::panel
