#include "kernels/panel/panel_kernels.h"

#include <algorithm>

#include "kernels/panel/matmul.h"
#include "kernels/panel/ops.h"
#include "kernels/panel/pack.h"

namespace exo::kernels::panel {

// Rows share each key and value that is loaded; their scores pass through the caches three times,
// so long contexts take fewer rows.
constexpr size_t kMaxRows = 64;
constexpr size_t kMinRows = 8;
constexpr size_t kScoreBytes = 4 << 20;

static size_t MaxPositions(size_t rows) {
  return kScoreBytes / (rows * sizeof(float));
}

static size_t TokensOfRows(size_t rows, size_t group) {
  return std::max<size_t>(1, rows / group);
}

size_t AttentionTokens(size_t positions, size_t group) {
  size_t rows = kMaxRows;
  while (rows > kMinRows && positions > MaxPositions(rows)) rows /= 2;
  return TokensOfRows(rows, group);
}

static size_t FloatsFor(size_t positions, size_t rows, size_t head_dim) {
  const size_t chunks = (positions + kChunkPositions - 1) / kChunkPositions;
  size_t levels = 1;
  while (chunks >> levels != 0) ++levels;
  const size_t score_stride = (positions + 15) / 16 * 16 + 16;
  return (rows + 15) / 16 * 16 + rows * (2 * head_dim + score_stride + levels * head_dim) +
         kChunkPositions * head_dim;
}

size_t AttentionScratchFloats(size_t positions, size_t group, size_t head_dim) {
  // Never less than for fewer positions, although those take more rows at a time.
  size_t most = 0;
  for (size_t rows = kMaxRows; rows >= kMinRows; rows /= 2) {
    const size_t here = rows == kMinRows ? positions : std::min(positions, MaxPositions(rows));
    most = std::max(most, FloatsFor(here, TokensOfRows(rows, group) * group, head_dim));
  }
  return most;
}

namespace {

const uint8_t* Bytes(const std::byte* p) {
  return reinterpret_cast<const uint8_t*>(p);
}
uint8_t* Bytes(std::byte* p) {
  return reinterpret_cast<uint8_t*>(p);
}

CacheType TypeOf(const KvHead& kv) {
  switch (kv.type) {
    case KvType::kF16:
      return kCacheF16;
    case KvType::kF32:
      return kCacheF32;
    case KvType::kQ8_0:
      return kCacheQ8;
  }
  return kCacheF16;
}

class PanelKernels final : public Kernels {
 public:
  PanelKernels(Isa isa, const Ops& ops) : isa_(isa), ops_(ops) {}

  Isa isa() const override { return isa_; }
  std::string_view layout() const override { return "panels-1"; }

  size_t PackedBytes(tensor::DType type, size_t rows, size_t cols) const override {
    return (rows + kPanelRows - 1) / kPanelRows * PanelBytes(type, cols);
  }

  void Pack(tensor::DType type, size_t rows, size_t cols, size_t first, size_t count,
            const std::byte* src, std::byte* dst) const override {
    const size_t row_bytes =
        cols / tensor::Info(type).block_values * tensor::Info(type).block_bytes;
    for (size_t p = 0; p < count; ++p) {
      const size_t valid = std::min(kPanelRows, rows - (first + p) * kPanelRows);
      PackPanel(type, valid, cols, Bytes(src) + p * kPanelRows * row_bytes,
                Bytes(dst) + p * PanelBytes(type, cols));
    }
  }

  void UnpackRow(const Weights& w, size_t row, float* out) const override {
    const std::byte* panel = w.data + row / kPanelRows * PanelBytes(w.type, w.cols);
    UnpackPanelRow(w.type, w.cols, Bytes(panel), row % kPanelRows, out);
  }

  size_t ActivationBytes(ActivationKind kind, size_t tokens, size_t cols) const override {
    return TilesBytes(kind, tokens, cols);
  }

  void Prepare(ActivationKind kind, const float* x, size_t stride, size_t tokens, size_t cols,
               size_t first, size_t count, std::byte* dst) const override {
    PrepareTokens(kind, x, stride, nullptr, 0, tokens, cols, first, count, dst);
  }

  void NormPrepare(ActivationKind kind, const float* x, size_t stride, const float* gain, float eps,
                   size_t tokens, size_t cols, size_t first, size_t count,
                   std::byte* dst) const override {
    PrepareTokens(kind, x, stride, gain, eps, tokens, cols, first, count, dst);
  }

  void MatMul(const Weights& w, const Activations& x, size_t first, size_t count, float* out,
              size_t out_stride, bool add) const override {
    panel::MatMul(ops_, w, x, first, count, out, out_stride, add);
  }

  void RmsNorm(const float* x, const float* gain, float eps, size_t n, float* out) const override {
    ops_.rms_norm(x, gain, eps, n, out);
  }
  void SiluMul(const float* gate, const float* up, size_t n, float* out) const override {
    ops_.silu_mul(gate, up, n, out);
  }
  void GeluMul(const float* gate, const float* up, size_t n, float* out) const override {
    ops_.gelu_mul(gate, up, n, out);
  }
  void Softmax(const float* x, size_t n, float* out) const override { ops_.softmax(x, n, out); }
  void Mix(const float* const* rows, const float* weights, size_t count, size_t n,
           float* out) const override {
    ops_.mix(rows, weights, count, n, out);
  }
  void Add(const float* a, const float* b, size_t n, float* out) const override {
    ops_.add(a, b, n, out);
  }
  void Rope(RopeStyle style, const float* cos, const float* sin, size_t heads, size_t head_dim,
            size_t rotary_dim, float* x) const override {
    const auto rotate = style == RopeStyle::kInterleaved ? ops_.rope_interleaved : ops_.rope_halves;
    for (size_t h = 0; h < heads; ++h) rotate(cos, sin, rotary_dim / 2, x + h * head_dim);
  }

  void StoreKv(const KvHead& kv, size_t position, const float* k, const float* v) const override {
    uint8_t* tile = Bytes(kv.pages[position / kKvPage]) +
                    position % kKvPage / kKvTile * KvTileBytes(kv.type, kv.head_dim);
    ops_.store_kv({.type = TypeOf(kv),
                   .head_dim = kv.head_dim,
                   .key = k,
                   .value = v,
                   .k = tile + kv.k,
                   .v = tile + kv.v,
                   .lane = position % kKvTile});
  }

  size_t AttentionScratchBytes(size_t positions, size_t group, size_t head_dim) const override {
    return (4 * AttentionScratchFloats(positions, group, head_dim) + 63) / 64 * 64;
  }

  void Attention(const KvHead& kv, const AttentionSpan& span, const float* q, size_t q_stride,
                 std::byte* scratch, float* out, size_t out_stride) const override {
    ops_.attention({.type = TypeOf(kv),
                    .head_dim = kv.head_dim,
                    .pages = reinterpret_cast<const uint8_t* const*>(kv.pages),
                    .k = kv.k,
                    .v = kv.v,
                    .q = q,
                    .q_stride = q_stride,
                    .first = span.first,
                    .tokens = span.tokens,
                    .group = span.group,
                    .window = span.window == 0 ? span.first + span.tokens : span.window,
                    .scale = span.scale,
                    .scratch = reinterpret_cast<float*>(scratch),
                    .out = out,
                    .out_stride = out_stride});
  }

 private:
  void PrepareTokens(ActivationKind kind, const float* x, size_t stride, const float* gain,
                     float eps, size_t tokens, size_t cols, size_t first, size_t count,
                     std::byte* dst) const {
    const auto prepare = kind == ActivationKind::kFloat   ? ops_.prepare_float
                         : kind == ActivationKind::kQ8x32 ? ops_.prepare32
                                                          : ops_.prepare128;
    const size_t tile_bytes = TileBytes(kind, kTileTokens, cols);
    for (size_t t = first; t < first + count; ++t) {
      const size_t tile = t / kTileTokens;
      prepare({.x = x + t * stride,
               .gain = gain,
               .eps = eps,
               .cols = cols,
               .tile = Bytes(dst) + tile * tile_bytes,
               .lane = t % kTileTokens,
               .width = std::min(kTileTokens, tokens - tile * kTileTokens)});
    }
  }

  const Isa isa_;
  const Ops ops_;
};

}  // namespace

std::unique_ptr<const Kernels> MakePanelKernels(Isa isa, const Ops& ops) {
  return std::make_unique<PanelKernels>(isa, ops);
}

}  // namespace exo::kernels::panel
