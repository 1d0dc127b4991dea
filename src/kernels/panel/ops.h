// What an instruction set provides: plain functions behind a table. The class, packing and blocking
// live in files without instruction-set flags (panel_kernels.cc, pack.cc, matmul.cc).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/panel/layout.h"

namespace exo::kernels::panel {

// Where the products of one panel and one tile of tokens go: out[token * stride + row], rows <= 16.
struct TileOut {
  float* out;
  size_t stride;
  size_t rows;
  bool add;

  // Token `t` and those after it.
  __attribute__((always_inline)) TileOut From(size_t t) const {
    return {out + t * stride, stride, rows, add};
  }
  // The rows of panel `p` of a pair.
  __attribute__((always_inline)) TileOut Panel(size_t p) const {
    return {out + 16 * p, stride, p == 0 ? 16 : rows - 16, add};
  }
};

// One panel times one tile: the whole k range, so that the canonical tree lives on the stack.
using TileFunction = void (*)(const uint8_t* panel, const uint8_t* x, size_t cols,
                              const TileOut& out);
// Two neighboring panels times some whole tiles of tokens, the shape for long prompts: a broadcast
// activation serves 32 rows, a weight once unpacked all tiles. to.rows: 17 … 32.
struct PairJob {
  const uint8_t* panel;  // and the other panel_bytes behind it
  size_t panel_bytes;
  const uint8_t* x;  // and each further tile tile_bytes behind
  size_t tile_bytes;
  size_t cols;
};
using PairFunction = void (*)(const PairJob& job, const TileOut& to);
constexpr size_t kMaxPairTiles = 4;

// Tile functions for 1 … kTileTokens tokens, and for pairs of panels with 1 … kMaxPairTiles whole
// tiles or with one token; null where single panels are as fast.
struct TileSet {
  TileFunction width[kTileTokens];
  PairFunction pair[kMaxPairTiles] = {};
  PairFunction pair_of_one = nullptr;
};

// The widths as a template parameter pack.
template <int...>
struct Widths {};
using AllWidths = Widths<1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16>;

enum Format {
  kFormatF32,
  kFormatF16,
  kFormatBF16,
  kFormatQ8,
  kFormatQ4,
  kFormatQ41,
  kFormatQ50,
  kFormatQ51,
  kFormatIq4Nl,
  kFormatMxfp4,
  kFormatQ2K,
  kFormatQ3K,
  kFormatQ4K,
  kFormatQ5K,
  kFormatQ6K,
  kFormatIq4Xs,
  kFormatIq3Xxs,
  kFormatIq3S,
  kFormatIq2,
  kFormatIq1,
  kFormatTq,
  kFormats
};

// One token's part of a tile: `lane` of `width` tokens. gain null: no normalization.
struct PrepareJob {
  const float* x;
  const float* gain;
  float eps;
  size_t cols;
  uint8_t* tile;
  size_t lane;
  size_t width;
};

enum CacheType { kCacheF16, kCacheF32, kCacheQ8 };

// The key and value of one position: `lane` of the tiles at k and v.
struct StoreJob {
  CacheType type;
  size_t head_dim;
  const float* key;
  const float* value;
  uint8_t* k;
  uint8_t* v;
  size_t lane;
};

struct AttentionJob {
  CacheType type;
  size_t head_dim;
  const uint8_t* const* pages;  // of 256 positions
  size_t k;                     // bytes from a page's start to the head's keys
  size_t v;
  const float* q;
  size_t q_stride;
  size_t first;
  size_t tokens;
  size_t group;
  size_t window;  // positions that a token attends to, at most: there is always one
  float scale;
  float* scratch;
  float* out;
  size_t out_stride;
};

struct Ops {
  TileSet tiles[kFormats];
  void (*prepare_float)(const PrepareJob&);
  void (*prepare32)(const PrepareJob&);
  void (*prepare128)(const PrepareJob&);
  void (*rms_norm)(const float* x, const float* gain, float eps, size_t n, float* out);
  void (*silu_mul)(const float* gate, const float* up, size_t n, float* out);
  void (*gelu_mul)(const float* gate, const float* up, size_t n, float* out);
  void (*softmax)(const float* x, size_t n, float* out);
  void (*mix)(const float* const* rows, const float* weights, size_t count, size_t n, float* out);
  void (*add)(const float* a, const float* b, size_t n, float* out);
  void (*rope_halves)(const float* cos, const float* sin, size_t half, float* x);
  void (*rope_interleaved)(const float* cos, const float* sin, size_t half, float* x);
  void (*store_kv)(const StoreJob&);
  void (*attention)(const AttentionJob&);
};

// Query tokens that attention handles together, and its scratch in floats.
size_t AttentionTokens(size_t positions, size_t group);
size_t AttentionScratchFloats(size_t positions, size_t group, size_t head_dim);

// The parts of a table, one per file.
void FillAvx2Dots32(Ops& ops);
void FillAvx2Dots256(Ops& ops);
void FillAvx2Floats(Ops& ops);
void FillAvx2Rows(Ops& ops);
void FillAvx2Attention(Ops& ops);
void FillAvxVnniDots32(Ops& ops);
void FillAvxVnniDots256(Ops& ops);
void FillAvx512Dots32(Ops& ops);
void FillAvx512DecodeZen4(Ops& ops);  // replaces what is slower on Zen 4
void FillAvx512Dots256(Ops& ops);
void FillAvx512Floats(Ops& ops);
void FillAvx512Rows(Ops& ops);
void FillAvx512Attention(Ops& ops);

}  // namespace exo::kernels::panel
