// Block formats beside the real llama.cpp: its library quantizes random vectors and dequantizes
// them and random block bytes; exo's dequantized values must be the same bits. And exo's quantizer
// beside that one: on normal weights, and on those of each model's matrices whose rows are
// multiples of 256 values.
//
//   ggml_blocks PATH/libggml-base.so [MODEL.gguf ...]
//
// Prints a line per comparison; exit 1 at the first difference. The sign of a zero may differ: exo
// multiplies the integers of a super-block first. MXFP4 scales below 2^-24 are +0 in exo by rule 9.
#include <dlfcn.h>
#include <fmt/format.h>

#include <bit>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"
#include "model/gguf.h"
#include "tensor/blocks.h"
#include "tensor/dequantize.h"
#include "tensor/dtype.h"
#include "tensor/quantize.h"

namespace exo {
namespace {

using tensor::DType;
using tensor::DTypeInfo;

using Quantize = size_t (*)(int type, const float* src, void* dst, int64_t start, int64_t rows,
                            int64_t per_row, const float* importance);
using RequiresImportance = bool (*)(int type);
using Dequantize = void (*)(const void* src, float* dst, int64_t count);

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
std::string DequantizeName(const DTypeInfo& info) {
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
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (a == 0 && b == 0) ||
         (std::isnan(a) && std::isnan(b));
}

bool BelowFloor(const DTypeInfo& info, const std::byte* block) {
  return info.type == DType::kMXFP4 && static_cast<uint8_t>(block[0]) < tensor::kMxfp4Floor;
}

// The number of values compared; exits at a difference.
size_t Compare(const DTypeInfo& info, Dequantize theirs, const std::vector<std::byte>& bytes) {
  const size_t count = bytes.size() / info.block_bytes * info.block_values;
  std::vector<float> expected(count), got(count);
  theirs(bytes.data(), expected.data(), static_cast<int64_t>(count));
  tensor::DequantizeRow(info.type, bytes.data(), count, got.data());
  for (size_t i = 0; i < count; ++i) {
    const std::byte* block = bytes.data() + i / info.block_values * info.block_bytes;
    const bool same = BelowFloor(info, block) ? got[i] == 0 : SameValue(expected[i], got[i]);
    if (!same) {
      fmt::print(stderr, "{}: value {} is {} (llama.cpp) and {} (exo)\n", info.name, i, expected[i],
                 got[i]);
      std::exit(1);
    }
  }
  return count;
}

std::vector<std::byte> QuantizeWithGgml(const Ggml& ggml, const DTypeInfo& info,
                                        const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() / info.block_values * info.block_bytes);
  const std::vector<float> equal(values.size(), 1);  // some formats insist on importances
  const bool wanted =
      ggml.Find<RequiresImportance>("ggml_quantize_requires_imatrix")(static_cast<int>(info.type));
  const size_t written = ggml.Find<Quantize>("ggml_quantize_chunk")(
      static_cast<int>(info.type), values.data(), bytes.data(), 0, 1,
      static_cast<int64_t>(values.size()), wanted ? equal.data() : nullptr);
  if (written != bytes.size()) {
    fmt::print(stderr, "{}: llama.cpp wrote {} bytes, not {}\n", info.name, written, bytes.size());
    std::exit(1);
  }
  return bytes;
}

void CompareType(const Ggml& ggml, const DTypeInfo& info) {
  Rng rng(static_cast<uint64_t>(info.type) + 1);
  const auto theirs = ggml.Find<Dequantize>(DequantizeName(info));
  size_t compared = Compare(info, theirs, RandomBytes(kBlocks * info.block_bytes, rng));
  if (info.quantized) {
    const auto bytes = QuantizeWithGgml(ggml, info, Random(kBlocks * info.block_values, rng));
    compared += Compare(info, theirs, bytes);
  }
  fmt::print("{}: {} values equal\n", info.name, compared);
}

// Normal, by Box and Muller.
std::vector<float> Gaussian(size_t n, Rng& rng) {
  std::vector<float> values(n);
  for (float& value : values) {
    const double radius = std::sqrt(-2 * std::log(1 - rng.Uniform()));
    value =
        static_cast<float>(0.02 * radius * std::cos(2 * 3.14159265358979323846 * rng.Uniform()));
  }
  return values;
}

std::vector<float> ReadWeights(const char* path) {
  std::ifstream in(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  const auto file = std::as_bytes(std::span(bytes));
  const auto gguf = model::Gguf::Parse(file);
  std::vector<float> values;
  for (const model::GgufTensor& tensor :
       gguf ? gguf->tensors() : std::vector<model::GgufTensor>{}) {
    if (tensor.dims.size() != 2 || tensor.dims[0] % 256 != 0 || !tensor::FindDType(tensor.type))
      continue;
    const size_t begin = values.size(), count = tensor.dims[0] * tensor.dims[1];
    values.resize(begin + count);
    tensor::DequantizeRow(static_cast<DType>(tensor.type), file.data() + tensor.offset, count,
                          values.data() + begin);
  }
  if (values.empty()) {
    fmt::print(stderr, "ggml_blocks: no matrices with rows of 256 values in {}\n", path);
    std::exit(2);
  }
  return values;
}

double SquareError(const DTypeInfo& info, const std::vector<std::byte>& bytes,
                   const std::vector<float>& values) {
  std::vector<float> back(values.size());
  tensor::DequantizeRow(info.type, bytes.data(), back.size(), back.data());
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i)
    sum += std::pow(double{back[i]} - double{values[i]}, 2);
  return sum;
}

// Bytes of Q4_0 and Q8_0 must be the same; the error of the others may be larger by kLargerError.
constexpr double kLargerError = 0.02;

void CompareQuantizers(const Ggml& ggml, DType type, const std::vector<float>& values,
                       const char* what) {
  const DTypeInfo& info = tensor::Info(type);
  const auto theirs = QuantizeWithGgml(ggml, info, values);
  std::vector<std::byte> ours(theirs.size());
  if (const auto done = tensor::QuantizeRow(type, values, ours.data()); !done) {
    fmt::print(stderr, "{} of {}: {}\n", info.name, what, done.error().message);
    std::exit(1);
  }
  const double error = SquareError(info, theirs, values);
  const double ratio =
      error == 0 ? 1 : std::sqrt(SquareError(info, ours, values) / error);  // 0: Q8_0 again
  fmt::print("{} of {}: error {:.4f} of llama.cpp's{}\n", info.name, what, ratio,
             ours == theirs ? ", the same bytes" : "");
  if (info.block_values == 32 ? ours != theirs : !(ratio <= 1 + kLargerError)) {
    fmt::print(stderr, "{} of {} is worse than llama.cpp's\n", info.name, what);
    std::exit(1);
  }
}

}  // namespace
}  // namespace exo

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: ggml_blocks PATH/libggml-base.so [MODEL.gguf ...]\n");
    return 2;
  }
  const exo::Ggml ggml(argv[1]);
  for (const exo::tensor::DTypeInfo& info : exo::tensor::AllTypes()) {
    if (info.type != exo::tensor::DType::kF32) exo::CompareType(ggml, info);
  }
  for (const exo::tensor::DType type : exo::tensor::WritableTypes()) {
    if (!exo::tensor::Info(type).quantized) continue;
    exo::Rng rng(7);
    exo::CompareQuantizers(ggml, type, exo::Gaussian(256 * 1024, rng), "normal weights");
    for (int i = 2; i < argc; ++i)
      exo::CompareQuantizers(ggml, type, exo::ReadWeights(argv[i]), argv[i]);
  }
}
