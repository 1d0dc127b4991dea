// Products with Q8_0, Q4_0 and Q6_K weights by vpdpbusd (AVX-512 VNNI).
//
// Tile: 16 rows (one register) x up to 8 tokens. A 32-block keeps 8 weight registers, 8 leaf sums
// and the weight scale, 17 of 32; the activations enter as memory-broadcast operands, which cost
// nothing. Weights are unsigned (code + zero point); starting the integer sum at -zero * sum(codes)
// takes the zero point out for free. Per block and token: 8 dot products, 2 mul, 1 add, 1 convert,
// so 8 of 10 operations of the two multiplying ports are dot products: at most 80 % of the integer
// peak.
#include <immintrin.h>

#include <cstring>

#include "kernels/panel/ops.h"

#define EXO_INLINE __attribute__((always_inline)) inline

namespace exo::kernels::panel {
namespace {

// 128 * 2^20 columns; each level costs one vector per token of stack that is touched only when
// used.
constexpr int kLevels = 20;
EXO_INLINE __m512i Broadcast(const uint8_t* at) {
  int32_t value;
  std::memcpy(&value, at, 4);
  return _mm512_set1_epi32(value);
}
EXO_INLINE __m512 BroadcastFloat(const uint8_t* at) {
  float value;
  std::memcpy(&value, at, 4);
  return _mm512_set1_ps(value);
}
EXO_INLINE __m512i LoadGroup(const uint8_t* at) {
  return _mm512_loadu_si512(at);
}
EXO_INLINE __m512 LoadScales(const uint8_t* at) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}
// One or two tokens read as fast as memory delivers: the hardware prefetcher alone is best then
// (Q4_0: 36 against 29 GB/s with prefetch instructions, which occupy the few buffers for misses).
// More tokens read in bursts between computations and the prefetcher falls behind. What helps was
// measured (GB/s, 4 and 8 tokens):
//   Q8_0  none 18, 14; first cache 3 KiB ahead 18, 15; second cache 6 KiB ahead 22, 21
//   Q6_K  none 19, 6; first cache 3 KiB ahead 17, 12; second cache 6 KiB ahead 10, 9
enum class To { kFirstCache, kSecondCache };
template <int N, To kTo, size_t kAhead, size_t kBytes>
EXO_INLINE void Prefetch(const uint8_t* at) {
  if constexpr (N > 2) {
    for (size_t i = 0; i < kBytes; i += 64) {
      const auto* line = reinterpret_cast<const char*>(at + kAhead + i);
      if constexpr (kTo == To::kFirstCache) {
        _mm_prefetch(line, _MM_HINT_T0);
      } else {
        _mm_prefetch(line, _MM_HINT_T1);
      }
    }
  }
}

struct Q8 {
  static constexpr size_t kBytes = kQ8BlockBytes;
  static constexpr size_t kStart = 2;  // which of the precomputed starts: -128 * sum
  static EXO_INLINE void Unpack(const uint8_t* block, __m512i (&w)[8]) {
    for (int g = 0; g < 8; ++g) w[g] = LoadGroup(block + 32 + 64 * g);
  }
};

struct Q4 {
  static constexpr size_t kBytes = kQ4BlockBytes;
  static constexpr size_t kStart = 1;  // -8 * sum
  static EXO_INLINE void Unpack(const uint8_t* block, __m512i (&w)[8]) {
    const __m512i nibble = _mm512_set1_epi8(15);
    for (int g = 0; g < 4; ++g) {
      const __m512i v = LoadGroup(block + 32 + 64 * g);
      w[g] = _mm512_and_si512(v, nibble);
      w[g + 4] = _mm512_and_si512(_mm512_srli_epi16(v, 4), nibble);
    }
  }
};

// The canonical tree on a stack: leaf i is added to the complete subtrees it closes, as many as i
// has trailing one bits; what is left at the end is combined from the right.
template <int N>
struct Tree {
  __m512 stack[kLevels][N];
  size_t leaves = 0;

  EXO_INLINE void Push(__m512 (&leaf)[N]) {
    int level = 0;
    for (size_t bits = leaves; (bits & 1) != 0; bits >>= 1, ++level) {
      for (int n = 0; n < N; ++n) leaf[n] = _mm512_add_ps(stack[level][n], leaf[n]);
    }
    for (int n = 0; n < N; ++n) stack[level][n] = leaf[n];
    ++leaves;
  }

  EXO_INLINE void Write(const TileOut& to) {
    const int lowest = __builtin_ctzll(leaves);
    const __mmask16 rows = static_cast<__mmask16>((1u << to.rows) - 1);
    for (int n = 0; n < N; ++n) {
      __m512 sum = stack[lowest][n];
      for (int level = lowest + 1; leaves >> level != 0; ++level) {
        if ((leaves >> level & 1) != 0) sum = _mm512_add_ps(stack[level][n], sum);
      }
      float* out = to.out + n * to.stride;
      if (to.add) sum = _mm512_add_ps(_mm512_maskz_loadu_ps(rows, out), sum);
      _mm512_mask_storeu_ps(out, rows, sum);
    }
  }
};

// One block of 32 k: leaf = or += (w_scale * x_scale) * float(sum). Two chains of four dot products
// halve the latency.
template <class W, int N, bool kFirst>
EXO_INLINE void Block(const uint8_t* w_at, const uint8_t* x, __m512 (&leaf)[N]) {
  Prefetch<N, To::kSecondCache, 6144, W::kBytes>(w_at);
  __m512i w[8];
  W::Unpack(w_at, w);
  const __m512 w_scale = LoadScales(w_at);
  const uint8_t* tail = x + 32 * N;
  for (int n = 0; n < N; ++n) {
    __m512i low = Broadcast(tail + 4 * N * W::kStart + 4 * n);
    __m512i high = _mm512_setzero_si512();
    for (int g = 0; g < 4; ++g) {
      low = _mm512_dpbusd_epi32(low, w[g], Broadcast(x + 32 * n + 4 * g));
      high = _mm512_dpbusd_epi32(high, w[g + 4], Broadcast(x + 32 * n + 16 + 4 * g));
    }
    const __m512 scale = _mm512_mul_ps(w_scale, BroadcastFloat(tail + 4 * n));
    const __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(low, high));
    const __m512 term = _mm512_mul_ps(scale, sum);
    leaf[n] = kFirst ? term : _mm512_add_ps(leaf[n], term);
  }
}

template <class W, int N>
void Tile32(const uint8_t* w, const uint8_t* x, size_t cols, const TileOut& out) {
  Tree<N> tree;
  __m512 leaf[N];
  for (size_t blocks = cols / 32; blocks > 0;) {
    const size_t here = blocks < 4 ? blocks : 4;
    Block<W, N, true>(w, x, leaf);
    w += W::kBytes;
    x += N * kRecord32;
    for (size_t b = 1; b < here; ++b) {
      Block<W, N, false>(w, x, leaf);
      w += W::kBytes;
      x += N * kRecord32;
    }
    tree.Push(leaf);
    blocks -= here;
  }
  tree.Write(out);
}

// Four groups of sub-block kSub (16 k) of a half: low nibbles for kSub < 4, else high ones.
template <int kSub>
EXO_INLINE void UnpackSub(const uint8_t* half, __m512i (&w)[4]) {
  const __m512i nibble = _mm512_set1_epi8(0x0f);
  const __m512i top = _mm512_set1_epi8(0x30);
  for (int g = 0; g < 4; ++g) {
    const __m512i low = LoadGroup(half + 64 * Q6KLow(4 * (kSub % 4) + g));
    const __m512i high = LoadGroup(half + 64 * Q6KHigh(4 * (kSub % 2) + g));
    const __m512i code = _mm512_and_si512(kSub < 4 ? low : _mm512_srli_epi16(low, 4), nibble);
    constexpr int kPart = kSub / 2;
    const __m512i bits = kPart == 0   ? _mm512_slli_epi16(high, 4)
                         : kPart == 1 ? _mm512_slli_epi16(high, 2)
                         : kPart == 2 ? high
                                      : _mm512_srli_epi16(high, 2);
    w[g] = _mm512_ternarylogic_epi32(bits, top, code, 0xea);  // (bits & top) | code
  }
}

// sums += sub_scale * dot, all in int32: exact.
template <int N, int kSub>
EXO_INLINE void Sub6(const uint8_t* half, const uint8_t* sub_scales, const uint8_t* x,
                     __m512i (&sums)[N]) {
  __m512i w[4];
  UnpackSub<kSub>(half, w);
  constexpr size_t kTurn = kSub < 4 ? 2 * kSub : 2 * kSub - 7;  // 0, 4, 1, 5, …
  Prefetch<N, To::kFirstCache, 3072, 192 + (kSub == 0 ? kQ6KSubScales : 0)>(half + 192 * kTurn);
  const __m512i scale = _mm512_cvtepi8_epi32(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(sub_scales + 16 * kSub)));
  const uint8_t* starts = x + 132 * N + 4 * N * kSub;
  for (int n = 0; n < N; ++n) {
    __m512i dot = Broadcast(starts + 4 * n);
    for (int g = 0; g < 4; ++g) {
      dot = _mm512_dpbusd_epi32(dot, w[g], Broadcast(x + 128 * n + 16 * kSub + 4 * g));
    }
    const __m512i scaled = _mm512_mullo_epi32(dot, scale);
    sums[n] = kSub == 0 ? scaled : _mm512_add_epi32(sums[n], scaled);
  }
}

template <int N>
void Tile6K(const uint8_t* w, const uint8_t* x, size_t cols, const TileOut& out) {
  Tree<N> tree;
  for (size_t k = 0; k < cols; k += 256, w += kQ6KBlockBytes) {
    const __m512 w_scale = LoadScales(w);
    for (size_t h = 0; h < 2; ++h, x += N * kRecord128) {
      const uint8_t* scales = w + 32 + h * kQ6KHalfBytes;
      const uint8_t* half = scales + kQ6KSubScales;
      __m512i sums[N];
      Sub6<N, 0>(half, scales, x, sums);
      Sub6<N, 4>(half, scales, x, sums);
      Sub6<N, 1>(half, scales, x, sums);
      Sub6<N, 5>(half, scales, x, sums);
      Sub6<N, 2>(half, scales, x, sums);
      Sub6<N, 6>(half, scales, x, sums);
      Sub6<N, 3>(half, scales, x, sums);
      Sub6<N, 7>(half, scales, x, sums);
      __m512 leaf[N];
      for (int n = 0; n < N; ++n) {
        const __m512 scale = _mm512_mul_ps(w_scale, BroadcastFloat(x + 128 * N + 4 * n));
        leaf[n] = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(sums[n]));
      }
      tree.Push(leaf);
    }
  }
  tree.Write(out);
}

template <int... kN>
constexpr TileSet Tiles6K(Widths<kN...>) {
  return {{Tile6K<kN>...}};
}
template <class W, int... kN>
constexpr TileSet Tiles32(Widths<kN...>) {
  return {{Tile32<W, kN>...}};
}

}  // namespace

void FillAvx512Dots(Ops& ops) {
  ops.tiles[kFormatQ8] = Tiles32<Q8>(AllWidths{});
  ops.tiles[kFormatQ4] = Tiles32<Q4>(AllWidths{});
  ops.tiles[kFormatQ6K] = Tiles6K(AllWidths{});
}

}  // namespace exo::kernels::panel
