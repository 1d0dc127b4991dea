#include "tensor/quantize_super.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tensor/blocks.h"
#include "tensor/float16.h"

namespace exo::tensor {
namespace {

// Candidates tried at once: step widths of one code more or less than the span, a tenth of a code
// apart.
constexpr size_t kTried = 24;
constexpr float kFirstTried = -1.0f, kTriedStep = 0.1f;
constexpr int kImprovements = 2;  // further rounds gain less than 0.1 % of the error
// Half the least f16: what is smaller is zero in every block. So nothing below gets denormal.
constexpr float kNothing = 0x1p-25f;

// The values of a block and what their errors weigh.
struct Weighted {
  float value[256];
  float weight[256];
  bool zero = true;
};

Weighted Weigh(const float* values) {
  Weighted block;
  double squares = 0;
  for (size_t i = 0; i < 256; ++i) {
    const float value = std::abs(values[i]) < kNothing ? 0.0f : values[i];
    block.value[i] = value;
    block.zero = block.zero && value == 0;
    squares += double{value} * double{value};
  }
  const float typical = static_cast<float>(std::sqrt(squares / 256));
  for (size_t i = 0; i < 256; ++i) block.weight[i] = typical + std::abs(block.value[i]);
  return block;
}

// The sub-block of `count` values from `first` on.
struct SubBlock {
  const float* value;
  const float* weight;
  size_t count;
};

struct CodeRange {
  float lowest;
  float highest;
};

// To the nearest integer within the range, ties to even: |code| is far below 2^22.
float RoundCode(float code, CodeRange range) {
  code = code < range.lowest ? range.lowest : code;
  code = code > range.highest ? range.highest : code;
  return (code + 0x1.8p23f) - 0x1.8p23f;
}

// Weighted sums over a sub-block: of codes, their squares and their products with the values, for
// kLanes ways to code it. Lanes are independent: compilers make vectors of them.
template <size_t kLanes>
struct CodeSums {
  std::array<float, kLanes> code{}, square{}, product{};
};

template <size_t kLanes>
CodeSums<kLanes> SumCodes(const SubBlock& sub, const std::array<float, kLanes>& inverse,
                          float offset, CodeRange range) {
  CodeSums<kLanes> sums;
  for (size_t i = 0; i < sub.count; ++i) {
    const float value = sub.value[i], weight = sub.weight[i], above = value - offset;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float code = RoundCode(above * inverse[lane], range);
      const float weighted = weight * code;
      sums.code[lane] += weighted;
      sums.square[lane] += weighted * code;
      sums.product[lane] += weighted * value;
    }
  }
  return sums;
}

// The sums that codes do not enter.
struct ValueSums {
  double weight = 0, value = 0, square = 0;
};

ValueSums SumValues(const SubBlock& sub) {
  ValueSums sums;
  for (size_t i = 0; i < sub.count; ++i) {
    const double value = sub.value[i], weight = sub.weight[i];
    sums.weight += weight;
    sums.value += weight * value;
    sums.square += weight * value * value;
  }
  return sums;
}

// value = scale * code + offset
struct Fit {
  double scale = 0;
  double offset = 0;  // never above 0: blocks subtract their minimum
  double error = std::numeric_limits<double>::infinity();
};

// The best scale and offset for codes with these sums: the normal equations of two unknowns, or of
// one where the offset would have the wrong sign (or `centered` formats have none).
Fit Solve(const ValueSums& values, double code, double square, double product, bool centered) {
  Fit fit;
  if (square <= 0) return fit;
  const double determinant = values.weight * square - code * code;
  if (!centered && determinant > 0) {
    fit.scale = (values.weight * product - values.value * code) / determinant;
    fit.offset = (square * values.value - code * product) / determinant;
  }
  if (centered || determinant <= 0 || fit.offset > 0) fit = {.scale = product / square};
  if (!centered && fit.scale < 0) return fit;
  fit.error = values.square - 2 * (fit.scale * product + fit.offset * values.value) +
              fit.scale * (fit.scale * square + 2 * fit.offset * code) +
              fit.offset * fit.offset * values.weight;
  return fit;
}

template <size_t kLanes>
void TakeBetter(Fit& best, const SubBlock& sub, const ValueSums& values,
                const std::array<float, kLanes>& inverse, CodeRange range, bool centered) {
  const auto sums = SumCodes(sub, inverse, static_cast<float>(best.offset), range);
  for (size_t lane = 0; lane < kLanes; ++lane) {
    const Fit fit = Solve(values, sums.code[lane], sums.square[lane], sums.product[lane], centered);
    if (fit.error < best.error) best = fit;
  }
}

// The best fit among step widths of `codes` codes, give or take one, over `span`.
Fit Search(const SubBlock& sub, float codes, float span, float offset, CodeRange range,
           bool centered) {
  Fit best{.scale = span / codes, .offset = offset};
  if (span == 0) return best;
  const ValueSums values = SumValues(sub);
  std::array<float, kTried> inverse;
  for (size_t lane = 0; lane < kTried; ++lane) {
    inverse[lane] = (codes + (kFirstTried + kTriedStep * static_cast<float>(lane))) / span;
  }
  TakeBetter(best, sub, values, inverse, range, centered);
  for (int round = 0; round < kImprovements && best.scale != 0; ++round) {
    TakeBetter(best, sub, values, std::array{static_cast<float>(1 / best.scale)}, range, centered);
  }
  return best;
}

// A scale as stored: `extreme` divided by `steps`, as f16 that reaches it to half a step.
uint16_t HalfScale(double extreme, double steps) {
  const uint16_t half = FloatToHalf(static_cast<float>(extreme / steps));
  const double reached = double{HalfToFloat(half)} * (steps + (steps < 0 ? -0.5 : 0.5));
  return std::abs(reached) < std::abs(extreme) ? static_cast<uint16_t>(half + 1) : half;
}

int Nearest(double value, int lowest, int highest) {
  return static_cast<int>(std::floor(std::clamp(value, double(lowest), double(highest)) + 0.5));
}

void WriteHalf(uint16_t half, uint8_t* out) {
  out[0] = static_cast<uint8_t>(half & 255);
  out[1] = static_cast<uint8_t>(half >> 8);
}

// Integer sub-scale and sub-minimum of a sub-block.
struct Steps {
  int scale = 0;
  int minimum = 0;
};

// Which of the lanes codes the sub-block with the least error, when its values are
// scale * code - minimum. The first of equals.
template <size_t kLanes>
size_t LeastError(const SubBlock& sub, const std::array<float, kLanes>& scale,
                  const std::array<float, kLanes>& minimum, CodeRange range) {
  std::array<float, kLanes> inverse, error{};
  for (size_t lane = 0; lane < kLanes; ++lane)
    inverse[lane] = scale[lane] == 0 ? 0 : 1 / scale[lane];
  for (size_t i = 0; i < sub.count; ++i) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float target = sub.value[i] + minimum[lane];
      const float off = scale[lane] * RoundCode(target * inverse[lane], range) - target;
      error[lane] += sub.weight[i] * (off * off);
    }
  }
  return static_cast<size_t>(std::min_element(error.begin(), error.end()) - error.begin());
}

// The integers among the neighbors of the optimum that err least.
template <size_t kScales, size_t kMinima>
Steps ChooseSteps(const SubBlock& sub, const Fit& fit, float scale, float minimum, int lowest,
                  int highest, CodeRange range) {
  constexpr size_t kLanes = kScales * kMinima;
  const int best_scale = scale == 0 ? 0 : Nearest(fit.scale / double{scale}, lowest, highest);
  const int best_minimum = minimum == 0 ? 0 : Nearest(-fit.offset / double{minimum}, 0, 63);
  std::array<Steps, kLanes> steps;
  std::array<float, kLanes> scales, minima;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    const int by_scale = static_cast<int>(lane / kMinima) - static_cast<int>(kScales / 2);
    const int by_minimum = static_cast<int>(lane % kMinima) - static_cast<int>(kMinima / 2);
    steps[lane] = {.scale = std::clamp(best_scale + by_scale, lowest, highest),
                   .minimum = std::clamp(best_minimum + by_minimum, 0, 63)};
    scales[lane] = scale * static_cast<float>(steps[lane].scale);
    minima[lane] = minimum * static_cast<float>(steps[lane].minimum);
  }
  return steps[LeastError(sub, scales, minima, range)];
}

int Code(float value, float scale, float minimum, CodeRange range) {
  return scale == 0 ? 0 : static_cast<int>(RoundCode((value + minimum) * (1 / scale), range));
}

}  // namespace

void QuantizeScaleMinimum(DType type, const float* values, std::byte* at) {
  const Weighted block = Weigh(values);
  if (block.zero) return;
  auto* out = reinterpret_cast<uint8_t*>(at);
  const bool fifth = type == DType::kQ5_K;
  const CodeRange range{0, fifth ? 31.0f : 15.0f};
  std::array<SubBlock, 8> subs;
  std::array<Fit, 8> fits;
  double largest = 0, deepest = 0;
  for (size_t s = 0; s < 8; ++s) {
    subs[s] = {block.value + 32 * s, block.weight + 32 * s, 32};
    const auto [low, high] = std::minmax_element(subs[s].value, subs[s].value + 32);
    const float offset = std::min(*low, 0.0f);
    fits[s] = Search(subs[s], range.highest, *high - offset, offset, range, false);
    largest = std::max(largest, fits[s].scale);
    deepest = std::max(deepest, -fits[s].offset);
  }
  const uint16_t half_scale = HalfScale(largest, 63), half_minimum = HalfScale(deepest, 63);
  const float scale = HalfToFloat(half_scale), minimum = HalfToFloat(half_minimum);
  WriteHalf(half_scale, out);
  WriteHalf(half_minimum, out + 2);
  uint8_t sub_scales[8], sub_minima[8];
  for (size_t s = 0; s < 8; ++s) {
    const Steps steps = ChooseSteps<3, 5>(subs[s], fits[s], scale, minimum, 0, 63, range);
    sub_scales[s] = static_cast<uint8_t>(steps.scale);
    sub_minima[s] = static_cast<uint8_t>(steps.minimum);
    for (size_t i = 0; i < 32; ++i) {
      const int code = Code(subs[s].value[i], scale * static_cast<float>(steps.scale),
                            minimum * static_cast<float>(steps.minimum), range);
      out[(fifth ? 48 : 16) + s / 2 * 32 + i] |= static_cast<uint8_t>((code & 15) << 4 * (s % 2));
      if (fifth) out[16 + i] |= static_cast<uint8_t>(code >> 4 << s);
    }
  }
  PackScales6(sub_scales, sub_minima, out + 4);
}

void QuantizeScale(const float* values, std::byte* at) {
  const Weighted block = Weigh(values);
  if (block.zero) return;
  auto* out = reinterpret_cast<uint8_t*>(at);
  constexpr CodeRange kRange{-32, 31};
  std::array<SubBlock, 16> subs;
  std::array<Fit, 16> fits;
  double extreme = 0;
  for (size_t s = 0; s < 16; ++s) {
    subs[s] = {block.value + 16 * s, block.weight + 16 * s, 16};
    const float widest = Extreme({subs[s].value, 16});
    // The extreme value gets code -32: the scale has the sign for that.
    fits[s] = Search(subs[s], -kRange.lowest, -widest, 0, kRange, true);
    if (std::abs(fits[s].scale) > std::abs(extreme)) extreme = fits[s].scale;
  }
  const uint16_t half_scale = HalfScale(extreme, -128);
  const float scale = HalfToFloat(half_scale);
  WriteHalf(half_scale, out + 208);
  for (size_t s = 0; s < 16; ++s) {
    const Steps steps = ChooseSteps<3, 1>(subs[s], fits[s], scale, 0, -128, 127, kRange);
    out[192 + s] = static_cast<uint8_t>(steps.scale);
    for (size_t i = 0; i < 16; ++i) {
      const size_t v = 16 * s + i;
      const int code =
          32 + Code(subs[s].value[i], scale * static_cast<float>(steps.scale), 0, kRange);
      out[v / 128 * 64 + v % 64] |= static_cast<uint8_t>((code & 15) << (v % 128 < 64 ? 0 : 4));
      out[128 + v / 128 * 32 + v % 32] |= static_cast<uint8_t>(code >> 4 << 2 * (v % 128 / 32));
    }
  }
}

}  // namespace exo::tensor
