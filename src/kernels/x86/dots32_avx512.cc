// Products with the formats of 32-blocks by vpdpbusd (AVX-512 VNNI).
//
// A block keeps 8 weight registers, the weight scale and 16 leaf sums, 25 of 32. Starting the
// integer sum at -zero * sum(codes) takes the zero point out for free. Per block and token: 8 dot
// products, 2 mul, 1 add, 1 convert, so 8 of 10 operations of the two multiplying ports are dot
// products: at most 80 % of the integer peak. A minimum adds 2 mul, a convert, a shift and a
// subtraction.
#include "kernels/x86/pairs_avx512.h"
#include "tensor/code_tables.h"

namespace exo::kernels::panel {
namespace {

// The formats: layout, zero point, minimum, and Unpack of the codes of a block to bytes code +
// zero.

EXO_INLINE void UnpackNibbles(const uint8_t* at, Codes& w) {
  for (int g = 0; g < 4; ++g) {
    const __m512i v = LoadGroup(at + 64 * g);
    w[g] = Low(v);
    w[g + 4] = High(v);
  }
}
EXO_INLINE void LookUp(__m512i table, Codes& w) {
  for (__m512i& v : w) v = _mm512_shuffle_epi8(table, v);
}
// Fifth bits stand in one vector, then the nibbles.
EXO_INLINE void UnpackFive(const uint8_t* at, Codes& w) {
  const __m512i bits = LoadGroup(at);
  UnpackNibbles(at + 64, w);
  Unroll<8>([&](auto g) EXO_LAMBDA { w[g] = With<4 - g, 16>(w[g], bits); });
}

struct Q8 {
  static constexpr Block32Layout kLayout = kQ8Layout;
  static constexpr int kZero = 128;
  static constexpr bool kMinimum = false;
  static EXO_INLINE void Unpack(const uint8_t* at, Codes& w) {
    for (int g = 0; g < 8; ++g) w[g] = LoadGroup(at + 64 * g);
  }
};
struct Q4 {
  static constexpr Block32Layout kLayout = kQ4Layout;
  static constexpr int kZero = 8;
  static constexpr bool kMinimum = false;
  static EXO_INLINE void Unpack(const uint8_t* at, Codes& w) { UnpackNibbles(at, w); }
};
struct Q41 : Q4 {
  static constexpr Block32Layout kLayout = kQ41Layout;
  static constexpr int kZero = 0;
  static constexpr bool kMinimum = true;
};
struct Q50 {
  static constexpr Block32Layout kLayout = kQ50Layout;
  static constexpr int kZero = 16;
  static constexpr bool kMinimum = false;
  static EXO_INLINE void Unpack(const uint8_t* at, Codes& w) { UnpackFive(at, w); }
};
struct Q51 : Q50 {
  static constexpr Block32Layout kLayout = kQ51Layout;
  static constexpr int kZero = 0;
  static constexpr bool kMinimum = true;
};
struct Iq4Nl {
  static constexpr Block32Layout kLayout = kQ4Layout;
  static constexpr int kZero = 128;
  static constexpr bool kMinimum = false;
  static EXO_INLINE void Unpack(const uint8_t* at, Codes& w) {
    UnpackNibbles(at, w);
    LookUp(Table<kZero>(tensor::kIq4Codes), w);
  }
};
struct Mxfp4 {
  static constexpr Block32Layout kLayout = kMxfp4Layout;
  static constexpr int kZero = 16;
  static constexpr bool kMinimum = false;
  static EXO_INLINE void Unpack(const uint8_t* at, Codes& w) {
    UnpackNibbles(at, w);
    LookUp(Table<kZero>(tensor::kMxfp4Codes), w);
  }
};

template <class W>
EXO_INLINE __m512 BlockScales(const uint8_t* block) {
  if constexpr (W::kLayout.head >= kScaleBytes) return LoadScales(block);
  const __m128i exponents = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu8_epi32(exponents), 23));
}

// -zero * sum of the block's activation codes. minus8, minus128: the prepared multiples.
template <int kZero>
EXO_INLINE __m512i Start(const uint8_t* minus8, const uint8_t* minus128) {
  if constexpr (kZero == 0) return _mm512_setzero_si512();
  if constexpr (kZero == 16) return _mm512_slli_epi32(Broadcast(minus8), 1);
  return Broadcast(kZero == 8 ? minus8 : minus128);
}

// term - (minimum * x_scale) * -(sum of codes): rule 3's t.
EXO_INLINE __m512 LessMinimum(__m512 term, const uint8_t* w_at, __m512 x_scale,
                              const uint8_t* minus8) {
  const __m512 minimum = _mm512_mul_ps(LoadScales(w_at + kScaleBytes), x_scale);
  const __m512i minus_sum = _mm512_srai_epi32(Broadcast(minus8), 3);
  return _mm512_sub_ps(term, _mm512_mul_ps(minimum, _mm512_cvtepi32_ps(minus_sum)));
}

// One block of 32 k: leaf = or += p, or p - t with a minimum (rule 3). Two chains of four dot
// products halve the latency. kAhead: prefetch also with one or two tokens.
template <class W, int N, bool kAhead, bool kFirst>
EXO_INLINE void Block(const uint8_t* w_at, const uint8_t* x, __m512 (&leaf)[N]) {
  Prefetch<(N > 2), To::kSecondCache, 6144>(w_at, W::kLayout.bytes);
  Prefetch<(N <= 2 && kAhead), To::kFirstCache, 3072>(w_at, W::kLayout.bytes);
  Codes w;
  W::Unpack(w_at + W::kLayout.head, w);
  const __m512 w_scale = BlockScales<W>(w_at);
  const uint8_t* tail = x + 32 * N;
  for (int n = 0; n < N; ++n) {
    const uint8_t* minus8 = tail + 4 * N + 4 * n;
    __m512i low = Start<W::kZero>(minus8, minus8 + 4 * N);
    __m512i high = _mm512_setzero_si512();
    for (int g = 0; g < 4; ++g) {
      low = _mm512_dpbusd_epi32(low, w[g], Broadcast(x + 32 * n + 4 * g));
      high = _mm512_dpbusd_epi32(high, w[g + 4], Broadcast(x + 32 * n + 16 + 4 * g));
    }
    const __m512 x_scale = BroadcastFloat(tail + 4 * n);
    const __m512 scale = _mm512_mul_ps(w_scale, x_scale);
    const __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(low, high));
    __m512 term = _mm512_mul_ps(scale, sum);
    if constexpr (W::kMinimum) term = LessMinimum(term, w_at, x_scale, minus8);
    leaf[n] = kFirst ? term : _mm512_add_ps(leaf[n], term);
  }
}

template <class W, int N, bool kAhead>
void Tile(const uint8_t* w, const uint8_t* x, size_t cols, const TileOut& out) {
  Tree<N> tree;
  __m512 leaf[N];
  for (size_t blocks = cols / 32; blocks > 0;) {
    const size_t here = blocks < 4 ? blocks : 4;
    Block<W, N, kAhead, true>(w, x, leaf);
    w += W::kLayout.bytes;
    x += N * kRecord32;
    for (size_t b = 1; b < here; ++b) {
      Block<W, N, kAhead, false>(w, x, leaf);
      w += W::kLayout.bytes;
      x += N * kRecord32;
    }
    tree.Push(leaf);
    blocks -= here;
  }
  tree.Write(out);
}

// One block of 32 k of two panels: leaf = or += what Block adds.
template <class W, bool kFirst>
EXO_INLINE void PairBlock(const PairJob& job, const uint8_t* (&w_at)[2], const uint8_t* x,
                          PairLeaves& leaves) {
  const size_t tail =
      32 * kTileTokens;  // in a record: the scales, then -8 * sums, then -128 * sums
  Codes w[2];
  __m512 w_scale[2];
  for (int p = 0; p < 2; ++p) {
    Prefetch<true, To::kSecondCache, 6144>(w_at[p], W::kLayout.bytes);
    W::Unpack(w_at[p] + W::kLayout.head, w[p]);
    w_scale[p] = BlockScales<W>(w_at[p]);
  }
  __m512i sum[2];
  const auto dots = [&](const Token& at, const auto& between) EXO_LAMBDA {
    const uint8_t* minus8 = at.record + tail + 4 * kTileTokens + 4 * at.lane;
    __m512i s[8];
    for (__m512i& v : s) v = _mm512_setzero_si512();
    s[0] = s[4] = Start<W::kZero>(minus8, minus8 + 4 * kTileTokens);
    PairDots(
        w[0], w[1], [&](int g) EXO_LAMBDA { return at.record + 32 * at.lane + 4 * g; }, between, s);
    for (int p = 0; p < 2; ++p) {
      sum[p] = _mm512_add_epi32(_mm512_add_epi32(s[4 * p], s[4 * p + 1]),
                                _mm512_add_epi32(s[4 * p + 2], s[4 * p + 3]));
    }
  };
  const auto end = [&](const Token& at) EXO_LAMBDA {
    const uint8_t* scale = at.record + tail + 4 * at.lane;
    const __m512 x_scale = BroadcastFloat(scale);
    for (int p = 0; p < 2; ++p) {
      __m512 term = _mm512_mul_ps(_mm512_mul_ps(w_scale[p], x_scale), _mm512_cvtepi32_ps(sum[p]));
      if constexpr (W::kMinimum)
        term = LessMinimum(term, w_at[p], x_scale, scale + 4 * kTileTokens);
      __m512& leaf = leaves.leaf[p][at.number];
      leaf = kFirst ? term : _mm512_add_ps(leaf, term);
    }
  };
  Pipeline(job, x, dots, end);
  for (int p = 0; p < 2; ++p) w_at[p] += W::kLayout.bytes;
}

template <class W>
void Pair(const PairJob& job, const TileOut& to) {
  PairLeaves leaves;
  const uint8_t* w[2] = {job.panel, job.panel + job.panel_bytes};
  const uint8_t* x = job.x;
  const size_t record = kTileTokens * kRecord32;
  for (size_t blocks = job.cols / 32; blocks > 0;) {
    const size_t here = blocks < 4 ? blocks : 4;
    PairBlock<W, true>(job, w, x, leaves);
    for (size_t b = 1; b < here; ++b) PairBlock<W, false>(job, w, x + b * record, leaves);
    x += here * record;
    leaves.Push();
    blocks -= here;
  }
  leaves.Write(to);
}

template <class W, int... kN>
constexpr TileSet Tiles(Widths<kN...>) {
  return {{Tile<W, kN, true>...}, {nullptr, Pair<W>}};
}

template <class W>
void LeaveToPrefetcher(TileSet& tiles) {
  tiles.width[0] = Tile<W, 1, false>;
  tiles.width[1] = Tile<W, 2, false>;
}

}  // namespace

void FillAvx512Dots32(Ops& ops) {
  ops.tiles[kFormatQ8] = Tiles<Q8>(AllWidths{});
  ops.tiles[kFormatQ4] = Tiles<Q4>(AllWidths{});
  ops.tiles[kFormatQ41] = Tiles<Q41>(AllWidths{});
  ops.tiles[kFormatQ50] = Tiles<Q50>(AllWidths{});
  ops.tiles[kFormatQ51] = Tiles<Q51>(AllWidths{});
  ops.tiles[kFormatIq4Nl] = Tiles<Iq4Nl>(AllWidths{});
  ops.tiles[kFormatMxfp4] = Tiles<Mxfp4>(AllWidths{});
}

void FillAvx512DecodeZen4(Ops& ops) {
  LeaveToPrefetcher<Q8>(ops.tiles[kFormatQ8]);
  LeaveToPrefetcher<Q4>(ops.tiles[kFormatQ4]);
  LeaveToPrefetcher<Q41>(ops.tiles[kFormatQ41]);
  LeaveToPrefetcher<Q50>(ops.tiles[kFormatQ50]);
  LeaveToPrefetcher<Q51>(ops.tiles[kFormatQ51]);
  LeaveToPrefetcher<Iq4Nl>(ops.tiles[kFormatIq4Nl]);
  LeaveToPrefetcher<Mxfp4>(ops.tiles[kFormatMxfp4]);
}

}  // namespace exo::kernels::panel
