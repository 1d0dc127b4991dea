// Speed of the kernel sets, one thread. Names: operation/type/isa/K/tokens.
//   prefill  a small matrix against many tokens, panel after panel: GOP/s (2 per multiply-add)
//   decode   a matrix much larger than the caches against few tokens: GB/s of packed weights
//   read     the pure read bandwidth of the moment, the limit for decode
// The machine is usually shared: run with --benchmark_repetitions=5 and take the best.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/random.h"
#include "kernels/float_mode.h"
#include "kernels/kernels.h"
#include "tensor/blocks.h"
#include "tensor/float16.h"

namespace exo::kernels {
namespace {

using tensor::DType;

// Zeroed memory in huge pages where the system has them.
class Memory {
 public:
  explicit Memory(size_t bytes) : bytes_(((bytes >> 21) + 2) << 21) {
    void* at = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    base_ = at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
    const auto address = reinterpret_cast<uintptr_t>(base_);
    data_ = base_ + ((address + (2 << 20) - 1) / (2 << 20) * (2 << 20) - address);
    madvise(data_, bytes_ - (2 << 20), MADV_HUGEPAGE);
  }
  ~Memory() { munmap(base_, bytes_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  std::byte* data() { return data_; }

 private:
  size_t bytes_;
  std::byte* base_;
  std::byte* data_;
};

std::vector<float> Values(size_t n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(rng.Uniform() * 2 - 1);
  return x;
}

// Sixteen rows of valid weights, to be packed as often as the matrix needs.
std::vector<std::byte> PanelRows(DType type, size_t cols) {
  const tensor::DTypeInfo& info = tensor::Info(type);
  std::vector<std::byte> rows(16 * cols / info.block_values * info.block_bytes);
  Rng rng(1);
  for (std::byte& b : rows) b = static_cast<std::byte>(rng.Next());
  for (size_t at = 0; at < rows.size(); at += info.block_bytes) {
    const uint16_t small = static_cast<uint16_t>(0x1c00 + rng.Below(1024));
    const auto value = static_cast<float>(rng.Uniform() - 0.5);
    if (type == DType::kF32) std::memcpy(rows.data() + at, &value, 4);
    const uint16_t bf16 = tensor::FloatToBf16(value);
    if (type == DType::kBF16) std::memcpy(rows.data() + at, &bf16, 2);
    if (type == DType::kMXFP4)
      rows[at] = std::byte{120};
    else if (type == DType::kF16 || info.quantized)
      tensor::SetScale(type, small, rows.data() + at);
    if (info.minimum) std::memcpy(rows.data() + at + tensor::ScaleOffset(type) + 2, &small, 2);
  }
  return rows;
}

struct Matrix {
  Matrix(const Kernels& k, DType type, size_t rows, size_t cols)
      : memory(k.PackedBytes(type, rows, cols)), weights{type, rows, cols, memory.data()} {
    const auto source = PanelRows(type, cols);
    const size_t panel = k.PackedBytes(type, 16, cols);
    for (size_t p = 0; p < weights.panels(); ++p) {
      if (p == 0) {
        k.Pack(type, 16, cols, 0, 1, source.data(), memory.data());
      } else {
        std::memcpy(memory.data() + p * panel, memory.data(), panel);
      }
    }
  }
  Memory memory;
  Weights weights;
};

void Products(benchmark::State& state, const Kernels* k, DType type, size_t rows, size_t cols,
              size_t tokens, bool bytes) {
  SetFloatMode();
  Matrix matrix(*k, type, rows, cols);
  const ActivationKind kind = KindFor(type);
  const auto x = Values(tokens * cols, 2);
  Memory prepared(k->ActivationBytes(kind, tokens, cols));
  k->Prepare(kind, x.data(), cols, tokens, cols, 0, tokens, prepared.data());
  Memory out(tokens * rows * sizeof(float));
  for (auto _ : state) {
    k->MatMul(matrix.weights, {kind, tokens, cols, prepared.data()}, 0, matrix.weights.panels(),
              reinterpret_cast<float*>(out.data()), rows, false);
  }
  const double work = bytes ? static_cast<double>(k->PackedBytes(type, rows, cols))
                            : 2.0 * static_cast<double>(rows * cols * tokens);
  state.counters[bytes ? "GB/s" : "GOP/s"] =
      benchmark::Counter(1e-9 * work, benchmark::Counter::kIsIterationInvariantRate);
}

using Words = uint64_t __attribute__((vector_size(32)));

// One ascending pass of 32-byte loads in 4 chains.
__attribute__((target("avx2"))) uint64_t ReadAll(const std::byte* from, size_t bytes) {
  const auto* p = reinterpret_cast<const Words*>(from);
  Words sums[4] = {};
  for (size_t i = 0; i < bytes / sizeof(Words); i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j % 4] ^= p[i + j];
  }
  const Words sum = sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
  return sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
}

void Read(benchmark::State& state) {
  constexpr size_t kBytes = 128 << 20;
  Memory memory(kBytes);
  std::memset(memory.data(), 1, kBytes);
  for (auto _ : state) benchmark::DoNotOptimize(ReadAll(memory.data(), kBytes));
  state.counters["GB/s"] =
      benchmark::Counter(1e-9 * kBytes, benchmark::Counter::kIsIterationInvariantRate);
}

void Preparation(benchmark::State& state, const Kernels* k, ActivationKind kind, bool norm) {
  constexpr size_t kCols = 2048, kTokens = 64;
  const auto x = Values(kTokens * kCols, 3);
  const auto gain = Values(kCols, 4);
  Memory out(k->ActivationBytes(kind, kTokens, kCols));
  for (auto _ : state) {
    if (norm) {
      k->NormPrepare(kind, x.data(), kCols, gain.data(), 1e-5f, kTokens, kCols, 0, kTokens,
                     out.data());
    } else {
      k->Prepare(kind, x.data(), kCols, kTokens, kCols, 0, kTokens, out.data());
    }
  }
  state.counters["ns/32"] = benchmark::Counter(
      1e-9 * kCols * kTokens / 32,
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void Silu(benchmark::State& state, const Kernels* k) {
  constexpr size_t kN = 8192;
  const auto x = Values(kN, 3);
  std::vector<float> out(kN);
  for (auto _ : state) k->SiluMul(x.data(), x.data(), kN, out.data());
  state.counters["Gvalues/s"] =
      benchmark::Counter(1e-9 * kN, benchmark::Counter::kIsIterationInvariantRate);
}

// One layer of 8 KV heads; decode: GB/s of cache read, prefill: GFLOP/s of both products.
void Attend(benchmark::State& state, const Kernels* k, KvType type, size_t dim, size_t group,
            size_t positions, size_t tokens) {
  SetFloatMode();
  constexpr size_t kHeads = 8;
  const size_t part = kKvPage / kKvTile * KvTileBytes(type, dim);  // keys of a page
  const size_t count = positions / kKvPage;
  const size_t bytes = count * part;
  Memory cache(2 * kHeads * bytes);
  const auto x = Values(positions * dim, 5);
  KvHead heads[kHeads];
  std::vector<std::byte*> pages(kHeads * count);
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = cache.data() + 2 * i * part;
  for (size_t h = 0; h < kHeads; ++h) {
    heads[h] = {
        .type = type, .head_dim = dim, .pages = pages.data() + h * count, .k = 0, .v = part};
    for (size_t p = 0; p < positions; ++p)
      k->StoreKv(heads[h], p, x.data() + p * dim, x.data() + p * dim);
  }
  Memory scratch(k->AttentionScratchBytes(positions, group, dim));
  const size_t stride = group * dim;
  const auto q = Values(tokens * stride, 6);
  std::vector<float> out(tokens * stride);
  for (auto _ : state) {
    for (const KvHead& head : heads) {
      k->Attention(head,
                   {.first = positions - tokens, .tokens = tokens, .group = group, .scale = 0.125f},
                   q.data(), stride, scratch.data(), out.data(), stride);
    }
  }
  const double pairs = static_cast<double>(tokens * (2 * positions - tokens + 1)) / 2;
  const double work = tokens == 1 ? static_cast<double>(2 * kHeads * bytes)
                                  : 4.0 * static_cast<double>(kHeads * group * dim) * pairs;
  state.counters[tokens == 1 ? "GB/s" : "GFLOP/s"] =
      benchmark::Counter(1e-9 * work, benchmark::Counter::kIsIterationInvariantRate);
}

template <class F>
void Register(const std::string& name, F f) {
  benchmark::RegisterBenchmark(name.c_str(), f)->Unit(benchmark::kMillisecond);
}

void RegisterSet(const Kernels* k) {
  const std::string isa(IsaName(k->isa()));
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    const DType type = info.type;
    const std::string tail = "/" + std::string(info.name) + "/" + isa;
    for (const size_t cols : {2048, 8192}) {
      const std::string shape = "/K" + std::to_string(cols) + "/tokens512";
      Register("prefill" + tail + shape, [=](benchmark::State& s) {
        Products(s, k, type, tensor::Info(type).quantized ? 2048 : 512, cols, 512, false);
      });
    }
    for (const size_t tokens : {1, 2, 4, 8, 16}) {
      Register(
          "decode" + tail + "/K2048/tokens" + std::to_string(tokens),
          [=](benchmark::State& s) { Products(s, k, type, 192 << 20 >> 11, 2048, tokens, true); });
    }
  }
  for (const bool norm : {false, true}) {
    const std::string name = norm ? "norm_prepare/" : "prepare/";
    Register(name + "q8x32/" + isa,
             [=](benchmark::State& s) { Preparation(s, k, ActivationKind::kQ8x32, norm); });
    Register(name + "q8x128/" + isa,
             [=](benchmark::State& s) { Preparation(s, k, ActivationKind::kQ8x128, norm); });
    Register(name + "float/" + isa,
             [=](benchmark::State& s) { Preparation(s, k, ActivationKind::kFloat, norm); });
  }
  Register("silu_mul/" + isa, [=](benchmark::State& s) { Silu(s, k); });
  for (const KvType type : {KvType::kF16, KvType::kF32, KvType::kQ8_0}) {
    for (const size_t dim : {64, 128}) {
      for (const size_t positions : {4096, 16384}) {
        const std::string name = "/" + std::string(KvTypeName(type)) + "/" + isa + "/dim" +
                                 std::to_string(dim) + "/positions" + std::to_string(positions);
        Register("attention_decode" + name,
                 [=](benchmark::State& s) { Attend(s, k, type, dim, 4, positions, 1); });
        Register("attention_prefill" + name,
                 [=](benchmark::State& s) { Attend(s, k, type, dim, 4, positions, 64); });
      }
    }
  }
}

}  // namespace
}  // namespace exo::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  exo::kernels::Register("read", exo::kernels::Read);
  for (const auto isa : exo::kernels::kIsas) {
    if (isa == exo::kernels::Isa::kReference) continue;
    if (const auto set = exo::kernels::KernelsFor(isa)) exo::kernels::RegisterSet(*set);
  }
  benchmark::RunSpecifiedBenchmarks();
}
