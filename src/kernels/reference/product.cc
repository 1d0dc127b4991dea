#include "kernels/reference/product.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/reference/tree.h"
#include "tensor/dequantize.h"
#include "tensor/float16.h"

namespace exo::kernels::reference {
namespace {

constexpr size_t kLeaf = 128;

float HalfAt(const std::byte* at) {
  return tensor::HalfToFloat(
      static_cast<uint16_t>(static_cast<uint16_t>(at[0]) | static_cast<uint16_t>(at[1]) << 8));
}

// A block's contribution. `sum` is exact; the conversion rounds to nearest even (only Q6_K sums
// with extreme sub-scales pass 2^24).
float Contribution(float weight_scale, float x_scale, int32_t sum) {
  const float scale = weight_scale * x_scale;
  return scale * static_cast<float>(sum);
}

// Code i of a block of 32, zero point removed.
int Code(tensor::DType type, const std::byte* block, size_t i) {
  if (type == tensor::DType::kQ8_0) return static_cast<int8_t>(block[2 + i]);
  const int byte = static_cast<int>(block[2 + i % 16]);
  return (i < 16 ? byte & 15 : byte >> 4) - 8;
}

float Block32(tensor::DType type, const std::byte* block, const int8_t* codes, float x_scale) {
  int32_t sum = 0;
  for (size_t i = 0; i < 32; ++i) sum += Code(type, block, i) * codes[i];
  return Contribution(HalfAt(block), x_scale, sum);
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
  const size_t block_bytes = tensor::Info(type).block_bytes;
  const auto leaf = [&](size_t index) {
    const size_t first = index * (kLeaf / 32);
    const size_t end = std::min(first + kLeaf / 32, blocks);
    const auto block = [&](size_t b) {
      return Block32(type, row + b * block_bytes, codes + 32 * b, scales[b]);
    };
    float sum = block(first);
    for (size_t b = first + 1; b < end; ++b) sum = sum + block(b);
    return sum;
  };
  return TreeSum(leaf, 0, (cols + kLeaf - 1) / kLeaf);
}

float DotQ6K(const std::byte* row, const int8_t* codes, const float* scales, size_t cols) {
  const auto leaf = [&](size_t index) {
    const std::byte* block = row + index / 2 * 210;
    int8_t weights[256];
    tensor::UnpackQ6K(block, weights);
    int32_t sum = 0;
    for (size_t i = 0; i < kLeaf; ++i) {
      const size_t k = index % 2 * kLeaf + i;
      const int sub_scale = static_cast<int8_t>(block[tensor::kQ6KScalesOffset + k / 16]);
      sum += sub_scale * weights[k] * codes[index * kLeaf + i];
    }
    return Contribution(HalfAt(block + tensor::kQ6KScaleOffset), scales[index], sum);
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
