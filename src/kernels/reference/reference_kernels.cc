// Reference(): the operations of kernels.h put together from the definitions in this folder.
// Layouts: a panel is its 16 rows of GGUF bytes, one after the other; prepared activations are,
// token by token, the values (binary32 or int8) followed by the scales.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/kernels.h"
#include "kernels/reference/attention.h"
#include "kernels/reference/flush.h"
#include "kernels/reference/product.h"
#include "kernels/reference/quantize.h"
#include "kernels/reference/rows.h"
#include "tensor/dequantize.h"
#include "tensor/float16.h"

namespace exo::kernels {
namespace {

using tensor::DType;

constexpr size_t kStep = 128;  // columns prepared at a time: a multiple of every block

constexpr size_t RoundUp64(size_t n) {
  return (n + 63) / 64 * 64;
}

size_t FileRowBytes(DType type, size_t cols) {
  return cols / tensor::Info(type).block_values * tensor::Info(type).block_bytes;
}

size_t BlockOf(ActivationKind kind) {
  return kind == ActivationKind::kQ8x32 ? 32 : 128;
}

// Bytes of one token's prepared activations, and where its scales start.
size_t TokenBytes(ActivationKind kind, size_t cols) {
  if (kind == ActivationKind::kFloat) return RoundUp64(4 * cols);
  return RoundUp64(RoundUp64(cols) + 4 * ((cols + BlockOf(kind) - 1) / BlockOf(kind)));
}

// Rule 5 on one row of weights as stored in the file.
void FlushRow(DType type, size_t cols, std::byte* row) {
  for (size_t k = 0; k < cols; ++k) {
    if (type == DType::kF32) {
      float value;
      std::memcpy(&value, row + 4 * k, 4);
      value = reference::FlushWeight(value);
      std::memcpy(row + 4 * k, &value, 4);
    } else if (type == DType::kBF16) {
      uint16_t bits;
      std::memcpy(&bits, row + 2 * k, 2);
      bits = tensor::FloatToBf16(reference::FlushWeight(tensor::Bf16ToFloat(bits)));
      std::memcpy(row + 2 * k, &bits, 2);
    }
  }
}

class ReferenceKernels final : public Kernels {
 public:
  Isa isa() const override { return Isa::kReference; }
  std::string_view layout() const override { return "rows-1"; }

  size_t PackedBytes(DType type, size_t rows, size_t cols) const override {
    const size_t panels = (rows + kPanelRows - 1) / kPanelRows;
    return panels * RoundUp64(kPanelRows * FileRowBytes(type, cols));
  }

  void Pack(DType type, size_t rows, size_t cols, size_t first, size_t count, const std::byte* src,
            std::byte* dst) const override {
    const size_t panel_bytes = PackedBytes(type, kPanelRows, cols);
    const size_t row_bytes = FileRowBytes(type, cols);
    for (size_t p = 0; p < count; ++p, dst += panel_bytes) {
      const size_t row = (first + p) * kPanelRows;
      const size_t valid = std::min(kPanelRows, rows - row);
      std::memset(dst, 0, panel_bytes);
      std::memcpy(dst, src + p * kPanelRows * row_bytes, valid * row_bytes);
      for (size_t r = 0; r < valid; ++r) FlushRow(type, cols, dst + r * row_bytes);
    }
  }

  void UnpackRow(const Weights& w, size_t row, float* out) const override {
    tensor::DequantizeRow(w.type, Row(w, row), w.cols, out);
  }

  size_t ActivationBytes(ActivationKind kind, size_t tokens, size_t cols) const override {
    return tokens * TokenBytes(kind, cols);
  }

  void Prepare(ActivationKind kind, const float* x, size_t stride, size_t /*tokens*/, size_t cols,
               size_t first, size_t count, std::byte* dst) const override {
    for (size_t t = first; t < first + count; ++t) {
      for (size_t k = 0; k < cols; k += kStep) {
        PrepareStep(kind, x + t * stride + k, k, cols, dst + t * TokenBytes(kind, cols));
      }
    }
  }

  void NormPrepare(ActivationKind kind, const float* x, size_t stride, const float* gain, float eps,
                   size_t /*tokens*/, size_t cols, size_t first, size_t count,
                   std::byte* dst) const override {
    for (size_t t = first; t < first + count; ++t) {
      const float* row = x + t * stride;
      const float r = reference::NormFactor(row, cols, eps);
      for (size_t k = 0; k < cols; k += kStep) {
        float values[kStep];
        reference::Normalize(row + k, gain + k, r, std::min(kStep, cols - k), values);
        PrepareStep(kind, values, k, cols, dst + t * TokenBytes(kind, cols));
      }
    }
  }

  void MatMul(const Weights& w, const Activations& x, size_t first, size_t count, float* out,
              size_t out_stride, bool add) const override {
    CHECK(x.kind == KindFor(w.type));
    CHECK_EQ(x.cols, w.cols);
    const size_t end = std::min(w.rows, (first + count) * kPanelRows);
    for (size_t t = 0; t < x.tokens; ++t) {
      for (size_t r = first * kPanelRows; r < end; ++r) {
        float& at = out[t * out_stride + r];
        const float product = Dot(w, Row(w, r), x.data + t * TokenBytes(x.kind, x.cols));
        at = add ? at + product : product;
      }
    }
  }

  void RmsNorm(const float* x, const float* gain, float eps, size_t n, float* out) const override {
    reference::RmsNorm(x, gain, eps, n, out);
  }
  void SiluMul(const float* gate, const float* up, size_t n, float* out) const override {
    reference::SiluMul(gate, up, n, out);
  }
  void GeluMul(const float* gate, const float* up, size_t n, float* out) const override {
    reference::GeluMul(gate, up, n, out);
  }
  void Softmax(const float* x, size_t n, float* out) const override {
    reference::Softmax(x, n, out);
  }
  void Mix(const float* const* rows, const float* weights, size_t count, size_t n,
           float* out) const override {
    reference::Mix(rows, weights, count, n, out);
  }
  void Add(const float* a, const float* b, size_t n, float* out) const override {
    for (size_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
  }
  void Rope(RopeStyle style, const float* cos, const float* sin, size_t heads, size_t head_dim,
            size_t rotary_dim, float* x) const override {
    for (size_t h = 0; h < heads; ++h) {
      reference::RopeHead(style, cos, sin, rotary_dim, x + h * head_dim);
    }
  }

  void StoreKv(const KvHead& kv, size_t position, const float* k, const float* v) const override {
    reference::StoreKv(kv, position, k, v);
  }
  size_t AttentionScratchBytes(size_t positions, size_t, size_t head_dim) const override {
    return RoundUp64(reference::AttendScratchBytes(positions, head_dim));
  }
  void Attention(const KvHead& kv, const AttentionSpan& span, const float* q, size_t q_stride,
                 std::byte* scratch, float* out, size_t out_stride) const override {
    for (size_t t = 0; t < span.tokens; ++t) {
      const size_t position = span.first + t;
      for (size_t h = 0; h < span.group; ++h) {
        reference::AttendHead(kv, q + t * q_stride + h * kv.head_dim, span.Begin(position),
                              position + 1, span.scale, scratch,
                              out + t * out_stride + h * kv.head_dim);
      }
    }
  }

 private:
  const std::byte* Row(const Weights& w, size_t row) const {
    return w.data + row / kPanelRows * PackedBytes(w.type, kPanelRows, w.cols) +
           row % kPanelRows * FileRowBytes(w.type, w.cols);
  }

  // Prepares the values of columns [first, first + 128) of a token, fewer at the end of its row.
  static void PrepareStep(ActivationKind kind, const float* x, size_t first, size_t cols,
                          std::byte* token) {
    const size_t end = std::min(first + kStep, cols);
    if (kind == ActivationKind::kFloat) {
      auto* values = reinterpret_cast<float*>(token);
      for (size_t k = first; k < end; ++k) values[k] = reference::FlushActivation(x[k - first]);
      return;
    }
    auto* codes = reinterpret_cast<int8_t*>(token);
    auto* scales = reinterpret_cast<float*>(token + RoundUp64(cols));
    const size_t block = BlockOf(kind);
    for (size_t k = first; k < end; k += block) {
      scales[k / block] = reference::QuantizeBlock(x + k - first, block, codes + k);
    }
  }

  static float Dot(const Weights& w, const std::byte* row, const std::byte* token) {
    if (!tensor::Info(w.type).quantized) {
      return reference::DotFloat(w.type, row, reinterpret_cast<const float*>(token), w.cols);
    }
    const auto* codes = reinterpret_cast<const int8_t*>(token);
    const auto* scales = reinterpret_cast<const float*>(token + RoundUp64(w.cols));
    const bool super = KindFor(w.type) == ActivationKind::kQ8x128;
    const auto dot = super ? reference::DotQ8x128 : reference::DotQ8x32;
    return dot(w.type, row, codes, scales, w.cols);
  }
};

}  // namespace

const Kernels& Reference() {
  static const ReferenceKernels kernels;
  return kernels;
}

}  // namespace exo::kernels
