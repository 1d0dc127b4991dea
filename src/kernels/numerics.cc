#include "kernels/numerics.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <span>
#include <vector>

#include "base/random.h"
#include "base/sha256.h"
#include "kernels/elementary.h"
#include "tensor/blocks.h"
#include "tensor/dtype.h"

namespace exo::kernels {
namespace {

using tensor::DType;

constexpr uint64_t kSeed = 0x65786f;
constexpr size_t kTokens = 5;
constexpr size_t kRows = 21;
constexpr size_t kCols = 768;  // 6 leaves: an uneven tree

// Storage aligned as the kernels want it.
struct alignas(64) Line {
  std::byte bytes[64];
};
std::vector<Line> Buffer(size_t bytes) {
  return std::vector<Line>(bytes / 64 + 1);
}
std::byte* Data(std::vector<Line>& lines) {
  return lines.data()->bytes;
}

class Recorder {
 public:
  void Floats(std::span<const float> values) {
    for (const float v : values) {
      const uint32_t bits = std::isnan(v) ? 0x7fc00000 : std::bit_cast<uint32_t>(v);
      hash_.UpdateU64(bits);
    }
  }
  void Version() { hash_.UpdateU64(kArithmeticVersion); }
  Hash256 Finish() { return hash_.Finish(); }

 private:
  Sha256 hash_;
};

// Values of both signs over a range of magnitudes; with `hard`, also the ones on which wrong builds
// differ.
std::vector<float> Values(size_t n, uint64_t stream, bool hard) {
  constexpr std::array<float, 8> kHard = {0.0f,      -0.0f, 1e-40f,   0x1p-64f,
                                          -0x1p-65f, 1e30f, 0x1p-30f, -3e-38f};
  Rng rng(kSeed, stream);
  std::vector<float> values(n);
  for (float& v : values) {
    const auto magnitude = static_cast<float>(rng.Below(64)) - 32;
    v = (static_cast<float>(rng.Uniform()) * 2 - 1) * (1 + magnitude / 64);
    if (hard && rng.Below(24) == 0) v = kHard[rng.Below(kHard.size())];
  }
  return values;
}

// Random blocks of a type whose scales are ordinary numbers.
std::vector<std::byte> RandomRows(DType type, size_t rows, size_t cols, uint64_t stream) {
  Rng rng(kSeed, stream);
  const tensor::DTypeInfo& info = tensor::Info(type);
  std::vector<std::byte> bytes(rows * cols / info.block_values * info.block_bytes);
  for (std::byte& b : bytes) b = static_cast<std::byte>(rng.Next());
  const size_t scale_at = info.quantized ? tensor::ScaleOffset(type) : info.block_bytes - 2;
  const size_t halves = info.minimum ? 2 : 1;  // the minimum stands behind the scale
  for (size_t at = 0; at < bytes.size(); at += info.block_bytes) {
    if (type == DType::kMXFP4) {
      bytes[at] = static_cast<std::byte>(118 + rng.Below(4));
      continue;
    }
    if (type == DType::kIQ1_M) {  // whose scale is scattered
      tensor::SetScale(type, static_cast<uint16_t>(0x1c00 | rng.Below(0x400)), &bytes[at]);
      continue;
    }
    for (size_t high = at + scale_at + 1; high < at + scale_at + 2 * halves; high += 2) {
      // Exponents around 1 for floats, 2^-8 for scales.
      const auto sign = static_cast<uint8_t>(bytes[high]) & 0x80;
      const int exponent = info.quantized ? 0x1c : type == DType::kF16 ? 0x38 : 0x3e;
      bytes[high] = static_cast<std::byte>(sign | exponent | (rng.Below(4)));
    }
  }
  return bytes;
}

void Products(const Kernels& kernels, DType type, bool hard, Recorder& record) {
  const auto rows = RandomRows(type, kRows, kCols, 100 + static_cast<uint64_t>(type));
  Weights w{type, kRows, kCols, nullptr};
  auto packed = Buffer(kernels.PackedBytes(type, kRows, kCols));
  kernels.Pack(type, kRows, kCols, 0, w.panels(), rows.data(), Data(packed));
  w.data = Data(packed);
  std::vector<float> unpacked(kCols);
  kernels.UnpackRow(w, kRows - 1, unpacked.data());
  record.Floats(unpacked);

  const auto x = Values(kTokens * kCols, 200, hard);
  const ActivationKind kind = KindFor(type);
  auto prepared = Buffer(kernels.ActivationBytes(kind, kTokens, kCols));
  kernels.Prepare(kind, x.data(), kCols, kTokens, kCols, 0, kTokens, Data(prepared));
  const Activations activations{kind, kTokens, kCols, Data(prepared)};
  std::vector<float> out(kTokens * kRows);
  kernels.MatMul(w, activations, 0, w.panels(), out.data(), kRows, false);
  record.Floats(out);
  const auto gain = Values(kCols, 201, false);
  kernels.NormPrepare(kind, x.data(), kCols, gain.data(), 1e-5f, kTokens, kCols, 0, kTokens,
                      Data(prepared));
  kernels.MatMul(w, activations, 0, w.panels(), out.data(), kRows, true);
  record.Floats(out);
}

// Routing over 45 experts and the sum of 11 rows, an uneven tree.
void Experts(const Kernels& kernels, Recorder& record) {
  auto logits = Values(45, 302, false);
  for (float& v : logits) v = v * 30;
  std::vector<float> weights(logits.size());
  kernels.Softmax(logits.data(), logits.size(), weights.data());
  record.Floats(weights);
  record.Floats(std::array{
      LogSumExp(logits.data(), logits.size(), *std::max_element(logits.begin(), logits.end()))});
  for (float& v : logits) v = Sigmoid(v);
  record.Floats(logits);
  for (float& v : logits) v = Log(v);
  record.Floats(logits);
  constexpr size_t kMixed = 11, kWidth = 53;
  const auto rows = Values(kMixed * kWidth, 303, true);
  std::array<const float*, kMixed> at;
  for (size_t j = 0; j < kMixed; ++j) at[j] = rows.data() + j * kWidth;
  std::vector<float> out(kWidth);
  kernels.Mix(at.data(), weights.data(), kMixed, kWidth, out.data());
  record.Floats(out);
}

void Rows(const Kernels& kernels, Recorder& record) {
  const auto x = Values(kCols, 300, true);
  const auto y = Values(kCols, 301, true);
  std::vector<float> out(kCols);
  kernels.RmsNorm(x.data(), y.data(), 1e-6f, kCols, out.data());
  record.Floats(out);
  auto gate = x;
  for (float& g : gate) g = g * 20;
  kernels.SiluMul(gate.data(), y.data(), kCols, out.data());
  record.Floats(out);
  kernels.GeluMul(gate.data(), y.data(), kCols, out.data());
  record.Floats(out);
  Experts(kernels, record);
  kernels.Add(x.data(), y.data(), kCols, out.data());
  record.Floats(out);
  const auto frequencies = RopeFrequencies(64, 500000, 1, nullptr);
  float cos[32], sin[32];
  for (const size_t position : {7, 131071}) {
    RopeAngles(frequencies, position, cos, sin);
    for (const RopeStyle style : {RopeStyle::kInterleaved, RopeStyle::kHalves}) {
      kernels.Rope(style, cos, sin, kCols / 96, 96, 64, out.data());
    }
    record.Floats(out);
  }
}

void Attend(const Kernels& kernels, KvType type, Recorder& record) {
  constexpr size_t kPositions = 600, kPages = 3, kDim = 64, kGroup = 3;
  const size_t bytes = kKvPage / kKvTile * KvTileBytes(type, kDim);
  auto memory = Buffer(2 * bytes * kPages);
  std::byte* pages[kPages];
  for (size_t i = 0; i < kPages; ++i) pages[i] = Data(memory) + 2 * bytes * i;
  const KvHead kv{type, kDim, pages, 0, bytes};
  const auto keys = Values(kPositions * kDim, 400, true);
  const auto values = Values(kPositions * kDim, 401, true);
  for (size_t p = 0; p < kPositions; ++p) {
    kernels.StoreKv(kv, p, keys.data() + p * kDim, values.data() + p * kDim);
  }
  auto scratch = Buffer(kernels.AttentionScratchBytes(kPositions, kGroup, kDim));
  const auto q = Values(kTokens * kGroup * kDim, 402, false);
  std::vector<float> out(q.size());
  for (const size_t window : {0, 300}) {
    const AttentionSpan span = {.first = kPositions - kTokens,
                                .tokens = kTokens,
                                .group = kGroup,
                                .scale = 0.125f,
                                .window = window};
    kernels.Attention(kv, span, q.data(), kGroup * kDim, Data(scratch), out.data(), kGroup * kDim);
    record.Floats(out);
  }
}

}  // namespace

NumericsId ComputeNumericsId(const Kernels& kernels) {
  Recorder record;
  record.Version();
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    Products(kernels, info.type, false, record);
    Products(kernels, info.type, true, record);
  }
  Rows(kernels, record);
  Attend(kernels, KvType::kF16, record);
  Attend(kernels, KvType::kF32, record);
  Attend(kernels, KvType::kQ8_0, record);
  return NumericsId{record.Finish().bytes};
}

}  // namespace exo::kernels
