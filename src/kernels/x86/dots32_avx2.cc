// Products with the formats of 32-blocks by vpmaddubsw (AVX2), in steps of 16 rows x 4
// tokens.
#include "kernels/x86/dots_avx2.h"
#include "tensor/code_tables.h"

namespace exo::kernels::panel {
namespace {

// The formats: layout; zero point that the sum's start takes out; minimum; groups that int16 can
// add; Group g of 8 rows as bytes (at: the block's codes at these rows) and its product with
// activations.
struct Nibbles {
  template <int kGroup>
  static EXO_INLINE __m256i Group(const uint8_t* at) {
    return Part < kGroup<4 ? 0 : -4, 15>(LoadGroup(at + 64 * (kGroup % 4)));
  }
  static EXO_INLINE __m256i Multiply(__m256i w, __m256i x) { return MultiplyUnsigned(w, x); }
};
// Fifth bits stand in front of the nibbles.
struct Fives {
  template <int kGroup>
  static EXO_INLINE __m256i Group(const uint8_t* at) {
    return _mm256_or_si256(Nibbles::Group<kGroup>(at + 64), Part<4 - kGroup, 16>(LoadGroup(at)));
  }
  static EXO_INLINE __m256i Multiply(__m256i w, __m256i x) { return MultiplyUnsigned(w, x); }
};

// 15 * 127 * 2 * 8 = 30480
struct Q4 : Nibbles {
  static constexpr Block32Layout kLayout = kQ4Layout;
  static constexpr int kZero = 8;
  static constexpr bool kMinimum = false;
  static constexpr int kRun = 8;
};
struct Q41 : Nibbles {
  static constexpr Block32Layout kLayout = kQ41Layout;
  static constexpr int kZero = 0;
  static constexpr bool kMinimum = true;
  static constexpr int kRun = 8;
};
// 31 * 127 * 2 * 4 = 31496
struct Q50 : Fives {
  static constexpr Block32Layout kLayout = kQ50Layout;
  static constexpr int kZero = 16;
  static constexpr bool kMinimum = false;
  static constexpr int kRun = 4;
};
struct Q51 : Fives {
  static constexpr Block32Layout kLayout = kQ51Layout;
  static constexpr int kZero = 0;
  static constexpr bool kMinimum = true;
  static constexpr int kRun = 4;
};
// 128 * 127 * 2 = 32512. Two nibbles a code, with their sums in int16 for a whole block, need an
// instruction less, but were 13 % slower on Zen 3.
struct Q8 {
  static constexpr Block32Layout kLayout = kQ8Layout;
  static constexpr int kZero = 0;
  static constexpr bool kMinimum = false;
  static constexpr int kRun = 1;
  template <int kGroup>
  static EXO_INLINE __m256i Group(const uint8_t* at) {
    return _mm256_xor_si256(LoadGroup(at + 64 * kGroup), _mm256_set1_epi8(-128));
  }
  static EXO_INLINE __m256i Multiply(__m256i w, __m256i x) { return MultiplySigned(w, x); }
};
struct Iq4Nl {
  static constexpr Block32Layout kLayout = kQ4Layout;
  static constexpr int kZero = 0;
  static constexpr bool kMinimum = false;
  static constexpr int kRun = 1;
  template <int kGroup>
  static EXO_INLINE __m256i Group(const uint8_t* at) {
    return LookUp(tensor::kIq4Codes, Nibbles::Group<kGroup>(at));
  }
  static EXO_INLINE __m256i Multiply(__m256i w, __m256i x) { return MultiplySigned(w, x); }
};
// 12 * 127 * 2 * 8 = 24384
struct Mxfp4 {
  static constexpr Block32Layout kLayout = kMxfp4Layout;
  static constexpr int kZero = 0;
  static constexpr bool kMinimum = false;
  static constexpr int kRun = 8;
  template <int kGroup>
  static EXO_INLINE __m256i Group(const uint8_t* at) {
    return LookUp(tensor::kMxfp4Codes, Nibbles::Group<kGroup>(at));
  }
  static EXO_INLINE __m256i Multiply(__m256i w, __m256i x) { return MultiplySigned(w, x); }
};

// The scales of rows [8 half, 8 half + 8).
template <class W>
EXO_INLINE __m256 BlockScales(const uint8_t* block, int half) {
  if constexpr (W::kLayout.head >= kScaleBytes) return LoadScales(block + 16 * half);
  const __m128i exponents = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(block + 8 * half));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu8_epi32(exponents), 23));
}

// Of both halves of a panel's rows, for each of N tokens.
template <int N>
using Sums = __m256i[2][N];

// The groups of a block for both halves: unpacked when asked for, or once for many tokens.
template <class W>
struct Packed {
  const uint8_t* codes;

  template <int kGroup>
  EXO_INLINE __m256i Group(int half) const {
    // The vectors of a block once: groups of nibbles share them.
    constexpr size_t kVectors = (W::kLayout.bytes - W::kLayout.head) / kVectorBytes;
    if (kGroup < kVectors && half == 0) PrefetchLine<3072>(codes + kVectorBytes * kGroup);
    return W::template Group<kGroup>(codes + 32 * half);
  }
};
struct Unpacked {
  __m256i group[8][2];

  template <class W>
  EXO_INLINE void Fill(const Packed<W>& from) {
    Unroll<8>([&](auto g) EXO_LAMBDA {
      for (int half = 0; half < 2; ++half) group[g][half] = from.template Group<g>(half);
    });
    KeepInMemory(this);
  }
  template <int kGroup>
  EXO_INLINE __m256i Group(int half) const {
    return group[kGroup][half];
  }
};

// Tokens [lane, …) of a block's record in a tile of `width`.
struct Record {
  const uint8_t* at;
  size_t width;
  size_t lane;

  EXO_INLINE __m256i Four(int n, int g) const { return Broadcast(at + 32 * (lane + n) + 4 * g); }
  EXO_INLINE __m256 Scale(int n) const { return BroadcastFloat(at + 32 * width + 4 * (lane + n)); }
  EXO_INLINE __m256i Minus8(int n) const { return Broadcast(at + 36 * width + 4 * (lane + n)); }
};

// Integer dots of 32 k, zero point taken out.
template <class W, int N, class Groups>
EXO_INLINE void Dots(const Groups& groups, const Record& x, Sums<N>& sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  Sums<N> run;
  Unroll<8>([&](auto g) EXO_LAMBDA {
    KeepLoadOrder();
    const __m256i w[2] = {groups.template Group<g>(0), groups.template Group<g>(1)};
    Unroll<N>([&](auto n) EXO_LAMBDA {
      const __m256i four = x.Four(n, g);
      Unroll<2>([&](auto half) EXO_LAMBDA {
        const __m256i pairs = W::Multiply(w[half], four);
        run[half][n] = g % W::kRun == 0 ? pairs : _mm256_add_epi16(run[half][n], pairs);
        Finish(run[half][n]);
        if constexpr ((g + 1) % W::kRun == 0) {
          const __m256i dots = _mm256_madd_epi16(run[half][n], ones);
          sums[half][n] = g + 1 == W::kRun ? dots : _mm256_add_epi32(sums[half][n], dots);
          Finish(sums[half][n]);
        }
      });
    });
  });
  if constexpr (W::kZero != 0) {
    for (int n = 0; n < N; ++n) {
      const __m256i start = W::kZero == 8 ? x.Minus8(n) : _mm256_slli_epi32(x.Minus8(n), 1);
      for (int half = 0; half < 2; ++half) sums[half][n] = _mm256_add_epi32(sums[half][n], start);
    }
  }
}

// leaf = or += what a block contributes. w: the block.
template <class W, int N, class Groups>
EXO_INLINE void Block(const uint8_t* w, const Groups& groups, const Record& x, bool first,
                      __m256* const (&leaf)[2]) {
  Sums<N> sums;
  Dots<W, N>(groups, x, sums);
  for (int half = 0; half < 2; ++half) {
    const __m256 w_scale = BlockScales<W>(w, half);
    for (int n = 0; n < N; ++n) {
      const __m256 scale = _mm256_mul_ps(w_scale, x.Scale(n));
      __m256 term = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sums[half][n]));
      if constexpr (W::kMinimum) {
        const __m256 minimum = _mm256_mul_ps(LoadScales(w + kScaleBytes + 16 * half), x.Scale(n));
        const __m256i minus_sum = _mm256_srai_epi32(x.Minus8(n), 3);
        term = _mm256_sub_ps(term, _mm256_mul_ps(minimum, _mm256_cvtepi32_ps(minus_sum)));
      }
      leaf[half][n] = first ? term : _mm256_add_ps(leaf[half][n], term);
    }
  }
}

template <class W, int N>
void Step(const uint8_t* w, const uint8_t* x, size_t lane, size_t width, size_t cols,
          const TileOut& out) {
  Tree<N> tree;
  const size_t blocks = cols / 32;
  for (size_t b = 0; b < blocks; ++b, w += W::kLayout.bytes, x += width * kRecord32) {
    const Packed<W> groups{w + W::kLayout.head};
    const Record record{x, width, lane};
    Block<W, N>(w, groups, record, b % 4 == 0, {tree.leaf[0], tree.leaf[1]});
    if (b % 4 == 3 || b + 1 == blocks) tree.Push();
  }
  tree.Write(out);
}

constexpr int kStep = 4;

// A whole tile: a block is unpacked once for all its tokens.
template <class W>
void WholeTile(const uint8_t* w, const uint8_t* x, size_t cols, const TileOut& out) {
  constexpr size_t kWidth = kTileTokens;
  Tree<kWidth> tree;
  const size_t blocks = cols / 32;
  for (size_t b = 0; b < blocks; ++b, w += W::kLayout.bytes, x += kWidth * kRecord32) {
    Unpacked groups;
    groups.Fill(Packed<W>{w + W::kLayout.head});
    for (size_t t = 0; t < kWidth; t += kStep) {
      const Record record{x, kWidth, t};
      Block<W, kStep>(w, groups, record, b % 4 == 0, {tree.leaf[0] + t, tree.leaf[1] + t});
    }
    if (b % 4 == 3 || b + 1 == blocks) tree.Push();
  }
  tree.Write(out);
}

template <class W, int... kN>
constexpr TileSet Tiles(Widths<kN...>) {
  return {{Tile<kN, kStep, Step<W, kStep>, Step<W, RestOf(kN, kStep)>>..., WholeTile<W>}};
}

}  // namespace

void FillAvx2Dots32(Ops& ops) {
  ops.tiles[kFormatQ8] = Tiles<Q8>(PartWidths{});
  ops.tiles[kFormatQ4] = Tiles<Q4>(PartWidths{});
  ops.tiles[kFormatQ41] = Tiles<Q41>(PartWidths{});
  ops.tiles[kFormatQ50] = Tiles<Q50>(PartWidths{});
  ops.tiles[kFormatQ51] = Tiles<Q51>(PartWidths{});
  ops.tiles[kFormatIq4Nl] = Tiles<Iq4Nl>(PartWidths{});
  ops.tiles[kFormatMxfp4] = Tiles<Mxfp4>(PartWidths{});
}

}  // namespace exo::kernels::panel
