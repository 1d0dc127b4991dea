#include "kernels/panel/matmul.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/panel/pack.h"

namespace exo::kernels::panel {
namespace {

// Activations that stay in the L2 cache (1 MiB here, 256 KiB on the smallest x86 with AVX2)
// while all panels pass; a panel of 8192 columns adds at most 144 KiB.
constexpr size_t kActivationBudget = 384 * 1024;

Format FormatOf(tensor::DType type) {
  switch (type) {
    case tensor::DType::kF32:
      return kFormatF32;
    case tensor::DType::kF16:
      return kFormatF16;
    case tensor::DType::kBF16:
      return kFormatBF16;
    case tensor::DType::kQ8_0:
      return kFormatQ8;
    case tensor::DType::kQ4_0:
      return kFormatQ4;
    case tensor::DType::kQ4_1:
      return kFormatQ41;
    case tensor::DType::kQ5_0:
      return kFormatQ50;
    case tensor::DType::kQ5_1:
      return kFormatQ51;
    case tensor::DType::kIQ4_NL:
      return kFormatIq4Nl;
    case tensor::DType::kMXFP4:
      return kFormatMxfp4;
    case tensor::DType::kQ2_K:
      return kFormatQ2K;
    case tensor::DType::kQ3_K:
      return kFormatQ3K;
    case tensor::DType::kQ4_K:
      return kFormatQ4K;
    case tensor::DType::kQ5_K:
      return kFormatQ5K;
    case tensor::DType::kQ6_K:
      return kFormatQ6K;
    case tensor::DType::kIQ4_XS:
      return kFormatIq4Xs;
    case tensor::DType::kIQ3_XXS:
      return kFormatIq3Xxs;
    case tensor::DType::kIQ3_S:
      return kFormatIq3S;
    case tensor::DType::kIQ2_XXS:
    case tensor::DType::kIQ2_XS:
    case tensor::DType::kIQ2_S:
      return kFormatIq2;
    case tensor::DType::kIQ1_S:
    case tensor::DType::kIQ1_M:
      return kFormatIq1;
    case tensor::DType::kTQ1_0:
    case tensor::DType::kTQ2_0:
      return kFormatTq;
  }
  return kFormatF32;
}

}  // namespace

size_t TileBytes(ActivationKind kind, size_t width, size_t cols) {
  switch (kind) {
    case ActivationKind::kFloat:
      return width * cols * sizeof(float);
    case ActivationKind::kQ8x32:
      return width * (cols / 32) * kRecord32;
    case ActivationKind::kQ8x128:
      return width * (cols / 128) * kRecord128;
  }
  return 0;
}

size_t TilesBytes(ActivationKind kind, size_t tokens, size_t cols) {
  return (TileBytes(kind, tokens, cols) + 63) / 64 * 64;
}

namespace {

// One product as the tile functions see it.
struct Product {
  const TileSet& tiles;
  const Weights& w;
  const Activations& x;
  size_t panel_bytes;
  size_t tile_bytes;
  float* out;
  size_t out_stride;
  bool add;

  const uint8_t* Panel(size_t p) const {
    return reinterpret_cast<const uint8_t*>(w.data) + p * panel_bytes;
  }
  const uint8_t* Tile(size_t t) const {
    return reinterpret_cast<const uint8_t*>(x.data) + t / kTileTokens * tile_bytes;
  }
  TileOut Out(size_t p, size_t panels, size_t t) const {
    const size_t row = p * kPanelRows;
    return {out + t * out_stride + row, out_stride, std::min(panels * kPanelRows, w.rows - row),
            add};
  }

  // Panel p times tokens [begin, end), tile by tile.
  void One(size_t p, size_t begin, size_t end) const {
    for (size_t t = begin; t < end; t += kTileTokens) {
      const size_t width = std::min(kTileTokens, end - t);
      tiles.width[width - 1](Panel(p), Tile(t), x.cols, Out(p, 1, t));
    }
  }
  // The most tiles, at most `count`, that a pair of panels takes together; 0: none.
  size_t Together(size_t count) const {
    count = std::min(count, kMaxPairTiles);
    while (count > 0 && tiles.pair[count - 1] == nullptr) --count;
    return count;
  }
  // Panels p and p + 1 times tokens [begin, end) as far as pairs go; returns the first token that
  // is left.
  size_t Pair(size_t p, size_t begin, size_t end) const {
    while (const size_t count = Together((end - begin) / kTileTokens)) {
      tiles.pair[count - 1]({Panel(p), panel_bytes, Tile(begin), tile_bytes, x.cols},
                            Out(p, 2, begin));
      begin += count * kTileTokens;
    }
    if (end - begin != 1 || tiles.pair_of_one == nullptr) return begin;
    tiles.pair_of_one({Panel(p), panel_bytes, Tile(begin), tile_bytes, x.cols}, Out(p, 2, begin));
    return end;
  }
};

}  // namespace

// Token blocks outermost, so that their activations stay cached; then panels, each read from memory
// once per block of tokens; then the block's tiles, for which the panels are in the L2 cache.
void MatMul(const Ops& ops, const Weights& w, const Activations& x, size_t first, size_t count,
            float* out, size_t out_stride, bool add) {
  CHECK(x.kind == KindFor(w.type));
  CHECK_EQ(x.cols, w.cols);
  const Product product{ops.tiles[FormatOf(w.type)],
                        w,
                        x,
                        PanelBytes(w.type, w.cols),
                        TileBytes(x.kind, kTileTokens, x.cols),
                        out,
                        out_stride,
                        add};
  const size_t together = std::max<size_t>(1, product.Together(kMaxPairTiles));
  const size_t fit = kActivationBudget / product.tile_bytes / together * together;
  const size_t block = std::max(fit, together) * kTileTokens;
  for (size_t begin = 0; begin < x.tokens; begin += block) {
    const size_t end = std::min(begin + block, x.tokens);
    for (size_t p = first; p < first + count;) {
      const size_t here = std::min<size_t>(2, first + count - p);
      const size_t rest = here == 2 ? product.Pair(p, begin, end) : begin;
      for (size_t i = 0; i < here; ++i) product.One(p + i, rest, end);
      p += here;
    }
  }
}

}  // namespace exo::kernels::panel
