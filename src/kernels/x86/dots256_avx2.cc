// Products with the formats of super-blocks (K-quants, IQ4_XS) by vpmaddubsw (AVX2), in steps of 8
// rows x 4 tokens. vpmaddwd by the sub-scale widens a run's int16 and scales it in one instruction;
// integer minima times sums of activation codes are vpmaddwd too, two sub-blocks at a time
// (dots256_avx512.cc).
#include "kernels/x86/dots_avx2.h"
#include "tensor/code_tables.h"

namespace exo::kernels::panel {
namespace {

EXO_INLINE __m128i LoadEight(const uint8_t* at) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
}
// Sub-scale (or what its byte holds) of sub-block s for 8 rows.
EXO_INLINE __m256i SubScaleOf(const uint8_t* subs, int s) {
  return _mm256_cvtepi8_epi32(LoadEight(subs + 16 * s));
}
// The bytes of sub-blocks 2 p and 2 p + 1 side by side.
EXO_INLINE __m128i PairOf(const uint8_t* subs, int p) {
  return _mm_unpacklo_epi8(LoadEight(subs + 32 * p), LoadEight(subs + 32 * p + 16));
}

// The formats, as in dots256_avx512.cc: `subs` and `codes` point at these 8 rows' bytes, rows 8 h
// and on of a half. kZero is taken out as a minimum. Group g of sub-block kSub as bytes; kRun
// groups can be added in int16.
struct TwoBits {
  template <int kSub, int kGroup>
  static EXO_INLINE __m256i Group(const uint8_t* codes) {
    return Part<-2 * (kSub / 2), 3>(LoadGroup(codes + 64 * (4 * (kSub % 2) + kGroup)));
  }
};
struct Q2K : TwoBits {
  static constexpr Block256Layout kLayout = kQ2KLayout;
  static constexpr int kOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};
  static constexpr bool kMinimum = true;
  static constexpr int kZero = 0;
  static constexpr int kRun = 4;  // 3 * 127 * 2 * 4 = 3048
  static EXO_INLINE __m256i SubScale(const uint8_t* subs, int s) {
    return _mm256_and_si256(SubScaleOf(subs, s), _mm256_set1_epi32(15));
  }
  static EXO_INLINE __m256i Minima(const uint8_t* half, int h, int p) {
    return _mm256_srli_epi16(_mm256_cvtepu8_epi16(PairOf(half + 8 * h, p)), 4);
  }
  static EXO_INLINE __m256i Multiply(__m256i w, __m256i x) { return MultiplyUnsigned(w, x); }
};
struct Signed {
  static constexpr bool kMinimum = false;
  static EXO_INLINE __m256i SubScale(const uint8_t* subs, int s) { return SubScaleOf(subs, s); }
};
struct Q3K : Signed {
  static constexpr Block256Layout kLayout = kQ3KLayout;
  static constexpr int kOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};
  static constexpr int kZero = 4;
  static constexpr int kRun = 4;  // 7 * 127 * 2 * 4 = 7112
  template <int kSub, int kGroup>
  static EXO_INLINE __m256i Group(const uint8_t* codes) {
    const __m256i third = Part<2 - kSub / 2 - 4 * (kSub % 2), 4>(LoadGroup(codes + 64 * kGroup));
    return _mm256_or_si256(TwoBits::Group<kSub, kGroup>(codes + 4 * 64), third);
  }
  static EXO_INLINE __m256i Multiply(__m256i w, __m256i x) { return MultiplyUnsigned(w, x); }
};

struct Q4K {
  static constexpr Block256Layout kLayout = kQ4KLayout;
  static constexpr int kOrder[] = {0, 1, 2, 3};
  static constexpr bool kMinimum = true;
  static constexpr int kZero = 0;
  static constexpr int kRun = 8;  // 15 * 127 * 2 * 8 = 30480
  static EXO_INLINE __m256i SubScale(const uint8_t* subs, int s) { return SubScaleOf(subs, s); }
  static EXO_INLINE __m256i Minima(const uint8_t* half, int h, int p) {
    return _mm256_cvtepu8_epi16(LoadBytes(half + kSubMinima + 16 * h + 32 * p));
  }
  template <int kSub, int kGroup>
  static EXO_INLINE __m256i Group(const uint8_t* codes) {
    return Part < kSub % 2 == 0 ? 0 : -4, 15 > (LoadGroup(codes + 64 * (8 * (kSub / 2) + kGroup)));
  }
  static EXO_INLINE __m256i Multiply(__m256i w, __m256i x) { return MultiplyUnsigned(w, x); }
};
struct Q5K : Q4K {
  static constexpr Block256Layout kLayout = kQ5KLayout;
  static constexpr int kRun = 4;  // 31 * 127 * 2 * 4 = 31496
  template <int kSub, int kGroup>
  static EXO_INLINE __m256i Group(const uint8_t* codes) {
    const __m256i bits = LoadGroup(codes + 64 * (kGroup % 4));
    return _mm256_or_si256(Q4K::Group<kSub, kGroup>(codes + 4 * 64),
                           Part<(kGroup < 4 ? 4 : 0) - kSub, 16>(bits));
  }
};

struct Q6K : Signed {
  static constexpr Block256Layout kLayout = kQ6KLayout;
  static constexpr int kOrder[] = {0, 4, 1, 5, 2, 6, 3, 7};
  static constexpr int kZero = 32;
  static constexpr int kRun = 2;  // 63 * 127 * 2 * 2 = 32004
  template <int kSub, int kGroup>
  static EXO_INLINE __m256i Group(const uint8_t* codes) {
    const __m256i low = LoadGroup(codes + 64 * Q6KLow(4 * (kSub % 4) + kGroup));
    const __m256i high = LoadGroup(codes + 64 * Q6KHigh(4 * (kSub % 2) + kGroup));
    return _mm256_or_si256(Part < kSub<4 ? 0 : -4, 15>(low), Part<4 - 2 * (kSub / 2), 0x30>(high));
  }
  static EXO_INLINE __m256i Multiply(__m256i w, __m256i x) { return MultiplyUnsigned(w, x); }
};

struct Iq4Xs : Signed {
  static constexpr Block256Layout kLayout = kIq4XsLayout;
  static constexpr int kOrder[] = {0, 1, 2, 3};
  static constexpr int kZero = 0;
  static constexpr int kRun = 1;  // 127 * 127 * 2 = 32258
  template <int kSub, int kGroup>
  static EXO_INLINE __m256i Group(const uint8_t* codes) {
    const __m256i v = LoadGroup(codes + 64 * (4 * kSub + kGroup % 4));
    return LookUp(tensor::kIq4Codes, Part < kGroup<4 ? 0 : -4, 15>(v));
  }
  static EXO_INLINE __m256i Multiply(__m256i w, __m256i x) { return MultiplySigned(w, x); }
};

template <class W>
constexpr int kSubs = static_cast<int>(sizeof(W::kOrder) / sizeof(int));

// A sub-scale in both int16 of its lane.
EXO_INLINE __m256i Both(__m256i scale) {
  return _mm256_blend_epi16(scale, _mm256_slli_epi32(scale, 16), 0xaa);
}

// sums = or += sub_scale * dot of the sub-block whose turn it is. x: the tokens' codes.
template <class W, int N, int kTurn>
EXO_INLINE void SubBlock(const uint8_t* subs, const uint8_t* codes, const uint8_t* x,
                         __m256i (&sums)[N]) {
  constexpr int kSub = W::kOrder[kTurn];
  constexpr int kGroups = 32 / kSubs<W>;
  const __m256i scale = Both(W::SubScale(subs, kSub));
  __m256i run[N];
  Unroll<kGroups>([&](auto g) EXO_LAMBDA {
    KeepLoadOrder();
    const __m256i w = W::template Group<kSub, g>(codes);
    for (int n = 0; n < N; ++n) {
      const __m256i pairs = W::Multiply(w, Broadcast(x + 128 * n + 4 * (kGroups * kSub + g)));
      run[n] = g % W::kRun == 0 ? pairs : _mm256_add_epi16(run[n], pairs);
      if constexpr ((g + 1) % W::kRun == 0) {
        const __m256i dots = _mm256_madd_epi16(run[n], scale);
        sums[n] = kTurn == 0 && g + 1 == W::kRun ? dots : _mm256_add_epi32(sums[n], dots);
      }
    }
  });
}

// Pair `p` of the integer minima: the format's own, or a zero point as -zero * sub_scale.
template <class W>
EXO_INLINE __m256i Minima(const uint8_t* half, int h, int p) {
  if constexpr (W::kMinimum) {
    return W::Minima(half, h, p);
  } else {
    return _mm256_mullo_epi16(_mm256_cvtepi8_epi16(PairOf(half + 8 * h, p)),
                              _mm256_set1_epi16(-W::kZero));
  }
}

// sums = or += minimum * sum of the sub-blocks' activation codes.
template <class W, int N>
EXO_INLINE void AddMinima(const uint8_t* half, int h, const uint8_t* pairs, size_t width,
                          bool first, __m256i (&sums)[N]) {
  for (int p = 0; p < kSubs<W> / 2; ++p) {
    const __m256i minima = Minima<W>(half, h, p);
    for (int n = 0; n < N; ++n) {
      const __m256i t = _mm256_madd_epi16(minima, Broadcast(pairs + 4 * width * p + 4 * n));
      sums[n] = first && p == 0 ? t : _mm256_add_epi32(sums[n], t);
    }
  }
}

// A token record: its codes, scales and the sums that fit the sub-blocks.
struct Record {
  const uint8_t* codes;
  const uint8_t* scales;
  const uint8_t* pairs;
};

template <int N>
EXO_INLINE __m256 Contribution(const uint8_t* w_scales, const Record& x, int n, __m256i sum) {
  const __m256 scale = _mm256_mul_ps(LoadScales(w_scales), BroadcastFloat(x.scales + 4 * n));
  return _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sum));
}

// Rows [8 h, 8 h + 8) of a leaf.
template <class W, int N>
EXO_INLINE void Leaf(const uint8_t* block, const uint8_t* half, int h, const Record& x,
                     size_t width, __m256 (&leaf)[N]) {
  const uint8_t* subs = half + 8 * h;
  __m256i sums[N];
  Unroll<kSubs<W>>([&](auto turn) EXO_LAMBDA {
    SubBlock<W, N, turn>(subs, half + W::kLayout.subs + 32 * h, x.codes, sums);
  });
  if constexpr (W::kZero != 0) AddMinima<W, N>(half, h, x.pairs, width, false, sums);
  for (int n = 0; n < N; ++n) leaf[n] = Contribution<N>(block + 16 * h, x, n, sums[n]);
  if constexpr (W::kMinimum) {
    AddMinima<W, N>(half, h, x.pairs, width, true, sums);
    for (int n = 0; n < N; ++n) {
      leaf[n] =
          _mm256_sub_ps(leaf[n], Contribution<N>(block + kScaleBytes + 16 * h, x, n, sums[n]));
    }
  }
}

template <class W, int N>
void Step(const uint8_t* w, const uint8_t* x, size_t lane, size_t width, size_t cols,
          const TileOut& out) {
  Tree<N> tree;
  for (size_t k = 0; k < cols; k += 128, x += width * kRecord128) {
    const uint8_t* block = w + k / 256 * W::kLayout.bytes();
    const uint8_t* half = block + W::kLayout.head + k / 128 % 2 * W::kLayout.half();
    const Record record = {x + 128 * lane, x + Scales128(width) + 4 * lane,
                           x + (kSubs<W> == 8 ? Sums16(width) : Sums32(width)) + 4 * lane};
    for (int h = 0; h < 2; ++h) Leaf<W, N>(block, half, h, record, width, tree.leaf[h]);
    tree.Push();
  }
  tree.Write(out);
}

constexpr int kStep = 4;

template <class W, int... kN>
constexpr TileSet Tiles(Widths<kN...>) {
  return {{Tile<kN, kStep, Step<W, kStep>, Step<W, RestOf(kN, kStep)>>...}};
}

}  // namespace

void FillAvx2Dots256(Ops& ops) {
  ops.tiles[kFormatQ2K] = Tiles<Q2K>(AllWidths{});
  ops.tiles[kFormatQ3K] = Tiles<Q3K>(AllWidths{});
  ops.tiles[kFormatQ4K] = Tiles<Q4K>(AllWidths{});
  ops.tiles[kFormatQ5K] = Tiles<Q5K>(AllWidths{});
  ops.tiles[kFormatQ6K] = Tiles<Q6K>(AllWidths{});
  ops.tiles[kFormatIq4Xs] = Tiles<Iq4Xs>(AllWidths{});
}

}  // namespace exo::kernels::panel
