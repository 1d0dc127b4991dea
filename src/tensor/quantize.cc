// The check of a row, its blocks, and the formats with one scale for 32 values.
#include "tensor/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "tensor/float16.h"
#include "tensor/quantize_super.h"

namespace exo::tensor {
namespace {

constexpr DType kWritable[] = {DType::kQ4_0, DType::kQ8_0, DType::kQ4_K, DType::kQ5_K,
                               DType::kQ6_K, DType::kF32,  DType::kF16,  DType::kBF16};

void WriteHalf(uint16_t half, std::byte* out) {
  out[0] = static_cast<std::byte>(half & 255);
  out[1] = static_cast<std::byte>(half >> 8);
}

// Writes the scale and yields what values are multiplied by: 0 when it is zero as f16.
float WriteScale(float scale, std::byte* out) {
  const uint16_t half = FloatToHalf(scale);
  WriteHalf(half, out);
  return (half & 0x7fff) == 0 ? 0 : 1 / scale;
}

// The value of largest magnitude gets code 0 (-8 times the scale), so that all 16 codes are used.
void QuantizeQ4_0(const float* x, std::byte* out) {
  const float inverse = WriteScale(Extreme({x, 32}) / -8, out);
  const auto code = [&](float value) {
    return std::min(15, static_cast<int>(value * inverse + 8.5f));
  };
  for (size_t i = 0; i < 16; ++i) {
    out[2 + i] = static_cast<std::byte>(code(x[i]) | code(x[i + 16]) << 4);
  }
}

void QuantizeQ8_0(const float* x, std::byte* out) {
  const float inverse = WriteScale(std::abs(Extreme({x, 32})) / 127, out);
  for (size_t i = 0; i < 32; ++i) {
    out[2 + i] = static_cast<std::byte>(static_cast<int8_t>(std::round(x[i] * inverse)));
  }
}

void QuantizeBlock(DType type, const float* x, std::byte* out) {
  switch (type) {
    case DType::kQ4_0:
      return QuantizeQ4_0(x, out);
    case DType::kQ8_0:
      return QuantizeQ8_0(x, out);
    case DType::kQ4_K:
    case DType::kQ5_K:
      return QuantizeScaleMinimum(type, x, out);
    case DType::kQ6_K:
      return QuantizeScale(x, out);
    case DType::kF32:
      std::memcpy(out, x, sizeof(float));
      return;
    case DType::kF16:
      return WriteHalf(FloatToHalf(*x), out);
    case DType::kBF16:
      return WriteHalf(FloatToBf16(*x), out);
    default:
      internal::CheckFailed(__FILE__, __LINE__, "not a writable type");
  }
}

}  // namespace

float Extreme(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  return *std::ranges::find_if(values, [&](float value) { return std::abs(value) == largest; });
}

std::span<const DType> WritableTypes() {
  return kWritable;
}

Result<void> QuantizeRow(DType type, std::span<const float> row, std::byte* out) {
  const DTypeInfo& info = Info(type);
  CHECK_EQ(row.size() % info.block_values, 0u);
  for (size_t i = 0; i < row.size(); ++i) {
    if (!(std::abs(row[i]) <= kLargestWeight)) {
      return Fail(ErrorCode::kInvalid, "value {} is {}: weights are finite and at most {}", i,
                  row[i], kLargestWeight);
    }
  }
  std::fill_n(out, row.size() / info.block_values * info.block_bytes, std::byte{0});
  for (size_t k = 0; k < row.size(); k += info.block_values, out += info.block_bytes) {
    QuantizeBlock(type, row.data() + k, out);
  }
  return {};
}

}  // namespace exo::tensor
