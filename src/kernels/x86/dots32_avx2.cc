// Products with the formats of 32-blocks by vpmaddubsw (AVX2), in steps of 8 rows x 8 tokens.
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
// 128 * 127 * 2 = 32512
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

// Integer dots of 32 k for 8 rows, zero point taken out. codes: the block's at these rows; tail:
// the tokens' scales, behind which the multiples of their sums stand.
template <class W, int N>
EXO_INLINE void Dots(const uint8_t* codes, const uint8_t* x, const uint8_t* tail, size_t width,
                     __m256i (&sums)[N]) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i run[N];
  Unroll<8>([&](auto g) EXO_LAMBDA {
    KeepLoadOrder();
    const __m256i w = W::template Group<g>(codes);
    // The vectors of a block once: groups of nibbles share them.
    constexpr size_t kVectors = (W::kLayout.bytes - W::kLayout.head) / kVectorBytes;
    if constexpr (g < kVectors) PrefetchLine(codes + kVectorBytes * g);
    for (int n = 0; n < N; ++n) {
      const __m256i pairs = W::Multiply(w, Broadcast(x + 32 * n + 4 * g));
      run[n] = g % W::kRun == 0 ? pairs : _mm256_add_epi16(run[n], pairs);
      if constexpr ((g + 1) % W::kRun == 0) {
        const __m256i dots = _mm256_madd_epi16(run[n], ones);
        sums[n] = g + 1 == W::kRun ? dots : _mm256_add_epi32(sums[n], dots);
        Finish(sums[n]);
      }
    }
  });
  if constexpr (W::kZero != 0) {
    for (int n = 0; n < N; ++n) {
      const __m256i minus8 = Broadcast(tail + 4 * width + 4 * n);
      sums[n] = _mm256_add_epi32(sums[n], W::kZero == 8 ? minus8 : _mm256_slli_epi32(minus8, 1));
    }
  }
}

template <class W, int N>
EXO_INLINE void Block(const uint8_t* w, const uint8_t* x, const uint8_t* tail, size_t width,
                      bool first, Tree<N>& tree) {
  for (int half = 0; half < 2; ++half) {
    __m256i sums[N];
    Dots<W>(w + W::kLayout.head + 32 * half, x, tail, width, sums);
    const __m256 w_scale = BlockScales<W>(w, half);
    for (int n = 0; n < N; ++n) {
      const __m256 x_scale = BroadcastFloat(tail + 4 * n);
      const __m256 scale = _mm256_mul_ps(w_scale, x_scale);
      __m256 term = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sums[n]));
      if constexpr (W::kMinimum) {
        const __m256 minimum = _mm256_mul_ps(LoadScales(w + kScaleBytes + 16 * half), x_scale);
        const __m256i minus_sum = _mm256_srai_epi32(Broadcast(tail + 4 * width + 4 * n), 3);
        term = _mm256_sub_ps(term, _mm256_mul_ps(minimum, _mm256_cvtepi32_ps(minus_sum)));
      }
      tree.leaf[half][n] = first ? term : _mm256_add_ps(tree.leaf[half][n], term);
    }
  }
}

template <class W, int N>
void Step(const uint8_t* w, const uint8_t* x, size_t lane, size_t width, size_t cols,
          const TileOut& out) {
  Tree<N> tree;
  const size_t blocks = cols / 32;
  for (size_t b = 0; b < blocks; ++b, w += W::kLayout.bytes, x += width * kRecord32) {
    Block<W, N>(w, x + 32 * lane, x + 32 * width + 4 * lane, width, b % 4 == 0, tree);
    if (b % 4 == 3 || b + 1 == blocks) tree.Push();
  }
  tree.Write(out);
}

constexpr int kStep = 8;

template <class W, int... kN>
constexpr TileSet Tiles(Widths<kN...>) {
  return {{Tile<kN, kStep, Step<W, kStep>, Step<W, RestOf(kN, kStep)>>...}};
}

}  // namespace

void FillAvx2Dots32(Ops& ops) {
  ops.tiles[kFormatQ8] = Tiles<Q8>(AllWidths{});
  ops.tiles[kFormatQ4] = Tiles<Q4>(AllWidths{});
  ops.tiles[kFormatQ41] = Tiles<Q41>(AllWidths{});
  ops.tiles[kFormatQ50] = Tiles<Q50>(AllWidths{});
  ops.tiles[kFormatQ51] = Tiles<Q51>(AllWidths{});
  ops.tiles[kFormatIq4Nl] = Tiles<Iq4Nl>(AllWidths{});
  ops.tiles[kFormatMxfp4] = Tiles<Mxfp4>(AllWidths{});
}

}  // namespace exo::kernels::panel
