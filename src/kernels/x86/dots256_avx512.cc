// Products with the formats of super-blocks (K-quants, IQ1 to IQ4_XS, TQ) by vpdpbusd (AVX-512
// VNNI).
//
// A half (128 k, one leaf) is a sum of sub_scale * dot over its sub-blocks, all in int32. Integer
// minima times sums of activation codes are dot products of int16 pairs (vpdpwssd), two sub-blocks
// at a time: 2 or 4 instructions a leaf. A zero point is a minimum of zero * sub_scale under the
// block's scale; only that of Q6_K starts the dots instead, at -32 * sum, which costs loads but no
// multiplication (8 % faster). Per leaf and token of Q4_K: 32 + 2 dot products, 4 integer and 4
// float mul, so 76 % of the integer peak is the ceiling; Q6_K, with 8 sub-blocks: 32, 8 and 2.
#include "kernels/x86/pairs_avx512.h"
#include "tensor/code_tables.h"

namespace exo::kernels::panel {
namespace {

// Sub-scale (or what its byte holds) of sub-block s.
EXO_INLINE __m512i SubScaleOf(const uint8_t* half, int s) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(half + 16 * s)));
}
// The bytes of sub-blocks 2 p and 2 p + 1 side by side.
EXO_INLINE __m256i PairOf(const uint8_t* half, int p) {
  const auto* at = reinterpret_cast<const __m128i*>(half + 32 * p);
  const __m128i even = _mm_loadu_si128(at), odd = _mm_loadu_si128(at + 1);
  return _mm256_set_m128i(_mm_unpackhi_epi8(even, odd), _mm_unpacklo_epi8(even, odd));
}

// The formats: layout; sub-blocks of a half in the order of their codes; sub-scales; a
// minimum, with its integers as pairs of int16, or a zero point; Unpack of a sub-block's codes to
// bytes code + zero. An object holds what a format needs beside the weights: a table of codes.
struct Plain {
  EXO_INLINE explicit Plain(const tensor::CodeTable&) {}
  static EXO_INLINE __m512 Scales(const uint8_t* at) { return LoadScales(at); }
  static EXO_INLINE __m512i SubScale(const uint8_t* half, int s) { return SubScaleOf(half, s); }
};
// Minima of a zero point: -zero * sub_scale.
template <int kZeroPoint>
struct FromZero {
  static constexpr bool kMinimum = false;
  static constexpr int kZero = kZeroPoint;
  static EXO_INLINE __m512i Minima(const uint8_t* half, int p) {
    return _mm512_mullo_epi16(_mm512_cvtepi8_epi16(PairOf(half, p)), _mm512_set1_epi16(-kZero));
  }
};
struct Q2K : Plain {
  using Plain::Plain;
  static constexpr Block256Layout kLayout = kQ2KLayout;
  static constexpr int kOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};
  static constexpr bool kMinimum = true;
  static constexpr int kZero = 0;
  static EXO_INLINE __m512i SubScale(const uint8_t* half, int s) {
    return _mm512_and_si512(SubScaleOf(half, s), _mm512_set1_epi32(15));
  }
  static EXO_INLINE __m512i Minima(const uint8_t* half, int p) {
    return _mm512_srli_epi16(_mm512_cvtepu8_epi16(PairOf(half, p)), 4);
  }
  template <int kSub>
  static EXO_INLINE void Unpack(const uint8_t* codes, __m512i (&w)[4]) {
    for (int g = 0; g < 4; ++g) {
      w[g] = Part<-2 * (kSub / 2), 3>(LoadGroup(codes + 64 * (4 * (kSub % 2) + g)));
    }
  }
};

struct Q3K : Plain, FromZero<4> {
  using Plain::Plain;
  static constexpr Block256Layout kLayout = kQ3KLayout;
  static constexpr int kOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};
  template <int kSub>
  static EXO_INLINE void Unpack(const uint8_t* codes, __m512i (&w)[4]) {
    Q2K::Unpack<kSub>(codes + 4 * 64, w);
    for (int g = 0; g < 4; ++g) {
      w[g] = With<2 - kSub / 2 - 4 * (kSub % 2), 4>(w[g], LoadGroup(codes + 64 * g));
    }
  }
};

struct Q4K : Plain {
  using Plain::Plain;
  static constexpr Block256Layout kLayout = kQ4KLayout;
  static constexpr int kOrder[] = {0, 1, 2, 3};
  static constexpr bool kMinimum = true;
  static constexpr int kZero = 0;
  static EXO_INLINE __m512i Minima(const uint8_t* half, int p) {
    return _mm512_cvtepu8_epi16(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(half + kSubMinima + 32 * p)));
  }
  template <int kSub>
  static EXO_INLINE void Unpack(const uint8_t* codes, __m512i (&w)[8]) {
    for (int g = 0; g < 8; ++g) {
      const __m512i v = LoadGroup(codes + 64 * (8 * (kSub / 2) + g));
      w[g] = kSub % 2 == 0 ? Low(v) : High(v);
    }
  }
};

struct Q5K : Q4K {
  using Q4K::Q4K;
  static constexpr Block256Layout kLayout = kQ5KLayout;
  template <int kSub>
  static EXO_INLINE void Unpack(const uint8_t* codes, __m512i (&w)[8]) {
    Q4K::Unpack<kSub>(codes + 4 * 64, w);
    for (int g = 0; g < 4; ++g) {
      const __m512i bits = LoadGroup(codes + 64 * g);
      w[g] = With<4 - kSub, 16>(w[g], bits);
      w[g + 4] = With<-kSub, 16>(w[g + 4], bits);
    }
  }
};

struct Q6K : Plain, FromZero<32> {
  using Plain::Plain;
  static constexpr Block256Layout kLayout = kQ6KLayout;
  static constexpr int kOrder[] = {0, 4, 1, 5, 2, 6, 3, 7};
  template <int kSub>
  static EXO_INLINE void Unpack(const uint8_t* codes, __m512i (&w)[4]) {
    for (int g = 0; g < 4; ++g) {
      const __m512i low = LoadGroup(codes + 64 * Q6KLow(4 * (kSub % 4) + g));
      const __m512i high = LoadGroup(codes + 64 * Q6KHigh(4 * (kSub % 2) + g));
      w[g] = With<4 - 2 * (kSub / 2), 0x30>(kSub < 4 ? Low(low) : High(low), high);
    }
  }
};

// Indices into a table of codes, to which kBias is added.
template <int kBias>
struct Named {
  __m512i table;
  __m512 factor;

  EXO_INLINE explicit Named(const tensor::CodeTable& from)
      : table(Table<kBias>(from.codes)), factor(_mm512_set1_ps(from.factor)) {}
  EXO_INLINE __m512i Code(__m512i index) const { return _mm512_shuffle_epi8(table, index); }
  EXO_INLINE __m512 Scales(const uint8_t* at) const {
    return _mm512_mul_ps(LoadScales(at), factor);
  }
};
// IQ4_XS and IQ3.
struct FourBits : Named<128>, FromZero<128> {
  using Named::Named;
  static constexpr Block256Layout kLayout = kIq4XsLayout;
  static constexpr int kOrder[] = {0, 1, 2, 3};
  static EXO_INLINE __m512i SubScale(const uint8_t* half, int s) { return SubScaleOf(half, s); }
  template <int kSub>
  EXO_INLINE void Unpack(const uint8_t* codes, __m512i (&w)[8]) const {
    for (int g = 0; g < 4; ++g) {
      const __m512i v = LoadGroup(codes + 64 * (4 * kSub + g));
      w[g] = Code(Low(v));
      w[g + 4] = Code(High(v));
    }
  }
};

// IQ1 and IQ2.
struct Iq12 : Named<43> {
  using Named::Named;
  static constexpr Block256Layout kLayout = kIq12Layout;
  static constexpr int kOrder[] = {0, 1, 2, 3, 4, 5, 6, 7};
  static constexpr bool kMinimum = false;
  static constexpr int kZero = 43;
  // The nibbles of sub-blocks 2 p and 2 p + 1.
  static EXO_INLINE __m512i Nibbles(const uint8_t* half, int p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(half + 16 * p)));
  }
  // 2 s + 1 of a nibble at bit 0 or 4.
  static EXO_INLINE __m512i SubScale(const uint8_t* half, int s) {
    const __m512i bytes = Nibbles(half, s / 2);
    const __m512i twice = s % 2 == 0 ? _mm512_slli_epi32(bytes, 1) : _mm512_srli_epi32(bytes, 3);
    return _mm512_or_si512(_mm512_and_si512(twice, _mm512_set1_epi32(30)), _mm512_set1_epi32(1));
  }
  static EXO_INLINE __m512i Minima(const uint8_t* half, int p) {
    const __m512i bytes = Nibbles(half, p);
    const __m512i pair = _mm512_or_si512(_mm512_slli_epi32(bytes, 1), _mm512_slli_epi32(bytes, 13));
    const __m512i odd =
        _mm512_or_si512(_mm512_and_si512(pair, _mm512_set1_epi16(30)), _mm512_set1_epi16(1));
    return _mm512_mullo_epi16(odd, _mm512_set1_epi16(-kZero));
  }
  template <int kSub>
  EXO_INLINE void Unpack(const uint8_t* codes, __m512i (&w)[4]) const {
    const uint8_t* at = codes + 6 * 64 * (kSub / 4);
    const __m512i even = LoadGroup(at),
                  odd = LoadGroup(at + 64);  // third bits of groups 0, 1; 2, 3
    for (int g = 0; g < 4; ++g) w[g] = Part<-2 * (kSub % 4), 3>(LoadGroup(at + 64 * (2 + g)));
    w[0] = Code(With<2 - kSub % 4, 4>(w[0], even));
    w[1] = Code(With<-2 - kSub % 4, 4>(w[1], even));
    w[2] = Code(With<2 - kSub % 4, 4>(w[2], odd));
    w[3] = Code(With<-2 - kSub % 4, 4>(w[3], odd));
  }
};

// Ternary codes + 1, and no sub-scales.
struct Tq : Plain {
  using Plain::Plain;
  static constexpr Block256Layout kLayout = kTqLayout;
  static constexpr int kOrder[] = {0, 1, 2, 3};
  static constexpr bool kMinimum = false;
  static constexpr int kZero = 1;
  static EXO_INLINE __m512i SubScale(const uint8_t*, int) { return _mm512_set1_epi32(1); }
  static EXO_INLINE __m512i Minima(const uint8_t*, int) { return _mm512_set1_epi16(-1); }
  template <int kSub>
  static EXO_INLINE void Unpack(const uint8_t* codes, __m512i (&w)[8]) {
    for (int v = 0; v < 2; ++v) {
      const __m512i parts = LoadGroup(codes + 64 * (2 * kSub + v));
      w[4 * v] = Part<0, 3>(parts);
      w[4 * v + 1] = Part<-2, 3>(parts);
      w[4 * v + 2] = Part<-4, 3>(parts);
      w[4 * v + 3] = Part<-6, 3>(parts);
    }
  }
};

// Whether dots start at the prepared -32 * sum of 16 codes.
template <class W>
constexpr bool kStarts = W::kZero == 32;
template <class W>
constexpr int kSubs = static_cast<int>(sizeof(W::kOrder) / sizeof(int));

// sums = or += sub_scale * dot of the sub-block whose turn it is.
template <class W, int N, int kTurn>
EXO_INLINE void SubBlock(const W& format, const uint8_t* half, const uint8_t* x,
                         __m512i (&sums)[N]) {
  constexpr int kSub = W::kOrder[kTurn];
  constexpr int kGroups = 32 / kSubs<W>;
  constexpr size_t kShare = W::kLayout.half() / kSubs<W>;
  Prefetch<true, To::kFirstCache, 3072>(half + kTurn * kShare, kShare);
  __m512i w[kGroups];
  format.template Unpack<kSub>(half + W::kLayout.subs, w);
  const __m512i scale = W::SubScale(half, kSub);
  for (int n = 0; n < N; ++n) {
    const uint8_t* codes = x + 128 * n + 4 * kGroups * kSub;
    __m512i dot = _mm512_setzero_si512();
    if constexpr (kStarts<W>) dot = Broadcast(x + Starts128(N) + 4 * N * kSub + 4 * n);
    for (int g = 0; g < kGroups; ++g)
      dot = _mm512_dpbusd_epi32(dot, w[g], Broadcast(codes + 4 * g));
    const __m512i scaled = _mm512_mullo_epi32(dot, scale);
    sums[n] = kTurn == 0 ? scaled : _mm512_add_epi32(sums[n], scaled);
  }
}

// sums += minimum * sum of the sub-blocks' activation codes.
template <class W, int N>
EXO_INLINE void AddMinima(const uint8_t* half, const uint8_t* x, __m512i (&sums)[N]) {
  const uint8_t* pairs = x + (kSubs<W> == 8 ? Sums16(N) : Sums32(N));
  for (int p = 0; p < kSubs<W> / 2; ++p) {
    const __m512i minima = W::Minima(half, p);
    for (int n = 0; n < N; ++n) {
      sums[n] = _mm512_dpwssd_epi32(sums[n], minima, Broadcast(pairs + 4 * N * p + 4 * n));
    }
  }
}

template <class W, int N>
EXO_INLINE void Leaf(const W& format, const uint8_t* block, const uint8_t* half, const uint8_t* x,
                     __m512 (&leaf)[N]) {
  __m512i sums[N];
  Unroll<kSubs<W>>([&](auto turn) EXO_LAMBDA { SubBlock<W, N, turn>(format, half, x, sums); });
  if constexpr (!W::kMinimum && !kStarts<W>) AddMinima<W, N>(half, x, sums);
  const __m512 w_scale = format.Scales(block);
  const uint8_t* x_scales = x + Scales128(N);
  for (int n = 0; n < N; ++n) {
    const __m512 scale = _mm512_mul_ps(w_scale, BroadcastFloat(x_scales + 4 * n));
    leaf[n] = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(sums[n]));
  }
  if constexpr (W::kMinimum) {
    for (__m512i& sum : sums) sum = _mm512_setzero_si512();
    AddMinima<W, N>(half, x, sums);
    const __m512 w_minimum = LoadScales(block + kScaleBytes);
    for (int n = 0; n < N; ++n) {
      const __m512 scale = _mm512_mul_ps(w_minimum, BroadcastFloat(x_scales + 4 * n));
      leaf[n] = _mm512_sub_ps(leaf[n], _mm512_mul_ps(scale, _mm512_cvtepi32_ps(sums[n])));
    }
  }
}

template <class W, int N>
void Tile(const uint8_t* w, const uint8_t* x, size_t cols, const tensor::CodeTable& table,
          const TileOut& out) {
  const W format(table);
  Tree<N> tree;
  for (size_t k = 0; k < cols; k += 256, w += W::kLayout.bytes()) {
    for (size_t h = 0; h < 2; ++h, x += N * kRecord128) {
      __m512 leaf[N];
      Leaf<W, N>(format, w, w + W::kLayout.head + h * W::kLayout.half(), x, leaf);
      tree.Push(leaf);
    }
  }
  tree.Write(out);
}

// Where vector i of a step of 32 k comes from: one sub-block of 32 k or two of 16, each with the
// chains of its own.
template <class W>
struct Step {
  static constexpr bool kTwo = kSubs<W> == 8;
  static constexpr int kCount = kTwo ? 2 : 1;  // sub-blocks
  static constexpr int Part(int i) { return kTwo ? i % 4 / 2 : 0; }
  static constexpr int Group(int i) { return kTwo ? i % 2 + i / 4 * 2 : i; }
};

// sums = or += sub_scale * dot of the sub-blocks of step kTurn, for two panels.
template <class W, int kTurn>
EXO_INLINE void PairStep(const W& format, const PairJob& job, const uint8_t* (&half)[2],
                         const uint8_t* x, __m512i (&sums)[2][kPairTokens]) {
  using S = Step<W>;
  constexpr int kGroups = 32 / kSubs<W>;
  constexpr size_t kShare = W::kLayout.half() / 4;
  constexpr int kFirst = W::kOrder[S::kCount * kTurn],
                kLast = W::kOrder[S::kCount * kTurn + S::kCount - 1];
  Codes w[2];
  __m512i scale[2][S::kCount];
  for (int p = 0; p < 2; ++p) {
    Prefetch<true, To::kFirstCache, 3072>(half[p] + kTurn * kShare, kShare);
    __m512i part[S::kCount][kGroups];
    format.template Unpack<kFirst>(half[p] + W::kLayout.subs, part[0]);
    scale[p][0] = W::SubScale(half[p], kFirst);
    if constexpr (S::kTwo) {
      format.template Unpack<kLast>(half[p] + W::kLayout.subs, part[1]);
      scale[p][1] = W::SubScale(half[p], kLast);
    }
    for (int i = 0; i < 8; ++i) w[p][i] = part[S::Part(i)][S::Group(i)];
  }
  __m512i dot[2][S::kCount];
  const auto dots = [&](const Token& at, const auto& between) EXO_LAMBDA {
    __m512i s[8];
    for (__m512i& v : s) v = _mm512_setzero_si512();
    if constexpr (kStarts<W>) {
      const uint8_t* starts = at.record + Starts128(kTileTokens) + 4 * at.lane;
      s[0] = s[4] = Broadcast(starts + 4 * kTileTokens * kFirst);
      if constexpr (S::kTwo) s[2] = s[6] = Broadcast(starts + 4 * kTileTokens * kLast);
    }
    const uint8_t* codes = at.record + 128 * at.lane;
    PairDots(
        w[0], w[1],
        [&](int i) EXO_LAMBDA {
          return codes + 4 * kGroups * (S::Part(i) == 0 ? kFirst : kLast) + 4 * S::Group(i);
        },
        between, s);
    for (int p = 0; p < 2; ++p) {
      dot[p][0] = _mm512_add_epi32(s[4 * p], s[4 * p + 1]);
      const __m512i rest = _mm512_add_epi32(s[4 * p + 2], s[4 * p + 3]);
      if constexpr (S::kTwo) {
        dot[p][1] = rest;
      } else {
        dot[p][0] = _mm512_add_epi32(dot[p][0], rest);
      }
    }
  };
  const auto end = [&](const Token& at) EXO_LAMBDA {
    const __m512i* factor = &scale[0][0];
    asm("" : "+r"(factor));  // operands in memory: of register pressure
    for (int p = 0; p < 2; ++p) {
      __m512i scaled = _mm512_mullo_epi32(dot[p][0], factor[p * S::kCount]);
      if constexpr (S::kTwo)
        scaled = _mm512_add_epi32(scaled, _mm512_mullo_epi32(dot[p][1], factor[p * S::kCount + 1]));
      __m512i& sum = sums[p][at.number];
      sum = kTurn == 0 ? scaled : _mm512_add_epi32(sum, scaled);
    }
  };
  Pipeline(job, x, dots, end);
}

// The leaves of panel `p` of a pair from its integer sums.
template <class W>
EXO_INLINE void EndLeaf(const W& format, const PairJob& job, const uint8_t* block,
                        const uint8_t* half, const uint8_t* x, const __m512i (&sums)[kPairTokens],
                        __m512 (&leaf)[kPairTokens]) {
  constexpr bool kPairs = W::kMinimum || !kStarts<W>;
  __m512i minima[kSubs<W> / 2];
  if constexpr (kPairs) {
    for (int i = 0; i < kSubs<W> / 2; ++i) minima[i] = W::Minima(half, i);
  }
  const __m512 w_scale = format.Scales(block);
  const auto end = [&](const Token& at) EXO_LAMBDA {
    __m512i sum = sums[at.number];
    __m512i minus = W::kMinimum ? _mm512_setzero_si512() : sum;
    if constexpr (kPairs) {
      const uint8_t* pairs =
          at.record + (kSubs<W> == 8 ? Sums16(kTileTokens) : Sums32(kTileTokens)) + 4 * at.lane;
      for (size_t i = 0; i < kSubs<W> / 2; ++i) {
        minus = _mm512_dpwssd_epi32(minus, minima[i], Broadcast(pairs + 4 * kTileTokens * i));
      }
      if constexpr (!W::kMinimum) sum = minus;
    }
    const __m512 x_scale = BroadcastFloat(at.record + Scales128(kTileTokens) + 4 * at.lane);
    __m512 term = _mm512_mul_ps(_mm512_mul_ps(w_scale, x_scale), _mm512_cvtepi32_ps(sum));
    if constexpr (W::kMinimum) {
      const __m512 scale = _mm512_mul_ps(LoadScales(block + kScaleBytes), x_scale);
      term = _mm512_sub_ps(term, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(minus)));
    }
    leaf[at.number] = term;
  };
  ForTokens(job, x, end);
}

template <class W>
void Pair(const PairJob& job, const tensor::CodeTable& table, const TileOut& to) {
  const W format(table);
  PairLeaves leaves;
  __m512i sums[2][kPairTokens];
  const uint8_t* x = job.x;
  for (size_t k = 0; k < job.cols; k += 256) {
    const uint8_t* block[2];
    for (size_t p = 0; p < 2; ++p)
      block[p] = job.panel + p * job.panel_bytes + k / 256 * W::kLayout.bytes();
    for (size_t h = 0; h < 2; ++h, x += kTileTokens * kRecord128) {
      const uint8_t* half[2];
      for (int p = 0; p < 2; ++p) half[p] = block[p] + W::kLayout.head + h * W::kLayout.half();
      Unroll<4>([&](auto turn) EXO_LAMBDA { PairStep<W, turn>(format, job, half, x, sums); });
      for (int p = 0; p < 2; ++p)
        EndLeaf<W>(format, job, block[p], half[p], x, sums[p], leaves.leaf[p]);
      leaves.Push();
    }
  }
  leaves.Write(to);
}

// Formats that differ in their table alone share the functions above.
template <class W, const tensor::CodeTable& kTable, int N>
void TileOf(const uint8_t* w, const uint8_t* x, size_t cols, const TileOut& out) {
  Tile<W, N>(w, x, cols, kTable, out);
}
template <class W, const tensor::CodeTable& kTable>
void PairOfTiles(const PairJob& job, const TileOut& to) {
  Pair<W>(job, kTable, to);
}

template <class W, const tensor::CodeTable& kTable = tensor::kIq4Table, int... kN>
constexpr TileSet Tiles(Widths<kN...>) {
  return {{TileOf<W, kTable, kN>...}, {nullptr, PairOfTiles<W, kTable>}};
}

}  // namespace

void FillAvx512Dots256(Ops& ops) {
  ops.tiles[kFormatQ2K] = Tiles<Q2K>(AllWidths{});
  ops.tiles[kFormatQ3K] = Tiles<Q3K>(AllWidths{});
  ops.tiles[kFormatQ4K] = Tiles<Q4K>(AllWidths{});
  ops.tiles[kFormatQ5K] = Tiles<Q5K>(AllWidths{});
  ops.tiles[kFormatQ6K] = Tiles<Q6K>(AllWidths{});
  ops.tiles[kFormatIq4Xs] = Tiles<FourBits, tensor::kIq4Table>(AllWidths{});
  ops.tiles[kFormatIq3Xxs] = Tiles<FourBits, tensor::kIq3XxsTable>(AllWidths{});
  ops.tiles[kFormatIq3S] = Tiles<FourBits, tensor::kIq3STable>(AllWidths{});
  ops.tiles[kFormatIq2] = Tiles<Iq12, tensor::kIq2Table>(AllWidths{});
  ops.tiles[kFormatIq1] = Tiles<Iq12, tensor::kIq1Table>(AllWidths{});
  ops.tiles[kFormatTq] = Tiles<Tq>(AllWidths{});
}

}  // namespace exo::kernels::panel
