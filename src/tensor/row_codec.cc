#include "tensor/row_codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "base/check.h"
#include "tensor/float16.h"

namespace exo::tensor {
namespace {

constexpr size_t kUnitBytes = sizeof(float);
constexpr size_t kOutlierBytes = 2 * sizeof(uint16_t);
constexpr uint32_t kMagnitude = 0x7fffffff;
constexpr uint32_t kInfinity = 0x7f800000;
// Rows below this are zero (docs/arithmetic.md, rule 2).
constexpr uint32_t kSmallest = (127u - 64) << 23;
// The largest value of a row in units has this exponent: below the largest f16 with room to round.
constexpr uint32_t kUnitExponent = 14;
// Exponent fields of the units of all rows that are not zero.
constexpr uint32_t kLeastUnit = (kSmallest >> 23) - kUnitExponent;
constexpr uint32_t kMostUnit = (kInfinity >> 23) - 1 - kUnitExponent;

uint32_t MagnitudeOf(float value) {
  return std::bit_cast<uint32_t>(value) & kMagnitude;
}

size_t CodeBytes(RowCodec codec) {
  return codec == RowCodec::kInt8 ? kWireGroup : kWireGroup / 2;
}

size_t GroupsOf(size_t width) {
  return (width + kWireGroup - 1) / kWireGroup;
}

template <class T>
std::byte* Put(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof(value));
  return at + sizeof(value);
}
template <class T>
T Get(const std::byte*& at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  at += sizeof(value);
  return value;
}

// To the nearest whole number, ties to even; |x| < 2^22.
float Nearest(float x) {
  constexpr float kShift = 12582912.0f;  // 1.5 x 2^23: no fraction is left behind it
  const float shifted = x + kShift;
  return shifted - kShift;
}

// Codes rows of one width; its memory serves one row after the other.
class RowCoder {
 public:
  RowCoder(RowCodec codec, size_t width) : codec_(codec), scaled_(width) {}

  void Code(std::span<const float> row, std::byte* out) {
    uint32_t largest = 0;
    for (const float value : row) largest = std::max(largest, MagnitudeOf(value));
    if (largest >= kInfinity) {
      out = Put(out, std::numeric_limits<float>::quiet_NaN());
      std::memset(out, 0, CodedRowBytes(codec_, row.size()) - kUnitBytes);
      return;
    }
    if (largest < kSmallest) {
      out = Put(out, 1.0f);
      std::ranges::fill(scaled_, 0.0f);
    } else {
      const uint32_t unit = (largest >> 23) - kUnitExponent;
      out = Put(out, std::bit_cast<float>(unit << 23));
      const auto inverse = std::bit_cast<float>((254 - unit) << 23);
      for (size_t i = 0; i < row.size(); ++i) scaled_[i] = row[i] * inverse;
    }
    if (codec_ == RowCodec::kF16) {
      for (const float value : scaled_) out = Put(out, FloatToHalf(value));
      return;
    }
    out = TakeOutliers(out);
    for (size_t first = 0; first < scaled_.size(); first += kWireGroup)
      out = CodeGroup(std::span(scaled_).subspan(first), out);
  }

 private:
  // The largest values, of equal ones the first: written, and zero for their groups.
  std::byte* TakeOutliers(std::byte* out) {
    const size_t count = OutliersOf(scaled_.size());
    outliers_.clear();
    for (size_t i = 0; i < scaled_.size(); ++i) {
      const uint32_t magnitude = MagnitudeOf(scaled_[i]);
      const bool full = outliers_.size() == count;
      if (full && magnitude <= outliers_.back().magnitude) continue;
      if (full) outliers_.pop_back();
      const auto at =
          std::ranges::upper_bound(outliers_, magnitude, std::greater<>{}, &Outlier::magnitude);
      outliers_.insert(at, {magnitude, static_cast<uint16_t>(i)});
    }
    std::ranges::sort(outliers_, {}, &Outlier::channel);
    for (const Outlier& outlier : outliers_) {
      float& value = scaled_[outlier.channel];
      out = Put(out, outlier.channel);
      out = Put(out, FloatToHalf(value));
      value = 0;
    }
    return out;
  }

  // The first group of `values`, or what is left of them.
  std::byte* CodeGroup(std::span<const float> values, std::byte* out) {
    values = values.first(std::min(values.size(), kWireGroup));
    uint32_t largest = 0;
    for (const float value : values) largest = std::max(largest, MagnitudeOf(value));
    const float most = codec_ == RowCodec::kInt8 ? 127 : 7;
    const uint16_t half = FloatToHalf(std::bit_cast<float>(largest) / most);
    out = Put(out, half);
    float codes[kWireGroup] = {};
    if (half != 0) {
      const float inverse = 1.0f / HalfToFloat(half);
      for (size_t i = 0; i < values.size(); ++i)
        codes[i] = std::clamp(Nearest(values[i] * inverse), -most, most);
    }
    if (codec_ == RowCodec::kInt8) {
      for (size_t i = 0; i < kWireGroup; ++i)
        out[i] = static_cast<std::byte>(static_cast<int8_t>(codes[i]));
    } else {
      for (size_t i = 0; i < kWireGroup / 2; ++i) {
        const int low = static_cast<int>(codes[i]) + 8;
        const int high = static_cast<int>(codes[i + kWireGroup / 2]) + 8;
        out[i] = static_cast<std::byte>(low | high << 4);
      }
    }
    return out + CodeBytes(codec_);
  }

  struct Outlier {
    uint32_t magnitude;
    uint16_t channel;
  };
  const RowCodec codec_;
  std::vector<float> scaled_;  // in units
  std::vector<Outlier> outliers_;
};

// Errors: one that no row has.
Result<float> ReadUnit(const std::byte*& at) {
  const auto bits = Get<uint32_t>(at);
  if (bits == std::bit_cast<uint32_t>(std::numeric_limits<float>::quiet_NaN()))
    return std::bit_cast<float>(bits);
  const uint32_t exponent = bits >> 23;
  if ((bits & 0x7fffff) != 0 || exponent < kLeastUnit || exponent > kMostUnit)
    return Fail(ErrorCode::kCorrupt, "a coded row has a unit of bits {:08x}", bits);
  return std::bit_cast<float>(bits);
}

Result<float> ReadHalf(const std::byte*& at) {
  const auto half = Get<uint16_t>(at);
  if ((half & 0x7c00) == 0x7c00)
    return Fail(ErrorCode::kCorrupt, "a coded row has an f16 of bits {:04x}", half);
  return HalfToFloat(half);
}

void DecodeGroup(RowCodec codec, float scale, const std::byte* codes, std::span<float> out) {
  constexpr size_t kHalf = kWireGroup / 2;
  for (size_t i = 0; i < out.size(); ++i) {
    int code = 0;
    if (codec == RowCodec::kInt8) {
      code = static_cast<int8_t>(codes[i]);
    } else {
      const auto both = static_cast<uint8_t>(codes[i % kHalf]);
      code = (i < kHalf ? both & 15 : both >> 4) - 8;
    }
    out[i] = scale * static_cast<float>(code);
  }
}

Result<void> DecodeGroups(RowCodec codec, float unit, const std::byte* at, std::span<float> out) {
  const std::byte* outliers = at;
  const size_t count = OutliersOf(out.size());
  at += count * kOutlierBytes;
  for (size_t first = 0; first < out.size(); first += kWireGroup) {
    const float half = TRY(ReadHalf(at));
    if (std::signbit(half))
      return Fail(ErrorCode::kCorrupt, "a coded row has a negative scale: {}", half);
    const auto group = out.subspan(first, std::min(kWireGroup, out.size() - first));
    DecodeGroup(codec, half * unit, at, group);
    at += CodeBytes(codec);
  }
  int64_t before = -1;
  for (size_t i = 0; i < count; ++i) {
    const auto channel = Get<uint16_t>(outliers);
    if (channel <= before || channel >= out.size()) {
      return Fail(ErrorCode::kCorrupt, "a coded row of {} values has channel {} behind channel {}",
                  out.size(), channel, before);
    }
    before = channel;
    const float value = TRY(ReadHalf(outliers));
    out[channel] = value * unit;
  }
  return {};
}

Result<void> DecodeRow(RowCodec codec, const std::byte* at, std::span<float> out) {
  const float unit = TRY(ReadUnit(at));
  if (std::isnan(unit)) {
    std::ranges::fill(out, unit);
    return {};
  }
  if (codec != RowCodec::kF16) return DecodeGroups(codec, unit, at, out);
  for (float& value : out) {
    const float half = TRY(ReadHalf(at));
    value = half * unit;
  }
  return {};
}

}  // namespace

size_t CodedRowBytes(RowCodec codec, size_t width) {
  switch (codec) {
    case RowCodec::kF32:
      return width * sizeof(float);
    case RowCodec::kF16:
      return kUnitBytes + width * sizeof(uint16_t);
    case RowCodec::kInt8:
    case RowCodec::kInt4:
      break;
  }
  return kUnitBytes + OutliersOf(width) * kOutlierBytes +
         GroupsOf(width) * (sizeof(uint16_t) + CodeBytes(codec));
}

void CodeRows(RowCodec codec, size_t width, std::span<const float> rows, std::span<std::byte> out) {
  CHECK(width > 0 && width <= kMaxWireWidth && rows.size() % width == 0);
  const size_t bytes = CodedRowBytes(codec, width);
  CHECK_EQ(out.size(), rows.size() / width * bytes);
  if (codec == RowCodec::kF32) {
    std::ranges::copy(std::as_bytes(rows), out.begin());
    return;
  }
  RowCoder coder(codec, width);
  for (size_t row = 0; row * width < rows.size(); ++row)
    coder.Code(rows.subspan(row * width, width), out.data() + row * bytes);
}

Result<void> DecodeRows(RowCodec codec, size_t width, std::span<const std::byte> bytes,
                        std::span<float> out) {
  CHECK(width > 0 && width <= kMaxWireWidth && out.size() % width == 0);
  const size_t row_bytes = CodedRowBytes(codec, width);
  const size_t rows = out.size() / width;
  if (bytes.size() != rows * row_bytes) {
    return Fail(ErrorCode::kCorrupt, "{} bytes for {} coded rows of {} bytes each", bytes.size(),
                rows, row_bytes);
  }
  if (codec == RowCodec::kF32) {
    std::ranges::copy(bytes, std::as_writable_bytes(out).begin());
    return {};
  }
  for (size_t row = 0; row < rows; ++row)
    TRY(DecodeRow(codec, bytes.data() + row * row_bytes, out.subspan(row * width, width)));
  return {};
}

}  // namespace exo::tensor
