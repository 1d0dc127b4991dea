// Two panels (32 rows) times whole tiles of tokens: what the integer products of long prompts
// share. Included by dots32_avx512.cc and dots256_avx512.cc only.
//
// A step takes 32 k: 8 code vectors of each panel stay in registers while all tokens pass, each
// broadcast of activations serves both panels, and the sums of the tokens live in the L1 cache
// (a load and a store per panel and token, on ports that are free).
//
// The order of instructions is the point. Sixteen dot products of a token are eight chains of two,
// so that each is ready when the one before has left the port, and the previous token's sums are
// scaled in the middle of them. Left to itself, an instruction waits in the scheduler for its
// operands, and on Zen 5 the scheduler is then full before the ports are: one panel x 16 tokens 370
// GOP/s, a pair in plain order 430, in this order 510, with 32 tokens 540, where ports alone would
// allow 690 (Q4_0, K = 2048, of 940 by vpdpbusd alone).
#pragma once

#include "kernels/x86/dots_avx512.h"

namespace exo::kernels::panel {
namespace {

using Codes = __m512i[8];
constexpr size_t kPairTiles = 2;
constexpr size_t kPairTokens = kPairTiles * kTileTokens;

// The compiler may move nothing that computes these registers past this point.
EXO_INLINE void Fence(__m512i (&s)[8]) {
  asm volatile(""
               : "+v"(s[0]), "+v"(s[1]), "+v"(s[2]), "+v"(s[3]), "+v"(s[4]), "+v"(s[5]), "+v"(s[6]),
                 "+v"(s[7]));
}

// Chains 0 … 3 of panel a and 4 … 7 of panel b, from the sums in s: chain c adds the groups whose
// codes are w[c] and w[c + 4]. at(g): where the 4 activation codes of vector g are. `between` runs
// in the middle.
template <class At, class Between>
EXO_INLINE void PairDots(const Codes& a, const Codes& b, const At& at, const Between& between,
                         __m512i (&s)[8]) {
  const auto add = [&](auto c, auto g) EXO_LAMBDA {
    const __m512i x = Broadcast(at(g));
    s[c] = _mm512_dpbusd_epi32(s[c], a[g], x);
    s[c + 4] = _mm512_dpbusd_epi32(s[c + 4], b[g], x);
  };
  Unroll<4>([&](auto c) EXO_LAMBDA { add(c, c); });
  Fence(s);
  between();
  Fence(s);
  Unroll<4>([&](auto c) EXO_LAMBDA { add(c, std::integral_constant<int, c + 4>{}); });
  Fence(s);
}

// A token of a pair's tiles: its number, the record of its tile and its lane there.
struct Token {
  size_t number;
  const uint8_t* record;
  size_t lane;
};

// Calls f(token) for each token of the tiles.
template <class F>
EXO_INLINE void ForTokens(const PairJob& job, const uint8_t* x, const F& f) {
  for (size_t tile = 0; tile < kPairTiles; ++tile, x += job.tile_bytes) {
    for (size_t lane = 0; lane < kTileTokens; ++lane) f(Token{tile * kTileTokens + lane, x, lane});
  }
}

// Calls dots(token, between) for each token of the tiles, with end(the token before) as what runs
// in between.
template <class Dots, class End>
EXO_INLINE void Pipeline(const PairJob& job, const uint8_t* x, const Dots& dots, const End& end) {
  for (size_t tile = 0; tile < kPairTiles; ++tile, x += job.tile_bytes) {
    const auto token = [&](size_t lane)
                           EXO_LAMBDA { return Token{tile * kTileTokens + lane, x, lane}; };
    dots(token(0), [] {});
    for (size_t lane = 1; lane < kTileTokens; ++lane)
      dots(token(lane), [&]() EXO_LAMBDA { end(token(lane - 1)); });
    end(token(kTileTokens - 1));
  }
}

// The leaves of both panels, and their trees.
struct PairLeaves {
  __m512 leaf[2][kPairTokens];
  Tree<kPairTokens> tree[2];

  EXO_INLINE void Push() {
    for (int p = 0; p < 2; ++p) tree[p].Push(leaf[p]);
  }
  EXO_INLINE void Write(const TileOut& to) {
    for (size_t p = 0; p < 2; ++p) tree[p].Write(to.Panel(p));
  }
};

}  // namespace
}  // namespace exo::kernels::panel
