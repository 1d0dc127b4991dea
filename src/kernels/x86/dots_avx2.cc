// Products with Q8_0, Q4_0 and Q6_K weights by vpmaddubsw (AVX2).
//
// With 16 registers a step is 8 rows (half a panel) x up to 8 tokens: one weight register, one sum
// per token, the leaf sums on the stack. vpmaddubsw multiplies unsigned by signed bytes and adds
// pairs in int16 with saturation, so each type keeps its pairs in range:
//   Q4_0  codes 0..15: 8 results can be added in int16 (15 * 127 * 2 * 8 = 30480)
//   Q6_K  codes 0..63: 2 results (32004); vpmaddwd by the sub-scale then widens and scales at once
//   Q8_0  |code| against the activation with the code's sign (128 * 127 * 2 = 32512; no activation
//   code is
//         -128): widened at once
#include <immintrin.h>

#include <cstring>

#include "kernels/panel/ops.h"

#define EXO_INLINE __attribute__((always_inline)) inline

namespace exo::kernels::panel {
namespace {

constexpr int kLevels = 20;
constexpr size_t kAhead = 3072;

EXO_INLINE __m256i Broadcast(const uint8_t* at) {
  int32_t value;
  std::memcpy(&value, at, 4);
  return _mm256_set1_epi32(value);
}
EXO_INLINE __m256 BroadcastFloat(const uint8_t* at) {
  float value;
  std::memcpy(&value, at, 4);
  return _mm256_set1_ps(value);
}
EXO_INLINE __m256i LoadGroup(const uint8_t* at) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
}
EXO_INLINE __m256 LoadScales(const uint8_t* at) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}
EXO_INLINE void PrefetchLine(const uint8_t* at) {
  _mm_prefetch(reinterpret_cast<const char*>(at + kAhead), _MM_HINT_T0);
}

// Integer dots of 32 k for 8 rows: half is 0 or 32, the byte offset of the rows in each group.
struct Q4 {
  static constexpr size_t kBytes = kQ4BlockBytes;

  template <int N>
  static EXO_INLINE void Dots(const uint8_t* groups, const uint8_t* x, const uint8_t* starts,
                              size_t width, __m256i (&sums)[N]) {
    const __m256i nibble = _mm256_set1_epi8(15);
    for (int g = 0; g < 4; ++g) {
      const __m256i v = LoadGroup(groups + 64 * g);
      PrefetchLine(groups + 64 * g);
      const __m256i low = _mm256_and_si256(v, nibble);
      for (int n = 0; n < N; ++n) {
        const __m256i pairs = _mm256_maddubs_epi16(low, Broadcast(x + 32 * n + 4 * g));
        sums[n] = g == 0 ? pairs : _mm256_add_epi16(sums[n], pairs);
      }
      const __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble);
      for (int n = 0; n < N; ++n) {
        const __m256i pairs = _mm256_maddubs_epi16(high, Broadcast(x + 32 * n + 16 + 4 * g));
        sums[n] = _mm256_add_epi16(sums[n], pairs);
      }
    }
    const __m256i ones = _mm256_set1_epi16(1);
    for (int n = 0; n < N; ++n) {
      const __m256i start = Broadcast(starts + 4 * width + 4 * n);
      sums[n] = _mm256_add_epi32(start, _mm256_madd_epi16(sums[n], ones));
    }
  }
};

struct Q8 {
  static constexpr size_t kBytes = kQ8BlockBytes;

  template <int N>
  static EXO_INLINE void Dots(const uint8_t* groups, const uint8_t* x, const uint8_t*, size_t,
                              __m256i (&sums)[N]) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (int g = 0; g < 8; ++g) {
      const __m256i w = _mm256_xor_si256(LoadGroup(groups + 64 * g), _mm256_set1_epi8(-128));
      PrefetchLine(groups + 64 * g);
      const __m256i magnitude = _mm256_abs_epi8(w);
      for (int n = 0; n < N; ++n) {
        const __m256i signed_x = _mm256_sign_epi8(Broadcast(x + 32 * n + 4 * g), w);
        const __m256i dot = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signed_x), ones);
        sums[n] = g == 0 ? dot : _mm256_add_epi32(sums[n], dot);
      }
    }
  }
};

// The canonical tree (dots_avx512.cc) for 16 rows as two halves.
template <int N>
struct Tree {
  __m256 stack[kLevels][2][N];
  __m256 leaf[2][N];
  size_t leaves = 0;

  EXO_INLINE void Push() {
    int level = 0;
    for (size_t bits = leaves; (bits & 1) != 0; bits >>= 1, ++level) {
      for (int i = 0; i < 2 * N; ++i) {
        leaf[i / N][i % N] = _mm256_add_ps(stack[level][i / N][i % N], leaf[i / N][i % N]);
      }
    }
    std::memcpy(stack[level], leaf, sizeof(leaf));
    ++leaves;
  }

  static EXO_INLINE void WriteHalf(float* out, int rows, __m256 sum, bool add) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(rows), lane);
    if (add) sum = _mm256_add_ps(_mm256_maskload_ps(out, mask), sum);
    _mm256_maskstore_ps(out, mask, sum);
  }

  EXO_INLINE void Write(const TileOut& to) {
    const int lowest = __builtin_ctzll(leaves);
    for (int half = 0; half < 2; ++half) {
      for (int n = 0; n < N; ++n) {
        __m256 sum = stack[lowest][half][n];
        for (int level = lowest + 1; leaves >> level != 0; ++level) {
          if ((leaves >> level & 1) != 0) sum = _mm256_add_ps(stack[level][half][n], sum);
        }
        const int rows = static_cast<int>(to.rows) - 8 * half;
        if (rows > 0) WriteHalf(to.out + n * to.stride + 8 * half, rows, sum, to.add);
      }
    }
  }
};

template <class W, int N>
EXO_INLINE void Block(const uint8_t* w, const uint8_t* x, const uint8_t* tail, size_t width,
                      bool first, Tree<N>& tree) {
  for (int half = 0; half < 2; ++half) {
    __m256i sums[N];
    W::Dots(w + 32 + 32 * half, x, tail, width, sums);
    const __m256 w_scale = LoadScales(w + 16 * half);
    for (int n = 0; n < N; ++n) {
      const __m256 scale = _mm256_mul_ps(w_scale, BroadcastFloat(tail + 4 * n));
      const __m256 term = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sums[n]));
      tree.leaf[half][n] = first ? term : _mm256_add_ps(tree.leaf[half][n], term);
    }
  }
}

// Tokens [lane, lane + N) of a tile of `width`.
template <class W, int N>
void Step32(const uint8_t* w, const uint8_t* x, size_t lane, size_t width, size_t cols,
            const TileOut& out) {
  Tree<N> tree;
  const size_t blocks = cols / 32;
  for (size_t b = 0; b < blocks; ++b, w += W::kBytes, x += width * kRecord32) {
    Block<W, N>(w, x + 32 * lane, x + 32 * width + 4 * lane, width, b % 4 == 0, tree);
    if (b % 4 == 3 || b + 1 == blocks) tree.Push();
  }
  tree.Write(out);
}

template <int kSub>
EXO_INLINE void UnpackSub(const uint8_t* half, __m256i (&w)[4]) {
  const __m256i nibble = _mm256_set1_epi8(0x0f);
  const __m256i top = _mm256_set1_epi8(0x30);
  for (int g = 0; g < 4; ++g) {
    const __m256i low = LoadGroup(half + 64 * Q6KLow(4 * (kSub % 4) + g));
    const __m256i high = LoadGroup(half + 64 * Q6KHigh(4 * (kSub % 2) + g));
    const __m256i code = _mm256_and_si256(kSub < 4 ? low : _mm256_srli_epi16(low, 4), nibble);
    constexpr int kPart = kSub / 2;
    const __m256i bits = kPart == 0   ? _mm256_slli_epi16(high, 4)
                         : kPart == 1 ? _mm256_slli_epi16(high, 2)
                         : kPart == 2 ? high
                                      : _mm256_srli_epi16(high, 2);
    w[g] = _mm256_or_si256(_mm256_and_si256(bits, top), code);
  }
}

// sums += sub_scale * dot of 16 k. x: the tokens' codes, starts: -32 * sum of each token's 16
// codes.
template <int N, int kSub>
EXO_INLINE void Sub6(const uint8_t* half, const uint8_t* sub_scales, const uint8_t* x,
                     const uint8_t* starts, size_t width, __m256i (&sums)[N]) {
  __m256i w[4];
  UnpackSub<kSub>(half, w);
  const __m256i scale = _mm256_cvtepi8_epi32(
      _mm_loadl_epi64(reinterpret_cast<const __m128i*>(sub_scales + 16 * kSub)));
  // The scale in both int16 halves of its lane.
  const __m256i pair = _mm256_blend_epi16(scale, _mm256_slli_epi32(scale, 16), 0xaa);
  for (int n = 0; n < N; ++n) {
    const uint8_t* codes = x + 128 * n + 16 * kSub;
    const __m256i front = _mm256_add_epi16(_mm256_maddubs_epi16(w[0], Broadcast(codes)),
                                           _mm256_maddubs_epi16(w[1], Broadcast(codes + 4)));
    const __m256i back = _mm256_add_epi16(_mm256_maddubs_epi16(w[2], Broadcast(codes + 8)),
                                          _mm256_maddubs_epi16(w[3], Broadcast(codes + 12)));
    const __m256i zero = _mm256_mullo_epi32(Broadcast(starts + 4 * width * kSub + 4 * n), scale);
    const __m256i dots =
        _mm256_add_epi32(_mm256_madd_epi16(front, pair), _mm256_madd_epi16(back, pair));
    const __m256i both = _mm256_add_epi32(zero, dots);
    sums[n] = kSub == 0 ? both : _mm256_add_epi32(sums[n], both);
  }
}

template <int N>
void Step6K(const uint8_t* w, const uint8_t* x, size_t lane, size_t width, size_t cols,
            const TileOut& out) {
  Tree<N> tree;
  for (size_t k = 0; k < cols; k += 128, x += width * kRecord128) {
    const uint8_t* block = w + k / 256 * kQ6KBlockBytes;
    const uint8_t* both = block + 32 + k / 128 % 2 * kQ6KHalfBytes;
    const uint8_t* codes = x + 128 * lane;
    const uint8_t* tail = x + 128 * width + 4 * lane;
    for (size_t half = 0; half < 2; ++half) {
      const uint8_t* scales = both + 8 * half;
      const uint8_t* groups = both + kQ6KSubScales + 32 * half;
      const uint8_t* starts = tail + 4 * width;
      __m256i sums[N];
      Sub6<N, 0>(groups, scales, codes, starts, width, sums);
      Sub6<N, 4>(groups, scales, codes, starts, width, sums);
      Sub6<N, 1>(groups, scales, codes, starts, width, sums);
      Sub6<N, 5>(groups, scales, codes, starts, width, sums);
      Sub6<N, 2>(groups, scales, codes, starts, width, sums);
      Sub6<N, 6>(groups, scales, codes, starts, width, sums);
      Sub6<N, 3>(groups, scales, codes, starts, width, sums);
      Sub6<N, 7>(groups, scales, codes, starts, width, sums);
      const __m256 w_scale = LoadScales(block + 16 * half);
      for (int n = 0; n < N; ++n) {
        const __m256 scale = _mm256_mul_ps(w_scale, BroadcastFloat(tail + 4 * n));
        tree.leaf[half][n] = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sums[n]));
      }
    }
    tree.Push();
  }
  tree.Write(out);
}

using StepFunction = void (*)(const uint8_t*, const uint8_t*, size_t lane, size_t width, size_t,
                              const TileOut&);

// A tile in steps of kStep tokens and a shorter last one.
template <int kWidth, int kStep, StepFunction kWhole, StepFunction kRest>
void Tile(const uint8_t* w, const uint8_t* x, size_t cols, const TileOut& out) {
  for (size_t t = 0; t + kStep <= kWidth; t += kStep) kWhole(w, x, t, kWidth, cols, out.From(t));
  constexpr size_t kLast = kWidth / kStep * kStep;
  if constexpr (kLast < kWidth) kRest(w, x, kLast, kWidth, cols, out.From(kLast));
}

constexpr int kStep32 = 8;
constexpr int kStep6K = 4;
constexpr int RestOf(int width, int step) {
  return width % step == 0 ? step : width % step;
}

template <class W, int... kN>
constexpr TileSet Tiles32(Widths<kN...>) {
  return {{Tile<kN, kStep32, Step32<W, kStep32>, Step32<W, RestOf(kN, kStep32)>>...}};
}
template <int... kN>
constexpr TileSet Tiles6K(Widths<kN...>) {
  return {{Tile<kN, kStep6K, Step6K<kStep6K>, Step6K<RestOf(kN, kStep6K)>>...}};
}

}  // namespace

void FillAvx2Dots(Ops& ops) {
  ops.tiles[kFormatQ8] = Tiles32<Q8>(AllWidths{});
  ops.tiles[kFormatQ4] = Tiles32<Q4>(AllWidths{});
  ops.tiles[kFormatQ6K] = Tiles6K(AllWidths{});
}

}  // namespace exo::kernels::panel
