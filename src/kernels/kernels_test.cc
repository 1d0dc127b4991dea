// Every kernel set of this machine against the reference, bit for bit (each NaN as one value), over
// odd shapes and hard values; and a planted one-bit error that the comparison must find.
#include "kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "base/random.h"
#include "kernels/elementary.h"
#include "kernels/numerics.h"
#include "tensor/blocks.h"
#include "tensor/dtype.h"
#include "tensor/float16.h"

namespace exo::kernels {
namespace {

using tensor::DType;

constexpr float kInf = std::numeric_limits<float>::infinity();

// Zeroed storage aligned to 64 bytes.
class Buffer {
 public:
  explicit Buffer(size_t bytes) : bytes_(bytes), lines_(bytes / 64 + 2) {}
  std::byte* data() { return lines_.data()->bytes; }
  size_t size() const { return bytes_; }

 private:
  struct alignas(64) Line {
    std::byte bytes[64] = {};
  };
  size_t bytes_;
  std::vector<Line> lines_;
};

uint32_t Bits(float x) {
  return std::isnan(x) ? 0x7fc00000 : std::bit_cast<uint32_t>(x);
}

// The index of the first difference, or -1.
int64_t FirstDifference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (Bits(a[i]) != Bits(b[i])) return static_cast<int64_t>(i);
  }
  return -1;
}

testing::AssertionResult Same(const std::vector<float>& expected, const std::vector<float>& got) {
  const int64_t at = FirstDifference(expected, got);
  if (at < 0) return testing::AssertionSuccess();
  const auto i = static_cast<size_t>(at);
  return testing::AssertionFailure() << "value " << i << " of " << expected.size() << ": expected "
                                     << expected[i] << ", got " << got[i];
}

// What the values of a test look like.
enum class Hard {
  kPlain,      // ordinary numbers
  kExtremes,   // zeros, denormals, blocks near 2^-64, 1e18: results stay finite, or NaN would hide
               // them
  kNonFinite,  // plain with a NaN, an infinity and values that overflow planted
};

std::vector<float> Values(size_t n, Hard hard, uint64_t seed) {
  static constexpr float kTable[] = {
      0.0f,   -0.0f,  1e-40f, -1e-45f, 0x1p-64f, 0x1.fffffep-65f, -0x1p-64f, 1e18f,
      -1e17f, 1e-30f, 0.5f,   1.5f,    1e-20f,   0x1p-126f,       127.0f,    -0x1p-38f};
  Rng rng(seed);
  std::vector<float> x(n);
  float block_scale = 1;
  uint64_t mode = 0;
  for (size_t i = 0; i < n; ++i) {
    if (i % 32 == 0) {
      mode = rng.Below(8);
      static constexpr float kScales[] = {1, 1, 1e-37f, 0x1p-63f, 0x1p-64f, 1e-19f, 1e15f, 30};
      block_scale = kScales[mode];
    }
    const auto u = static_cast<float>(rng.Uniform() * 2 - 1);
    x[i] = u;
    if (hard == Hard::kExtremes) {
      x[i] = u * block_scale;
      if (mode == 0) x[i] = rng.Below(2) != 0 ? 0.0f : -0.0f;
      if (rng.Below(40) == 0) x[i] = kTable[rng.Below(std::size(kTable))];
    }
  }
  if (hard == Hard::kNonFinite) {
    for (const float v : {3e38f, -1e30f, kInf, std::nanf("")}) x[rng.Below(n)] = v;
  }
  return x;
}

uint16_t HalfScale(Hard hard, Rng& rng) {
  static constexpr uint16_t kScales[] = {0x0001, 0x83ff, 0x0000, 0x8000,
                                         0x7bff, 0xfbff, 0xa000, 0x3c00};
  if (hard == Hard::kExtremes && rng.Below(3) == 0) return kScales[rng.Below(std::size(kScales))];
  if (hard == Hard::kNonFinite && rng.Below(64) == 0) return rng.Below(2) != 0 ? 0x7c00 : 0x7e01;
  return static_cast<uint16_t>(0x1c00 + rng.Below(0x800) + rng.Below(2) * 0x8000);
}

uint8_t Mxfp4Exponent(Hard hard, Rng& rng) {
  static constexpr uint8_t kExponents[] = {0, 1, 2, 103, 104, 105, 128, 150};
  if (hard == Hard::kExtremes && rng.Below(3) == 0) return kExponents[rng.Below(std::size(kExponents))];
  if (hard == Hard::kNonFinite && rng.Below(64) == 0) return static_cast<uint8_t>(254 + rng.Below(2));
  return static_cast<uint8_t>(118 + rng.Below(4));
}

// Random blocks; extremes also take code bytes 0x80 and 0xff and every kind of f16 scale.
std::vector<std::byte> WeightRows(DType type, size_t rows, size_t cols, Hard hard, uint64_t seed) {
  Rng rng(seed);
  const tensor::DTypeInfo& info = tensor::Info(type);
  std::vector<std::byte> bytes(rows * (cols / info.block_values) * info.block_bytes);
  if (!info.quantised) {
    const auto values = Values(rows * cols, hard, seed);
    for (size_t i = 0; i < values.size(); ++i) {
      const bool clamp = type == DType::kF16 && hard == Hard::kExtremes;
      const float v = clamp ? std::clamp(values[i], -65504.0f, 65504.0f) : values[i];
      const uint16_t half = type == DType::kF16 ? tensor::FloatToHalf(v) : tensor::FloatToBf16(v);
      std::memcpy(bytes.data() + i * info.block_bytes,
                  info.block_bytes == 4 ? static_cast<const void*>(&v) : &half, info.block_bytes);
    }
    return bytes;
  }
  const size_t scale_at = tensor::ScaleOffset(type);
  for (size_t block = 0; block < bytes.size(); block += info.block_bytes) {
    const uint64_t fill = hard == Hard::kExtremes ? rng.Below(4) : 0;
    for (size_t i = 0; i < info.block_bytes; ++i) {
      const uint64_t byte = fill == 1 ? 0x80 : fill == 2 ? 0xff : rng.Below(256);
      bytes[block + i] = static_cast<std::byte>(byte);
    }
    if (type == DType::kMXFP4) {
      bytes[block] = static_cast<std::byte>(Mxfp4Exponent(hard, rng));
      continue;
    }
    for (size_t i = 0; i < (info.minimum ? 2u : 1u); ++i) {  // the minimum stands behind the scale
      const uint16_t scale = HalfScale(hard, rng);
      std::memcpy(bytes.data() + block + scale_at + 2 * i, &scale, 2);
    }
  }
  return bytes;
}

struct ProductCase {
  DType type;
  size_t rows, cols, tokens;
  Hard hard;
};

// Packs, prepares and multiplies everything at once.
std::vector<float> Product(const Kernels& k, const ProductCase& c, bool normed, bool add) {
  const auto rows = WeightRows(c.type, c.rows, c.cols, c.hard, c.rows * 31 + c.cols);
  Weights w{c.type, c.rows, c.cols, nullptr};
  Buffer packed(k.PackedBytes(c.type, c.rows, c.cols));
  k.Pack(c.type, c.rows, c.cols, 0, w.panels(), rows.data(), packed.data());
  w.data = packed.data();
  const size_t stride = c.cols + 3;
  const auto x = Values(c.tokens * stride, c.hard, c.tokens * 7 + c.cols);
  const auto gain = Values(c.cols, Hard::kPlain, 5);
  const ActivationKind kind = KindFor(c.type);
  Buffer prepared(k.ActivationBytes(kind, c.tokens, c.cols));
  if (normed) {
    k.NormPrepare(kind, x.data(), stride, gain.data(), 1e-5f, c.tokens, c.cols, 0, c.tokens,
                  prepared.data());
  } else {
    k.Prepare(kind, x.data(), stride, c.tokens, c.cols, 0, c.tokens, prepared.data());
  }
  const size_t out_stride = c.rows + 5;
  std::vector<float> out(c.tokens * out_stride, 0.25f);  // the gap shows stray writes
  k.MatMul(w, {kind, c.tokens, c.cols, prepared.data()}, 0, w.panels(), out.data(), out_stride,
           add);
  return out;
}

// Emulated processors (tools/test-more): the best set that a run expects, which is then the only one
// that it tests, since each has a run of its own.
const char* const kBestIsa = std::getenv("EXO_BEST_ISA");

// The sets of this machine, apart from the reference.
std::vector<Isa> IsasHere() {
  std::vector<Isa> isas;
  for (const Isa isa : kIsas) {
    const bool wanted = kBestIsa == nullptr || IsaName(isa) == kBestIsa;
    if (isa != Isa::kReference && wanted && KernelsFor(isa)) isas.push_back(isa);
  }
  return isas;
}

// Without this a machine that lacks the sets it should have would pass everything else.
TEST(ChooseKernels, TakesTheBestSetOfTheMachine) {
  const auto best = ChooseKernels("");
  ASSERT_TRUE(best);
  const auto here = IsasHere();
  EXPECT_EQ((*best)->isa(), here.empty() ? Isa::kReference : here.front());
  if (kBestIsa != nullptr) EXPECT_EQ(IsaName((*best)->isa()), kBestIsa);
}

TEST(ChooseKernels, TakesTheSetThatIsNamed) {
  for (const Isa isa : kIsas) {
    const auto set = ChooseKernels(IsaName(isa));
    if (set) {
      EXPECT_EQ((*set)->isa(), isa);
    } else {
      EXPECT_EQ(set.error().code, ErrorCode::kUnsupported);
    }
  }
  EXPECT_EQ(ChooseKernels("reference").value(), &Reference());
  const auto wrong = ChooseKernels("sse");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::kInvalid);
  EXPECT_NE(wrong.error().message.find("neon-i8mm, neon-dotprod"), std::string::npos);
}

class IsaTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override { kernels_ = *KernelsFor(GetParam()); }
  const Kernels& k() const { return *kernels_; }

  void CompareProduct(const ProductCase& c, bool normed = false, bool add = false) {
    SCOPED_TRACE(testing::Message()
                 << tensor::Info(c.type).name << " " << c.rows << "x" << c.cols << " tokens "
                 << c.tokens << " hard " << static_cast<int>(c.hard));
    const auto expected = Product(Reference(), c, normed, add);
    if (c.hard != Hard::kNonFinite) {
      EXPECT_TRUE(
          std::all_of(expected.begin(), expected.end(), [](float v) { return std::isfinite(v); }));
    }
    EXPECT_TRUE(Same(expected, Product(k(), c, normed, add)));
  }

 private:
  const Kernels* kernels_ = nullptr;
};

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(IsaTest);  // a processor with the reference alone
INSTANTIATE_TEST_SUITE_P(Here, IsaTest, testing::ValuesIn(IsasHere()), [](const auto& info) {
  std::string name(IsaName(info.param));
  std::replace(name.begin(), name.end(), '-', '_');  // a test's name allows no more
  return name;
});

TEST_P(IsaTest, ProductsEqualTheReferenceOverShapes) {
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    const DType type = info.type;
    for (const size_t cols : {1, 32, 64, 96, 160, 172, 256, 512, 576, 768, 896, 2048, 2880, 4864}) {
      if (cols % info.block_values != 0) continue;
      const size_t rows = cols > 1000 ? 17 : 37;
      for (const Hard hard : {Hard::kPlain, Hard::kExtremes, Hard::kNonFinite}) {
        CompareProduct({type, rows, cols, cols > 1000 ? 3u : 11u, hard});
      }
    }
  }
}

TEST_P(IsaTest, ProductsEqualTheReferenceOverRowsAndTokens) {
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    const DType type = info.type;
    const size_t cols = info.block_values == 256 ? 256 : 160;
    for (size_t rows = 1; rows <= 37; ++rows)
      CompareProduct({type, rows, cols, 2, Hard::kExtremes});
    for (size_t tokens = 1; tokens <= 17; ++tokens) {
      CompareProduct({type, 16, cols, tokens, Hard::kExtremes});
      CompareProduct({type, 19, cols, tokens, Hard::kPlain}, /*normed=*/true, /*add=*/true);
    }
    CompareProduct({type, 33, 2 * cols, 33, Hard::kPlain});
    CompareProduct({type, 9, 3 * cols, 5, Hard::kExtremes}, /*normed=*/true);
    CompareProduct({type, 9, 3 * cols, 5, Hard::kNonFinite}, /*normed=*/true);
  }
}

TEST_P(IsaTest, WholeCodeRangeIsExact) {
  // All-extreme codes against all-extreme activations: the largest sums of every type.
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    if (!info.quantised) continue;
    const DType type = info.type;
    for (const int fill : {0x00, 0x80, 0x7f, 0xff, 0x81}) {
      for (const float sign : {1.0f, -1.0f}) {
        const size_t cols = 512, rows = 16;
        std::vector<std::byte> bytes(rows * cols / info.block_values * info.block_bytes,
                                     static_cast<std::byte>(fill));
        for (size_t at = tensor::ScaleOffset(type); at < bytes.size(); at += info.block_bytes) {
          const uint16_t scales[2] = {0x2d55, 0xb155};
          std::memcpy(&bytes[at], scales, type == DType::kMXFP4 ? 1 : info.minimum ? 4 : 2);
        }
        std::vector<float> x(cols, 3.3f * sign);
        const auto run = [&](const Kernels& set) {
          Weights w{type, rows, cols, nullptr};
          Buffer packed(set.PackedBytes(type, rows, cols));
          set.Pack(type, rows, cols, 0, 1, bytes.data(), packed.data());
          w.data = packed.data();
          const ActivationKind kind = KindFor(type);
          Buffer prepared(set.ActivationBytes(kind, 1, cols));
          set.Prepare(kind, x.data(), cols, 1, cols, 0, 1, prepared.data());
          std::vector<float> out(rows);
          set.MatMul(w, {kind, 1, cols, prepared.data()}, 0, 1, out.data(), rows, false);
          return out;
        };
        EXPECT_TRUE(Same(run(Reference()), run(k())));
      }
    }
  }
}

TEST_P(IsaTest, UnpackRowEqualsTheReference) {
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    const DType type = info.type;
    const size_t rows = 21, cols = 512;
    const auto bytes = WeightRows(type, rows, cols, Hard::kExtremes, 77);
    const auto run = [&](const Kernels& set) {
      Weights w{type, rows, cols, nullptr};
      Buffer packed(set.PackedBytes(type, rows, cols));
      set.Pack(type, rows, cols, 0, 2, bytes.data(), packed.data());
      w.data = packed.data();
      std::vector<float> out(rows * cols);
      for (size_t r = 0; r < rows; ++r) set.UnpackRow(w, r, out.data() + r * cols);
      return out;
    };
    EXPECT_TRUE(Same(run(Reference()), run(k())));
  }
}

TEST_P(IsaTest, SplittingChangesNothing) {
  for (const tensor::DTypeInfo& info : tensor::AllTypes()) {
    const DType type = info.type;
    const ProductCase c{type, 70, 512, 13, Hard::kPlain};
    const auto whole = Product(k(), c, false, false);
    const auto rows = WeightRows(c.type, c.rows, c.cols, c.hard, c.rows * 31 + c.cols);
    const size_t row_bytes = rows.size() / c.rows;
    Weights w{c.type, c.rows, c.cols, nullptr};
    Buffer packed(k().PackedBytes(c.type, c.rows, c.cols));
    const size_t panel = k().PackedBytes(c.type, 16, c.cols);
    EXPECT_EQ(packed.size(), 5 * panel);
    EXPECT_EQ(panel % 64, 0u);
    for (size_t p = 0; p < w.panels(); ++p) {
      k().Pack(c.type, c.rows, c.cols, p, 1, rows.data() + p * 16 * row_bytes,
               packed.data() + p * panel);
    }
    w.data = packed.data();
    const size_t stride = c.cols + 3, out_stride = c.rows + 5;
    const auto x = Values(c.tokens * stride, c.hard, c.tokens * 7 + c.cols);
    const ActivationKind kind = KindFor(type);
    std::vector<float> out(c.tokens * out_stride, 0.25f);
    // Tokens prepared one by one, last first; panels multiplied one by one.
    Buffer prepared(k().ActivationBytes(kind, c.tokens, c.cols));
    for (size_t t = c.tokens; t-- > 0;) {
      k().Prepare(kind, x.data(), stride, c.tokens, c.cols, t, 1, prepared.data());
    }
    for (size_t p = 0; p < w.panels(); ++p) {
      k().MatMul(w, {kind, c.tokens, c.cols, prepared.data()}, p, 1, out.data(), out_stride, false);
    }
    EXPECT_TRUE(Same(whole, out));
    // Each token as a product of its own.
    for (size_t t = 0; t < c.tokens; ++t) {
      Buffer single(k().ActivationBytes(kind, 1, c.cols));
      k().Prepare(kind, x.data() + t * stride, stride, 1, c.cols, 0, 1, single.data());
      k().MatMul(w, {kind, 1, c.cols, single.data()}, 0, 5, out.data() + t * out_stride, out_stride,
                 false);
    }
    EXPECT_TRUE(Same(whole, out));
  }
}

TEST_P(IsaTest, RowOperationsEqualTheReference) {
  for (const size_t n : {1, 7, 15, 16, 17, 64, 172, 576, 2048, 4864}) {
    for (const Hard hard : {Hard::kPlain, Hard::kExtremes, Hard::kNonFinite}) {
      const auto x = Values(n, hard, n);
      const auto y = Values(n, hard, n + 1);
      std::vector<float> wide = x;
      for (float& v : wide) v = v * 100;
      const auto run = [&](const Kernels& set) {
        std::vector<float> out(6 * n + 1, 7);
        set.RmsNorm(x.data(), y.data(), 1e-6f, n, out.data());
        set.SiluMul(wide.data(), y.data(), n, out.data() + n);
        set.Add(x.data(), y.data(), n, out.data() + 2 * n);
        std::copy(x.begin(), x.end(), out.begin() + 3 * n);
        set.SiluMul(out.data() + 3 * n, y.data(), n, out.data() + 3 * n);  // in place
        set.GeluMul(wide.data(), y.data(), n, out.data() + 4 * n);
        set.Softmax(wide.data(), n, out.data() + 5 * n);
        return out;
      };
      EXPECT_TRUE(Same(run(Reference()), run(k()))) << n;
    }
  }
}

TEST_P(IsaTest, MixEqualsTheReference) {
  for (const size_t count : {1, 2, 3, 8, 11, 64, 127, 128}) {
    for (const size_t n : {1, 15, 64, 101}) {
      for (const Hard hard : {Hard::kPlain, Hard::kExtremes, Hard::kNonFinite}) {
        const auto x = Values(count * n, hard, n + count);
        const auto weights = Values(count, Hard::kPlain, count);
        std::vector<const float*> rows(count);
        for (size_t j = 0; j < count; ++j) rows[j] = x.data() + j * n;
        const auto run = [&](const Kernels& set) {
          std::vector<float> out(n + 1, 7);
          set.Mix(rows.data(), weights.data(), count, n, out.data());
          return out;
        };
        EXPECT_TRUE(Same(run(Reference()), run(k()))) << count << " rows of " << n;
      }
    }
  }
}

TEST_P(IsaTest, SiluAndGeluEqualTheReferenceOverAllMagnitudes) {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < 1ull << 32; bits += 20011)
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  for (const float edge : {-87.0f, 88.7228317f, 88.72284f, -88.0f, 87.0f, kInf, -kInf})
    x.push_back(edge);
  const std::vector<float> ones(x.size(), 1.0f);
  std::vector<float> expected(x.size()), got(x.size());
  Reference().SiluMul(x.data(), ones.data(), x.size(), expected.data());
  k().SiluMul(x.data(), ones.data(), x.size(), got.data());
  EXPECT_TRUE(Same(expected, got));
  Reference().GeluMul(x.data(), ones.data(), x.size(), expected.data());
  k().GeluMul(x.data(), ones.data(), x.size(), got.data());
  EXPECT_TRUE(Same(expected, got));
}

TEST_P(IsaTest, RopeEqualsTheReference) {
  for (const auto& [head_dim, rotary_dim] :
       {std::pair<size_t, size_t>{64, 64}, {128, 128}, {80, 32}, {20, 20}, {96, 72}}) {
    for (const RopeStyle style : {RopeStyle::kInterleaved, RopeStyle::kHalves}) {
      std::vector<float> cos(rotary_dim / 2), sin(rotary_dim / 2);
      RopeAngles(RopeFrequencies(rotary_dim, 10000, 1, nullptr), 1234, cos.data(), sin.data());
      auto expected = Values(3 * head_dim, Hard::kExtremes, head_dim);
      auto got = expected;
      Reference().Rope(style, cos.data(), sin.data(), 3, head_dim, rotary_dim, expected.data());
      k().Rope(style, cos.data(), sin.data(), 3, head_dim, rotary_dim, got.data());
      EXPECT_TRUE(Same(expected, got));
    }
  }
}

constexpr KvType kAllKvTypes[] = {KvType::kF16, KvType::kF32, KvType::kQ8_0};

struct AttentionCase {
  KvType type;
  size_t head_dim, group, first, tokens;
  Hard hard;
  size_t window = 0;
};

// Fills a cache through `set` and attends; `step` tokens per call.
std::vector<float> Attend(const Kernels& set, const AttentionCase& c, size_t step) {
  const size_t positions = c.first + c.tokens;
  const size_t capacity = (positions + kKvTile - 1) / kKvTile * kKvTile;
  const size_t bytes = capacity / kKvTile * KvTileBytes(c.type, c.head_dim);
  Buffer k(bytes), v(bytes);
  std::memset(k.data(), 0xff, bytes);  // positions not stored are NaN
  std::memset(v.data(), 0xff, bytes);
  const KvHead kv{c.type, c.head_dim, k.data(), v.data()};
  const auto keys = Values(positions * c.head_dim, c.hard, 3);
  auto values = Values(positions * c.head_dim, c.hard, 4);
  const size_t stride = c.group * c.head_dim + 5;
  auto q = Values(c.tokens * stride, Hard::kPlain, 6);
  for (float& x : q) x = x * 8;
  std::vector<float> out(c.tokens * stride, 0.5f);
  size_t stored = 0;
  for (size_t t = 0; t < c.tokens; t += step) {
    const size_t n = std::min(step, c.tokens - t);
    for (; stored < c.first + t + n; ++stored) {
      set.StoreKv(kv, stored, keys.data() + stored * c.head_dim,
                  values.data() + stored * c.head_dim);
    }
    Buffer scratch(set.AttentionScratchBytes(c.first + t + n, c.group, c.head_dim));
    const AttentionSpan span = {.first = c.first + t,
                                .tokens = n,
                                .group = c.group,
                                .scale = 0.125f,
                                .window = c.window};
    set.Attention(kv, span, q.data() + t * stride, stride, scratch.data(), out.data() + t * stride,
                  stride);
  }
  return out;
}

TEST_P(IsaTest, AttentionEqualsTheReference) {
  for (const KvType type : kAllKvTypes) {
    for (const size_t head_dim : {64, 80, 128, 20, 96}) {
      if (KvTypeFor(type, head_dim) != type) continue;
      for (const size_t group : {1, 2, 3, 4, 7}) {
        for (const auto& [first, tokens] :
             {std::pair<size_t, size_t>{0, 1}, {0, 19}, {15, 3}, {250, 20}, {599, 1}, {760, 17}}) {
          for (const Hard hard : {Hard::kPlain, Hard::kExtremes, Hard::kNonFinite}) {
            const AttentionCase c{type, head_dim, group, first, tokens, hard};
            if (hard != Hard::kPlain && (group > 2 || head_dim > 80)) continue;
            if (first > 500 && group > 4 && head_dim > 64) continue;  // the reference is slow
            SCOPED_TRACE(testing::Message() << KvTypeName(type) << " dim " << head_dim << " group "
                                            << group << " first " << first << " tokens " << tokens);
            EXPECT_TRUE(Same(Attend(Reference(), c, tokens), Attend(k(), c, tokens)));
          }
        }
      }
    }
  }
}

TEST_P(IsaTest, WindowedAttentionEqualsTheReference) {
  for (const KvType type : kAllKvTypes) {
    for (const size_t window : {1, 5, 17, 255, 256, 257, 600, 2000}) {
      for (const size_t group : {1, 3}) {
        for (const auto& [first, tokens] :
             {std::pair<size_t, size_t>{0, 40}, {239, 33}, {500, 21}, {1279, 2}}) {
          for (const Hard hard : {Hard::kPlain, Hard::kExtremes, Hard::kNonFinite}) {
            const size_t head_dim = group == 1 && type != KvType::kQ8_0 ? 20 : 32;
            const AttentionCase c{type, head_dim, group, first, tokens, hard, window};
            if (hard != Hard::kPlain && group == 3) continue;
            SCOPED_TRACE(testing::Message()
                         << KvTypeName(type) << " window " << window << " group " << group
                         << " first " << first << " hard " << static_cast<int>(hard));
            EXPECT_TRUE(Same(Attend(Reference(), c, tokens), Attend(k(), c, tokens)));
          }
        }
      }
    }
  }
}

TEST_P(IsaTest, WindowOfEverythingIsNoWindow) {
  AttentionCase c{KvType::kF16, 64, 4, 500, 40, Hard::kPlain};
  const auto none = Attend(k(), c, c.tokens);
  c.window = 540;
  EXPECT_TRUE(Same(none, Attend(k(), c, c.tokens)));
  c.window = 539;  // the last token loses one position
  EXPECT_FALSE(Same(none, Attend(k(), c, c.tokens)));
}

TEST_P(IsaTest, AttentionDoesNotDependOnTheSplit) {
  const AttentionCase c{KvType::kF16, 64, 4, 500, 40, Hard::kPlain};
  const auto whole = Attend(k(), c, c.tokens);
  EXPECT_TRUE(Same(whole, Attend(k(), c, 1)));
  EXPECT_TRUE(Same(whole, Attend(k(), c, 7)));
  const AttentionCase windowed{KvType::kF16, 64, 4, 500, 40, Hard::kPlain, 270};
  EXPECT_TRUE(Same(Attend(k(), windowed, c.tokens), Attend(k(), windowed, 7)));
}

TEST_P(IsaTest, ScratchNeverShrinks) {
  size_t last = 0;
  for (size_t positions = 1; positions < 40000; positions += 61) {
    const size_t bytes = k().AttentionScratchBytes(positions, 4, 64);
    EXPECT_GE(bytes, last);
    last = bytes;
  }
}

TEST_P(IsaTest, CacheBytesEqualTheReference) {
  const size_t positions = 32;
  for (const KvType type : kAllKvTypes) {
    const size_t dim = type == KvType::kQ8_0 ? 96 : 36;
    const auto x = Values(positions * dim, Hard::kExtremes, 9);
    const auto y = Values(positions * dim, Hard::kNonFinite, 10);
    const size_t bytes = positions / kKvTile * KvTileBytes(type, dim);
    const auto run = [&](const Kernels& set) {
      Buffer k(bytes), v(bytes);
      const KvHead kv{type, dim, k.data(), v.data()};
      for (size_t p = 0; p < positions; ++p)
        set.StoreKv(kv, p, x.data() + p * dim, y.data() + p * dim);
      std::vector<std::byte> all(k.data(), k.data() + bytes);
      all.insert(all.end(), v.data(), v.data() + bytes);
      return all;
    };
    EXPECT_EQ(run(Reference()), run(k()));
  }
}

TEST_P(IsaTest, NumericsIdEqualsTheReference) {
  EXPECT_EQ(ComputeNumericsId(k()), ComputeNumericsId(Reference()));
}

TEST_P(IsaTest, PlantedOneBitErrorIsFound) {
  // One weight code, one activation and one output bit: each must show in the comparison.
  const ProductCase c{DType::kQ4_0, 16, 256, 3, Hard::kPlain};
  const auto expected = Product(Reference(), c, false, false);
  auto flipped = Product(k(), c, false, false);
  ASSERT_EQ(FirstDifference(expected, flipped), -1);
  flipped[17] = std::bit_cast<float>(std::bit_cast<uint32_t>(flipped[17]) ^ 1);
  EXPECT_EQ(FirstDifference(expected, flipped), 17);

  auto rows = WeightRows(c.type, c.rows, c.cols, c.hard, 1);
  const auto x = Values(c.cols, Hard::kPlain, 2);
  const auto run = [&] {
    Buffer packed(k().PackedBytes(c.type, c.rows, c.cols));
    k().Pack(c.type, c.rows, c.cols, 0, 1, rows.data(), packed.data());
    Buffer prepared(k().ActivationBytes(ActivationKind::kQ8x32, 1, c.cols));
    k().Prepare(ActivationKind::kQ8x32, x.data(), c.cols, 1, c.cols, 0, 1, prepared.data());
    std::vector<float> out(16);
    k().MatMul({c.type, 16, c.cols, packed.data()},
               {ActivationKind::kQ8x32, 1, c.cols, prepared.data()}, 0, 1, out.data(), 16, false);
    return out;
  };
  const auto before = run();
  rows[5 * 144 + 7] ^= std::byte{1};  // row 5, the lowest bit of one code
  EXPECT_EQ(FirstDifference(before, run()), 5);
}

}  // namespace
}  // namespace exo::kernels
