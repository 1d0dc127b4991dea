#include "kernels/panel/matmul.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/panel/pack.h"

namespace exo::kernels::panel {
namespace {

// Activations that stay in the second cache (1 MiB here, 256 KiB on the smallest x86 with AVX2)
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

// Token blocks outermost, so that their activations stay cached; then panels, each read from memory
// once per block of tokens; then the block's tiles, for which the panel is in the second cache.
void MatMul(const Ops& ops, const Weights& w, const Activations& x, size_t first, size_t count,
            float* out, size_t out_stride, bool add) {
  CHECK(x.kind == KindFor(w.type));
  CHECK_EQ(x.cols, w.cols);
  const TileSet& tiles = ops.tiles[FormatOf(w.type)];
  const size_t panel_bytes = PanelBytes(w.type, w.cols);
  const size_t tile_bytes = TileBytes(x.kind, kTileTokens, x.cols);
  const size_t block = std::max<size_t>(1, kActivationBudget / tile_bytes) * kTileTokens;
  const auto* panels = reinterpret_cast<const uint8_t*>(w.data);
  const auto* prepared = reinterpret_cast<const uint8_t*>(x.data);
  for (size_t begin = 0; begin < x.tokens; begin += block) {
    const size_t end = std::min(begin + block, x.tokens);
    for (size_t p = first; p < first + count; ++p) {
      const size_t row = p * kPanelRows;
      const size_t rows = std::min(kPanelRows, w.rows - row);
      for (size_t t = begin; t < end; t += kTileTokens) {
        const size_t width = std::min(kTileTokens, x.tokens - t);
        tiles.width[width - 1](panels + p * panel_bytes, prepared + t / kTileTokens * tile_bytes,
                               x.cols, {out + t * out_stride + row, out_stride, rows, add});
      }
    }
  }
}

}  // namespace exo::kernels::panel
