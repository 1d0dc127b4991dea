// The kernel sets for x86-64: AVX2 (with F16C) and AVX-512 (F, BW, VL, DQ, VNNI).
#include <initializer_list>

#include "kernels/panel/panel_kernels.h"

namespace exo::kernels::panel {
namespace {

bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
}
bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

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
  if (isa == Isa::kAvx2 && HasAvx2()) {
    static const auto kernels =
        MakePanelKernels(isa, MakeOps({FillAvx2Dots32, FillAvx2Dots256, FillAvx2Floats,
                                       FillAvx2Rows, FillAvx2Attention}));
    return kernels.get();
  }
  return nullptr;
}

}  // namespace exo::kernels::panel
