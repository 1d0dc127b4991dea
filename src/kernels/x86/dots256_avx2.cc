// Products with the formats of super-blocks (K-quants, IQ4_XS) by vpmaddubsw (AVX2), in steps of 16
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

// Of both halves of a panel's rows, for each of N tokens.
template <int N>
using Sums = __m256i[2][N];

// The weights of a leaf: unpacked when asked for, or once for many tokens. leaf: its sub-scales,
// behind which its codes stand.
template <class W>
struct Packed {
  const uint8_t* leaf;

  template <int kSub, int kGroup>
  EXO_INLINE __m256i Group(int half) const {
    return W::template Group<kSub, kGroup>(leaf + W::kLayout.subs + 32 * half);
  }
  template <int kSub>
  EXO_INLINE __m256i Scale(int half) const {
    return Both(W::SubScale(leaf + 8 * half, kSub));
  }
  // Pair `p` of the integer minima: the format's own, or a zero point as -zero * sub_scale.
  EXO_INLINE __m256i Minima(int half, int p) const {
    if constexpr (W::kMinimum) {
      return W::Minima(leaf, half, p);
    } else {
      return _mm256_mullo_epi16(_mm256_cvtepi8_epi16(PairOf(leaf + 8 * half, p)),
                                _mm256_set1_epi16(-W::kZero));
    }
  }
  // The lines of a leaf's codes one by one, when group `kIndex` of 32 is asked for.
  template <int kIndex>
  EXO_INLINE void Ahead() const {
    constexpr auto kLine = [](int i) { return i * static_cast<int>(W::kLayout.vectors) / 32; };
    if constexpr (kIndex == 0 || kLine(kIndex) != kLine(kIndex - 1)) {
      // Q4_K on Zen 3, GB/s of one token: not at all 13.4, 1 KiB ahead 17.1, 2 18.8, 3 18.3.
      PrefetchLine<2048>(leaf + W::kLayout.subs + kVectorBytes * kLine(kIndex));
    }
  }
};
template <class W>
struct Unpacked {
  __m256i group[32][2];
  __m256i scale[kSubs<W>][2];
  __m256i minima[kSubs<W> / 2][2];

  EXO_INLINE void Fill(const Packed<W>& from) {
    constexpr int kGroups = 32 / kSubs<W>;
    Unroll<32>([&](auto turn) EXO_LAMBDA {
      constexpr int kSub = W::kOrder[turn / kGroups];
      constexpr int kGroup = turn % kGroups;
      from.template Ahead<turn>();
      for (int half = 0; half < 2; ++half) {
        group[kGroups * kSub + kGroup][half] = from.template Group<kSub, kGroup>(half);
        if (kGroup == 0) scale[kSub][half] = from.template Scale<kSub>(half);
      }
    });
    if constexpr (W::kMinimum || W::kZero != 0) {
      for (int p = 0; p < kSubs<W> / 2; ++p) {
        for (int half = 0; half < 2; ++half) minima[p][half] = from.Minima(half, p);
      }
    }
    KeepInMemory(this);
  }
  template <int kSub, int kGroup>
  EXO_INLINE __m256i Group(int half) const {
    return group[32 / kSubs<W> * kSub + kGroup][half];
  }
  template <int kSub>
  EXO_INLINE __m256i Scale(int half) const {
    return scale[kSub][half];
  }
  EXO_INLINE __m256i Minima(int half, int p) const { return minima[p][half]; }
  template <int kIndex>
  EXO_INLINE void Ahead() const {}
};

// Tokens [lane, …) of a leaf's record in a tile of `width`.
template <class W>
struct Record {
  const uint8_t* at;
  size_t width;
  size_t lane;

  EXO_INLINE __m256i Four(int n, int g) const { return Broadcast(at + 128 * (lane + n) + 4 * g); }
  EXO_INLINE __m256 Scale(int n) const {
    return BroadcastFloat(at + Scales128(width) + 4 * (lane + n));
  }
  // The sums of the activation codes of sub-blocks 2 p and 2 p + 1.
  EXO_INLINE __m256i SumPair(int n, int p) const {
    const size_t sums = kSubs<W> == 8 ? Sums16(width) : Sums32(width);
    return Broadcast(at + sums + 4 * width * p + 4 * (lane + n));
  }
};

// sums = or += sub_scale * dot of the sub-block whose turn it is.
template <class W, int N, int kTurn, class Groups>
EXO_INLINE void SubBlock(const Groups& groups, const Record<W>& x, Sums<N>& sums) {
  constexpr int kSub = W::kOrder[kTurn];
  constexpr int kGroups = 32 / kSubs<W>;
  Sums<N> run;
  Unroll<kGroups>([&](auto g) EXO_LAMBDA {
    KeepLoadOrder();
    groups.template Ahead<kTurn * kGroups + g>();
    const __m256i w[2] = {groups.template Group<kSub, g>(0), groups.template Group<kSub, g>(1)};
    Unroll<N>([&](auto n) EXO_LAMBDA {
      const __m256i four = x.Four(n, kGroups * kSub + g);
      Unroll<2>([&](auto half) EXO_LAMBDA {
        const __m256i pairs = W::Multiply(w[half], four);
        run[half][n] = g % W::kRun == 0 ? pairs : _mm256_add_epi16(run[half][n], pairs);
        Finish(run[half][n]);
        if constexpr ((g + 1) % W::kRun == 0) {
          const __m256i dots = _mm256_madd_epi16(run[half][n], groups.template Scale<kSub>(half));
          sums[half][n] =
              kTurn == 0 && g + 1 == W::kRun ? dots : _mm256_add_epi32(sums[half][n], dots);
          Finish(sums[half][n]);
        }
      });
    });
  });
}

// sums = or += minimum * sum of the sub-blocks' activation codes.
template <class W, int N, class Groups>
EXO_INLINE void AddMinima(const Groups& groups, const Record<W>& x, bool first, Sums<N>& sums) {
  for (int p = 0; p < kSubs<W> / 2; ++p) {
    Unroll<2>([&](auto half) EXO_LAMBDA {
      const __m256i minima = groups.Minima(half, p);
      Unroll<N>([&](auto n) EXO_LAMBDA {
        const __m256i t = _mm256_madd_epi16(minima, x.SumPair(n, p));
        sums[half][n] = first && p == 0 ? t : _mm256_add_epi32(sums[half][n], t);
      });
    });
  }
}

// What a leaf contributes. block: the scales in front of it.
template <class W, int N, class Groups>
EXO_INLINE void Leaf(const uint8_t* block, const Groups& groups, const Record<W>& x,
                     __m256* const (&leaf)[2]) {
  Sums<N> sums;
  Unroll<kSubs<W>>([&](auto turn) EXO_LAMBDA { SubBlock<W, N, turn>(groups, x, sums); });
  if constexpr (W::kZero != 0) AddMinima<W, N>(groups, x, false, sums);
  const auto contribution = [&](const uint8_t* scales, int n, __m256i sum) EXO_LAMBDA {
    const __m256 scale = _mm256_mul_ps(LoadScales(scales), x.Scale(n));
    return _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sum));
  };
  for (int half = 0; half < 2; ++half) {
    for (int n = 0; n < N; ++n) leaf[half][n] = contribution(block + 16 * half, n, sums[half][n]);
  }
  if constexpr (W::kMinimum) {
    AddMinima<W, N>(groups, x, true, sums);
    for (int half = 0; half < 2; ++half) {
      for (int n = 0; n < N; ++n) {
        leaf[half][n] = _mm256_sub_ps(
            leaf[half][n], contribution(block + kScaleBytes + 16 * half, n, sums[half][n]));
      }
    }
  }
}

// The block of column k, and of it the leaf.
template <class W>
EXO_INLINE const uint8_t* BlockAt(const uint8_t* w, size_t k) {
  return w + k / 256 * W::kLayout.bytes();
}
template <class W>
EXO_INLINE Packed<W> LeafAt(const uint8_t* w, size_t k) {
  return {BlockAt<W>(w, k) + W::kLayout.head + k / 128 % 2 * W::kLayout.half()};
}

template <class W, int N>
void Step(const uint8_t* w, const uint8_t* x, size_t lane, size_t width, size_t cols,
          const TileOut& out) {
  Tree<N> tree;
  for (size_t k = 0; k < cols; k += 128, x += width * kRecord128) {
    const Record<W> record{x, width, lane};
    Leaf<W, N>(BlockAt<W>(w, k), LeafAt<W>(w, k), record, {tree.leaf[0], tree.leaf[1]});
    tree.Push();
  }
  tree.Write(out);
}

constexpr int kStep = 4;

// A whole tile: a leaf is unpacked once for all its tokens.
template <class W>
void WholeTile(const uint8_t* w, const uint8_t* x, size_t cols, const TileOut& out) {
  constexpr size_t kWidth = kTileTokens;
  Tree<kWidth> tree;
  for (size_t k = 0; k < cols; k += 128, x += kWidth * kRecord128) {
    Unpacked<W> groups;
    groups.Fill(LeafAt<W>(w, k));
    for (size_t t = 0; t < kWidth; t += kStep) {
      const Record<W> record{x, kWidth, t};
      Leaf<W, kStep>(BlockAt<W>(w, k), groups, record, {tree.leaf[0] + t, tree.leaf[1] + t});
    }
    tree.Push();
  }
  tree.Write(out);
}

template <class W, int... kN>
constexpr TileSet Tiles(Widths<kN...>) {
  return {{Tile<kN, kStep, Step<W, kStep>, Step<W, RestOf(kN, kStep)>>..., WholeTile<W>}};
}

}  // namespace

void FillAvx2Dots256(Ops& ops) {
  ops.tiles[kFormatQ2K] = Tiles<Q2K>(PartWidths{});
  ops.tiles[kFormatQ3K] = Tiles<Q3K>(PartWidths{});
  ops.tiles[kFormatQ4K] = Tiles<Q4K>(PartWidths{});
  ops.tiles[kFormatQ5K] = Tiles<Q5K>(PartWidths{});
  ops.tiles[kFormatQ6K] = Tiles<Q6K>(PartWidths{});
  ops.tiles[kFormatIq4Xs] = Tiles<Iq4Xs>(PartWidths{});
}

}  // namespace exo::kernels::panel
