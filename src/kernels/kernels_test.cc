// Every kernel set of this machine against the reference, bit for bit: everything but products
// (products_test.cc).
#include "kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/elementary.h"
#include "kernels/kernels_testing.h"
#include "kernels/numerics.h"

namespace exo::kernels {
namespace {

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

class KernelsTest : public IsaTest {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(KernelsTest);  // a processor with the reference alone
INSTANTIATE_TEST_SUITE_P(Here, KernelsTest, testing::ValuesIn(IsasHere()), NameOf);

TEST_P(KernelsTest, RowOperationsEqualTheReference) {
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

TEST_P(KernelsTest, MixEqualsTheReference) {
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

TEST_P(KernelsTest, SiluAndGeluEqualTheReferenceOverAllMagnitudes) {
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

TEST_P(KernelsTest, RopeEqualsTheReference) {
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
  const TestCache cache(c.type, c.head_dim, positions);  // positions not stored are NaN
  const KvHead kv = cache.head();
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
    const AttentionSpan span = {
        .first = c.first + t, .tokens = n, .group = c.group, .scale = 0.125f, .window = c.window};
    set.Attention(kv, span, q.data() + t * stride, stride, scratch.data(), out.data() + t * stride,
                  stride);
  }
  return out;
}

TEST_P(KernelsTest, AttentionEqualsTheReference) {
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

TEST_P(KernelsTest, WindowedAttentionEqualsTheReference) {
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

TEST_P(KernelsTest, WindowOfEverythingIsNoWindow) {
  AttentionCase c{KvType::kF16, 64, 4, 500, 40, Hard::kPlain};
  const auto none = Attend(k(), c, c.tokens);
  c.window = 540;
  EXPECT_TRUE(Same(none, Attend(k(), c, c.tokens)));
  c.window = 539;  // the last token loses one position
  EXPECT_FALSE(Same(none, Attend(k(), c, c.tokens)));
}

TEST_P(KernelsTest, AttentionDoesNotDependOnTheSplit) {
  const AttentionCase c{KvType::kF16, 64, 4, 500, 40, Hard::kPlain};
  const auto whole = Attend(k(), c, c.tokens);
  EXPECT_TRUE(Same(whole, Attend(k(), c, 1)));
  EXPECT_TRUE(Same(whole, Attend(k(), c, 7)));
  const AttentionCase windowed{KvType::kF16, 64, 4, 500, 40, Hard::kPlain, 270};
  EXPECT_TRUE(Same(Attend(k(), windowed, c.tokens), Attend(k(), windowed, 7)));
}

TEST_P(KernelsTest, ScratchNeverShrinks) {
  size_t last = 0;
  for (size_t positions = 1; positions < 40000; positions += 61) {
    const size_t bytes = k().AttentionScratchBytes(positions, 4, 64);
    EXPECT_GE(bytes, last);
    last = bytes;
  }
}

TEST_P(KernelsTest, CacheBytesEqualTheReference) {
  const size_t positions = 32;
  for (const KvType type : kAllKvTypes) {
    const size_t dim = type == KvType::kQ8_0 ? 96 : 36;
    const auto x = Values(positions * dim, Hard::kExtremes, 9);
    const auto y = Values(positions * dim, Hard::kNonFinite, 10);
    const auto run = [&](const Kernels& set) {
      const TestCache cache(type, dim, positions);
      for (size_t p = 0; p < positions; ++p)
        set.StoreKv(cache.head(), p, x.data() + p * dim, y.data() + p * dim);
      return cache.bytes();
    };
    EXPECT_EQ(run(Reference()), run(k()));
  }
}

TEST_P(KernelsTest, NumericsIdEqualsTheReference) {
  EXPECT_EQ(ComputeNumericsId(k()), ComputeNumericsId(Reference()));
}

}  // namespace
}  // namespace exo::kernels
