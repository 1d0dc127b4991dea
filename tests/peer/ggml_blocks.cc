// Block formats beside the real llama.cpp: its library quantises random vectors and dequantises them and
// random block bytes; exo's dequantised values must be the same bits.
//
//   ggml_blocks PATH/libggml-base.so
//
// Prints a line per type; exit 1 at the first difference. The sign of a zero may differ: exo multiplies the
// integers of a super-block first. MXFP4 scales below 2^-24 are +0 in exo by rule 9.
#include <dlfcn.h>
#include <fmt/format.h>

#include <bit>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/random.h"
#include "tensor/blocks.h"
#include "tensor/dequantize.h"
#include "tensor/dtype.h"

namespace exo {
namespace {

using tensor::DType;
using tensor::DTypeInfo;

using Quantise = size_t (*)(int type, const float* src, void* dst, int64_t start, int64_t rows, int64_t per_row,
                            const float* importance);
using Dequantise = void (*)(const void* src, float* dst, int64_t count);

class Ggml {
 public:
  explicit Ggml(const char* path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) Fail(dlerror());
  }
  template <class Function>
  Function Find(const std::string& name) const {
    void* at = dlsym(handle_, name.c_str());
    if (at == nullptr) Fail(name);
    return reinterpret_cast<Function>(at);
  }

 private:
  [[noreturn]] static void Fail(const std::string& what) {
    fmt::print(stderr, "ggml_blocks: {}\n", what);
    std::exit(2);
  }
  void* handle_;
};

// dequantize_row_q4_K, dequantize_row_iq4_xs, ggml_fp16_to_fp32_row, …
std::string DequantiseName(const DTypeInfo& info) {
  if (info.type == DType::kF16) return "ggml_fp16_to_fp32_row";
  if (info.type == DType::kBF16) return "ggml_bf16_to_fp32_row";
  std::string name;
  for (const char c : info.name) name += c == 'K' ? c : static_cast<char>(std::tolower(c));
  return "dequantize_row_" + name;
}

constexpr size_t kBlocks = 512;

std::vector<float> Random(size_t n, Rng& rng) {
  std::vector<float> values(n);
  float size = 1;
  for (size_t i = 0; i < n; ++i) {
    if (i % 32 == 0) size = std::exp2f(static_cast<float>(rng.Below(24)) - 12.0f);
    values[i] = size * static_cast<float>(rng.Uniform() + rng.Uniform() + rng.Uniform() - 1.5);
  }
  return values;
}

std::vector<std::byte> RandomBytes(size_t n, Rng& rng) {
  std::vector<std::byte> bytes(n);
  for (std::byte& b : bytes) b = static_cast<std::byte>(rng.Next());
  return bytes;
}

bool SameValue(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (a == 0 && b == 0) || (std::isnan(a) && std::isnan(b));
}

bool BelowFloor(const DTypeInfo& info, const std::byte* block) {
  return info.type == DType::kMXFP4 && static_cast<uint8_t>(block[0]) < tensor::kMxfp4Floor;
}

// The number of values compared; exits at a difference.
size_t Compare(const DTypeInfo& info, Dequantise theirs, const std::vector<std::byte>& bytes) {
  const size_t count = bytes.size() / info.block_bytes * info.block_values;
  std::vector<float> expected(count), got(count);
  theirs(bytes.data(), expected.data(), static_cast<int64_t>(count));
  tensor::DequantizeRow(info.type, bytes.data(), count, got.data());
  for (size_t i = 0; i < count; ++i) {
    const std::byte* block = bytes.data() + i / info.block_values * info.block_bytes;
    const bool same = BelowFloor(info, block) ? got[i] == 0 : SameValue(expected[i], got[i]);
    if (!same) {
      fmt::print(stderr, "{}: value {} is {} (llama.cpp) and {} (exo)\n", info.name, i, expected[i], got[i]);
      std::exit(1);
    }
  }
  return count;
}

void CompareType(const Ggml& ggml, const DTypeInfo& info) {
  Rng rng(static_cast<uint64_t>(info.type) + 1);
  const auto theirs = ggml.Find<Dequantise>(DequantiseName(info));
  size_t compared = Compare(info, theirs, RandomBytes(kBlocks * info.block_bytes, rng));
  if (info.quantised) {
    const auto quantise = ggml.Find<Quantise>("ggml_quantize_chunk");
    const auto values = Random(kBlocks * info.block_values, rng);
    std::vector<std::byte> bytes(kBlocks * info.block_bytes);
    const size_t written = quantise(static_cast<int>(info.type), values.data(), bytes.data(), 0, 1,
                                    static_cast<int64_t>(values.size()), nullptr);
    if (written != bytes.size()) {
      fmt::print(stderr, "{}: llama.cpp wrote {} bytes, not {}\n", info.name, written, bytes.size());
      std::exit(1);
    }
    compared += Compare(info, theirs, bytes);
  }
  fmt::print("{}: {} values equal\n", info.name, compared);
}

}  // namespace
}  // namespace exo

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: ggml_blocks PATH/libggml-base.so\n");
    return 2;
  }
  const exo::Ggml ggml(argv[1]);
  for (const exo::tensor::DTypeInfo& info : exo::tensor::AllTypes()) {
    if (info.type != exo::tensor::DType::kF32) exo::CompareType(ggml, info);
  }
}
