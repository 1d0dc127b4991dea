#include "kernels/reference/product.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/reference/tree.h"
#include "tensor/blocks.h"
#include "tensor/float16.h"

namespace exo::kernels::reference {
namespace {

constexpr size_t kLeaf = 128;

// A block's contribution. `sum` is exact; the conversion rounds to nearest even (only Q6_K sums
// with extreme sub-scales pass 2^24).
float Contribution(float weight_scale, float x_scale, int32_t sum) {
  const float scale = weight_scale * x_scale;
  return scale * static_cast<float>(sum);
}

// p, or p - t for types with a minimum.
float WithMinimum(bool minimum, float p, float weight_minimum, float x_scale, int32_t sum) {
  if (!minimum) return p;
  const float t = Contribution(weight_minimum, x_scale, sum);
  return p - t;
}

// The stored minimum of a 32-block is added to its values, so its integer is -sum.
float Contribution32(const tensor::DTypeInfo& type, const std::byte* at, const int8_t* codes,
                     float x_scale) {
  const tensor::Block32 block = tensor::ReadBlock32(type.type, at);
  int32_t dot = 0, sum = 0;
  for (size_t i = 0; i < 32; ++i) {
    dot += block.codes[i] * codes[i];
    sum += codes[i];
  }
  const float p = Contribution(block.scale, x_scale, dot);
  return WithMinimum(type.minimum, p, block.minimum, x_scale, -sum);
}

// Half `half` (128 values) of a super-block.
float Contribution128(const tensor::DTypeInfo& type, const tensor::Block256& block, size_t half,
                      const int8_t* codes, float x_scale) {
  int32_t dot = 0, sum = 0;
  for (size_t i = 0; i < kLeaf; ++i) {
    const size_t k = half * kLeaf + i;
    dot += block.sub_scales[k / 16] * block.codes[k] * codes[i];
    sum += block.sub_minima[k / 16] * codes[i];
  }
  const float p = Contribution(block.scale, x_scale, dot);
  return WithMinimum(type.minimum, p, block.minimum, x_scale, sum);
}

template <class Type>
Type ReadAt(const std::byte* row, size_t index) {
  Type value;
  std::copy_n(row + index * sizeof(Type), sizeof(Type), reinterpret_cast<std::byte*>(&value));
  return value;
}

float WeightAt(tensor::DType type, const std::byte* row, size_t k) {
  if (type == tensor::DType::kF32) return ReadAt<float>(row, k);
  const uint16_t bits = ReadAt<uint16_t>(row, k);
  return type == tensor::DType::kF16 ? tensor::HalfToFloat(bits) : tensor::Bf16ToFloat(bits);
}

}  // namespace

float DotQ8x32(tensor::DType type, const std::byte* row, const int8_t* codes, const float* scales,
               size_t cols) {
  const size_t blocks = cols / 32;
  const tensor::DTypeInfo& info = tensor::Info(type);
  const auto leaf = [&](size_t index) {
    const size_t first = index * (kLeaf / 32);
    const size_t end = std::min(first + kLeaf / 32, blocks);
    const auto block = [&](size_t b) {
      return Contribution32(info, row + b * info.block_bytes, codes + 32 * b, scales[b]);
    };
    float sum = block(first);
    for (size_t b = first + 1; b < end; ++b) sum = sum + block(b);
    return sum;
  };
  return TreeSum(leaf, 0, (cols + kLeaf - 1) / kLeaf);
}

float DotQ8x128(tensor::DType type, const std::byte* row, const int8_t* codes, const float* scales,
                size_t cols) {
  const tensor::DTypeInfo& info = tensor::Info(type);
  const auto leaf = [&](size_t index) {
    const auto block = tensor::ReadBlock256(type, row + index / 2 * info.block_bytes);
    return Contribution128(info, block, index % 2, codes + index * kLeaf, scales[index]);
  };
  return TreeSum(leaf, 0, cols / kLeaf);
}

float DotFloat(tensor::DType type, const std::byte* row, const float* x, size_t cols) {
  const auto leaf = [&](size_t index) {
    const size_t first = index * kLeaf;
    const size_t end = std::min(first + kLeaf, cols);
    float sum = WeightAt(type, row, first) * x[first];
    for (size_t k = first + 1; k < end; ++k) {
      const float product = WeightAt(type, row, k) * x[k];
      sum = sum + product;
    }
    return sum;
  };
  return TreeSum(leaf, 0, (cols + kLeaf - 1) / kLeaf);
}

}  // namespace exo::kernels::reference
