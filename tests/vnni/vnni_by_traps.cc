// Makes a processor with AVX2 run the AVX-VNNI kernels: it reports the instruction as there, and
// the illegal-instruction signal that it raises is answered with what Intel's manual says vpdpbusd
// and vpdpwssd (which compilers make of vpmaddwd and an addition) compute. Everything else of the
// kernels runs as it is, encodings included, so a test linked with this file checks the real
// instruction stream. Linux on x86-64 only; about a microsecond each.
//
// It stands in for kernels/x86/cpu_features.cc: the linker takes these three functions and leaves
// the library's away.
#include <cpuid.h>
#include <signal.h>
#include <ucontext.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "kernels/x86/cpu_features.h"

namespace exo::kernels::panel {

bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
}
bool HasAvxVnni() {
  return HasAvx2();
}
bool HasAvx512() {
  return false;
}

namespace {

// Where the kernel's signal frame keeps the vector registers: the low halves as FXSAVE has them,
// the high ones in the AVX part of XSAVE's uncompacted form.
constexpr size_t kLowHalves = 160;
constexpr size_t kPresent = 512;  // which parts were not in their initial state (all bits zero)
constexpr uint64_t kSse = 2, kAvx = 4;

size_t HighHalves() {
  static const size_t offset = [] {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    __get_cpuid_count(0xd, 2, &eax, &ebx, &ecx, &edx);
    return ebx;
  }();
  return offset;
}

class Registers {
 public:
  explicit Registers(const ucontext_t& context)
      : area_(reinterpret_cast<uint8_t*>(context.uc_mcontext.fpregs)) {
    uint64_t present = 0;
    std::memcpy(&present, area_ + kPresent, 8);
    if ((present & kAvx) == 0) std::memset(area_ + HighHalves(), 0, 16 * 16);
    if ((present & kSse) == 0) std::memset(area_ + kLowHalves, 0, 16 * 16);
    present |= kSse | kAvx;
    std::memcpy(area_ + kPresent, &present, 8);
  }
  void Read(size_t number, void* to) const {
    std::memcpy(to, area_ + kLowHalves + 16 * number, 16);
    std::memcpy(static_cast<uint8_t*>(to) + 16, area_ + HighHalves() + 16 * number, 16);
  }
  void Write(size_t number, const void* from) {
    std::memcpy(area_ + kLowHalves + 16 * number, from, 16);
    std::memcpy(area_ + HighHalves() + 16 * number, static_cast<const uint8_t*>(from) + 16, 16);
  }

 private:
  uint8_t* area_;
};

// VEX.256.66.0F38.W0 50 (vpdpbusd) or 52 (vpdpwssd) /r between registers, five bytes; the kernels
// have no other form.
struct DotProduct {
  bool words;
  size_t sum, first, second;

  static bool Decode(const uint8_t* at, DotProduct& out) {
    const bool is = at[0] == 0xc4 && (at[1] & 0x1f) == 2 && (at[2] & 0x87) == 0x05 &&
                    (at[3] == 0x50 || at[3] == 0x52) && at[4] >> 6 == 3;
    if (!is) return false;
    out.words = at[3] == 0x52;
    out.sum = (at[4] >> 3 & 7) | ((at[1] & 0x80) == 0 ? 8 : 0);
    out.first = ~at[2] >> 3 & 15;
    out.second = (at[4] & 7) | ((at[1] & 0x20) == 0 ? 8 : 0);
    return true;
  }
  // sum[i] += the dot of lane i, which wraps as the instruction does.
  void Add(const uint8_t (&a)[32], const uint8_t (&b)[32], uint32_t (&to)[8]) const {
    for (size_t i = 0; i < 32; ++i) {
      if (!words) to[i / 4] += static_cast<uint32_t>(a[i] * static_cast<int8_t>(b[i]));
      if (words && i % 2 == 0) to[i / 4] += static_cast<uint32_t>(Word(a + i) * Word(b + i));
    }
  }

 private:
  static int Word(const uint8_t* at) {
    int16_t word = 0;
    std::memcpy(&word, at, 2);
    return word;
  }
};

void OnIllegal(int number, siginfo_t*, void* context_pointer) {
  auto& context = *static_cast<ucontext_t*>(context_pointer);
  auto& at = context.uc_mcontext.gregs[REG_RIP];
  DotProduct op{};
  if (!DotProduct::Decode(reinterpret_cast<const uint8_t*>(at), op)) {
    std::signal(number, SIG_DFL);
    return;
  }
  Registers registers(context);
  uint32_t sum[8];
  uint8_t first[32], second[32];
  registers.Read(op.sum, sum);
  registers.Read(op.first, first);
  registers.Read(op.second, second);
  op.Add(first, second, sum);
  registers.Write(op.sum, sum);
  at += 5;
}

// Before the tests are listed: only this set is wanted, and of it what AVX2 does not have too. More
// (--gtest_filter=*) takes many minutes.
__attribute__((constructor(101))) void Install() {
  setenv("EXO_BEST_ISA", "avx-vnni", /*overwrite=*/1);
  setenv("GTEST_FILTER", "ChooseKernels.*:*NumericsId*:*RowsAndTokens*", /*overwrite=*/0);
  struct sigaction action{};
  action.sa_sigaction = OnIllegal;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGILL, &action, nullptr);
}

}  // namespace
}  // namespace exo::kernels::panel
