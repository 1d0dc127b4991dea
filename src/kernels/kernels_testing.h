// What the comparisons of kernel sets with the reference share: storage, hard values, bitwise
// equality (each NaN as one value), and a test that runs for every set of this machine.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/random.h"
#include "kernels/kernels.h"

namespace exo::kernels {

inline constexpr float kInf = std::numeric_limits<float>::infinity();

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

// A cache whose pages lie in any order, with something between them; 0xff bytes (NaN) at first.
class TestCache {
 public:
  TestCache(KvType type, size_t head_dim, size_t positions)
      : type_(type),
        head_dim_(head_dim),
        part_(kKvPage / kKvTile * KvTileBytes(type, head_dim)),
        pages_((positions + kKvPage - 1) / kKvPage),
        memory_(pages_.size() * PageBytes() + kGap) {
    std::memset(memory_.data(), 0xff, memory_.size());
    for (size_t i = 0; i < pages_.size(); ++i)
      pages_[i] = memory_.data() + (pages_.size() - 1 - i) * PageBytes();
  }
  TestCache(const TestCache&) = delete;
  TestCache& operator=(const TestCache&) = delete;

  KvHead head() const {
    return {
        .type = type_, .head_dim = head_dim_, .pages = pages_.data(), .k = kGap, .v = kGap + part_};
  }
  const std::byte* k(size_t page = 0) const { return pages_[page] + kGap; }
  const std::byte* v(size_t page = 0) const { return k(page) + part_; }
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all;
    for (size_t page = 0; page < pages_.size(); ++page)
      all.insert(all.end(), k(page), k(page) + 2 * part_);
    return all;
  }

 private:
  static constexpr size_t kGap = 64;
  size_t PageBytes() const { return kGap + 2 * part_; }

  KvType type_;
  size_t head_dim_;
  size_t part_;  // bytes of a page's keys, and of its values
  std::vector<std::byte*> pages_;
  Buffer memory_;
};

inline uint32_t Bits(float x) {
  return std::isnan(x) ? 0x7fc00000 : std::bit_cast<uint32_t>(x);
}

// The index of the first difference, or -1.
inline int64_t FirstDifference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (Bits(a[i]) != Bits(b[i])) return static_cast<int64_t>(i);
  }
  return -1;
}

inline testing::AssertionResult Same(const std::vector<float>& expected,
                                     const std::vector<float>& got) {
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

inline std::vector<float> Values(size_t n, Hard hard, uint64_t seed) {
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

// Emulated processors (tools/test-more): the best set that a run expects, which is then the only
// one that it tests, since each has a run of its own.
inline const char* const kBestIsa = std::getenv("EXO_BEST_ISA");

// The sets of this machine, apart from the reference.
inline std::vector<Isa> IsasHere() {
  std::vector<Isa> isas;
  for (const Isa isa : kIsas) {
    const bool wanted = kBestIsa == nullptr || IsaName(isa) == kBestIsa;
    if (isa != Isa::kReference && wanted && KernelsFor(isa)) isas.push_back(isa);
  }
  return isas;
}

class IsaTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override { kernels_ = *KernelsFor(GetParam()); }
  const Kernels& k() const { return *kernels_; }

 private:
  const Kernels* kernels_ = nullptr;
};

inline std::string NameOf(const testing::TestParamInfo<Isa>& info) {
  std::string name(IsaName(info.param));
  std::replace(name.begin(), name.end(), '-', '_');  // a test's name allows no more
  return name;
}

}  // namespace exo::kernels
