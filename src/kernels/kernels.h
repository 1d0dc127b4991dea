// The operations a transformer needs, once per instruction set. `Reference()` is the definition
// (docs/arithmetic.md): plain scalar code; every other set is bit-equal to it on every input.
//
// All functions are pure: they read and write only what they are given, take no locks, allocate
// nothing and may run on any thread, on disjoint ranges of one operation at the same time. A caller
// splits an operation by panels (matrix rows), tokens or heads as it likes: results never depend on
// it. Every compute thread calls SetFloatMode() once (kernels/float_mode.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "tensor/dtype.h"

namespace exo::kernels {

enum class Isa { kReference, kAvx2, kAvxVnni, kAvx512, kNeon, kNeonDotprod, kNeonI8mm };
inline constexpr Isa kIsas[] = {Isa::kAvx512,      Isa::kAvxVnni, Isa::kAvx2,     Isa::kNeonI8mm,
                                Isa::kNeonDotprod, Isa::kNeon,    Isa::kReference};  // best first
// "reference", "avx2", "avx-vnni", "avx512", "neon", "neon-dotprod", "neon-i8mm"
std::string_view IsaName(Isa isa);

// Rows of a weight matrix that are interleaved, so that one vector lane owns one output row.
inline constexpr size_t kPanelRows = 16;
// Positions of K that stand side by side in a KV cache, and positions of a softmax chunk.
inline constexpr size_t kKvTile = 16;
inline constexpr size_t kChunkPositions = 256;
// Rows that Mix adds at most: experts of a token.
inline constexpr size_t kMaxMixed = 128;

// How the activations of a product are prepared; decided by the weight type (KindFor).
enum class ActivationKind : uint8_t {
  kFloat,   // F32, F16, BF16 weights: binary32, |x| < 2^-64 flushed to +0
  kQ8x32,   // weights in blocks of 32: int8 codes with one scale per 32
  kQ8x128,  // weights in super-blocks of 256: int8 codes with one scale per 128
};
ActivationKind KindFor(tensor::DType weights);

// A packed weight matrix [rows, cols]; `data` has PackedBytes() bytes, aligned to 64. Rows are
// padded to whole panels; panel p owns rows [16 p, 16 p + 16). Panels are stored one after the
// other, each PackedBytes(type, 16, cols) long, so that a range of panels can be packed or dropped
// by itself.
struct Weights {
  tensor::DType type = tensor::DType::kF32;
  size_t rows = 0;
  size_t cols = 0;
  const std::byte* data = nullptr;

  size_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
};

// Prepared activations of `tokens` rows of `cols` values; `data` has ActivationBytes() bytes,
// aligned to 64. The layout inside belongs to the kernel set; token t's part can be prepared by
// itself.
struct Activations {
  ActivationKind kind = ActivationKind::kFloat;
  size_t tokens = 0;
  size_t cols = 0;
  const std::byte* data = nullptr;
};

// Part of a plan's bytes (wire::Plan::kv_type): numbers never change.
enum class KvType : uint8_t { kF16 = 0, kF32 = 1, kQ8_0 = 2 };
inline constexpr size_t kKvTypes = 3;
inline constexpr size_t kKvPage = kChunkPositions;  // positions of a page
inline constexpr size_t kKvBlock = 32;              // values that share a scale in a q8_0 cache
std::string_view KvTypeName(KvType type);           // "f16", "f32", "q8_0"
// Errors: kInvalid for another name.
Result<KvType> KvTypeNamed(std::string_view name);
// The type a cache really has: q8_0 needs heads of whole blocks, others keep f16.
KvType KvTypeFor(KvType wanted, size_t head_dim);
// Bytes of the keys, and as many of the values, of kKvTile positions of one head.
size_t KvTileBytes(KvType type, size_t head_dim);

// The keys and values of one sequence, one layer and one KV head, in tiles of 16 positions that lie
// side by side in pages of kKvPage: pages[i] holds positions [256 i, 256 (i + 1)), and what this
// head has of a page begins `k` and `v` bytes behind the page's start.
//   f16, f32:  K [tile][head_dim][16]   16 positions side by side
//              V [tile][16][head_dim]
//   q8_0:      int8 codes, then an f16 scale for 32 of a position's values
//              K [tile] of { codes [head_dim / 4][16][4], scales [head_dim / 32][16] }
//              V [tile] of { codes [16][head_dim], scales [head_dim / 32][16] }
struct KvHead {
  KvType type = KvType::kF16;
  size_t head_dim = 0;
  std::byte* const* pages = nullptr;
  size_t k = 0;
  size_t v = 0;
};

// One attention call: `tokens` consecutive positions first, first + 1, … of one sequence and the
// `group` query heads that share a KV head. Token t attends to positions [0, first + t], with a
// window to the last `window` of them.
struct AttentionSpan {
  size_t first = 0;
  size_t tokens = 1;
  size_t group = 1;
  float scale = 1;    // of the scores
  size_t window = 0;  // 0: none

  // The first position that the token at `position` attends to.
  size_t Begin(size_t position) const {
    return window == 0 || position < window ? 0 : position + 1 - window;
  }
};

enum class RopeStyle : uint8_t {
  kInterleaved,  // pairs (0,1), (2,3), …: architecture llama in GGUF files
  kHalves,       // pairs (i, i + rotary_dim/2): qwen2, qwen3
};

class Kernels {
 public:
  virtual ~Kernels() = default;
  virtual Isa isa() const = 0;
  // The name of the packed layout: sets with the same one read each other's packed weights.
  virtual std::string_view layout() const = 0;

  // --- weights ---------------------------------------------------------------------------------
  // Bytes of a packed [rows, cols] matrix, a multiple of 64. `cols` satisfies tensor::RowBytes.
  virtual size_t PackedBytes(tensor::DType type, size_t rows, size_t cols) const = 0;
  // Packs panels [first, first + count) of a matrix whose rows [16 first, …) start at `src` (GGUF
  // bytes, row after row, the last panel may have fewer rows) to `dst` (start of panel `first`).
  // bf16 and f32 weights with |w| < 2^-38 become +0 (rule 5).
  virtual void Pack(tensor::DType type, size_t rows, size_t cols, size_t first, size_t count,
                    const std::byte* src, std::byte* dst) const = 0;
  // Writes row `row` of a packed matrix as `cols` floats: the embedding look-up (tied or not).
  virtual void UnpackRow(const Weights& w, size_t row, float* out) const = 0;

  // --- products --------------------------------------------------------------------------------
  virtual size_t ActivationBytes(ActivationKind kind, size_t tokens, size_t cols) const = 0;
  // Prepares tokens [first, first + count) of x (row t at x + t * stride) into `dst`, the start of
  // the buffer that holds `tokens` rows in all.
  virtual void Prepare(ActivationKind kind, const float* x, size_t stride, size_t tokens,
                       size_t cols, size_t first, size_t count, std::byte* dst) const = 0;
  // RMSNorm (as below) of each of those tokens, then Prepare: one pass over x. `gain` [cols].
  virtual void NormPrepare(ActivationKind kind, const float* x, size_t stride, const float* gain,
                           float eps, size_t tokens, size_t cols, size_t first, size_t count,
                           std::byte* dst) const = 0;
  // out[t * out_stride + r] = (w · x_t)[r] for the rows r of panels [first, first + count) and all
  // tokens of x. With `add`, the product is added to what `out` holds: out + product (residual).
  virtual void MatMul(const Weights& w, const Activations& x, size_t first, size_t count,
                      float* out, size_t out_stride, bool add) const = 0;

  // --- small operations (n values or rows; in place is allowed where out may equal x) ------------
  // y = (x * r) * gain, r = 1 / sqrt(ss / n + eps); |y| < 2^-64 becomes +0. x, gain, out [n].
  virtual void RmsNorm(const float* x, const float* gain, float eps, size_t n,
                       float* out) const = 0;
  // out = silu(gate) * up; |out| < 2^-64 becomes +0.
  virtual void SiluMul(const float* gate, const float* up, size_t n, float* out) const = 0;
  // out = gelu(gate) * up, the tanh form; flushed likewise.
  virtual void GeluMul(const float* gate, const float* up, size_t n, float* out) const = 0;
  virtual void Add(const float* a, const float* b, size_t n, float* out) const = 0;
  // out = p / sum of p, p = exp(x - max x), +0 where x - max < -40. A NaN makes all n > 0 results
  // NaN.
  virtual void Softmax(const float* x, size_t n, float* out) const = 0;
  // out[i] = sum over j < count of weights[j] * rows[j][i] by the canonical tree; a product below
  // 2^-64 becomes +0. 0 < count <= kMaxMixed; out may be one of the rows.
  virtual void Mix(const float* const* rows, const float* weights, size_t count, size_t n,
                   float* out) const = 0;
  // Rotates `heads` heads of `head_dim` values at x by the angles of one position. cos, sin
  // [rotary_dim / 2]; values beyond rotary_dim stay.
  virtual void Rope(RopeStyle style, const float* cos, const float* sin, size_t heads,
                    size_t head_dim, size_t rotary_dim, float* x) const = 0;

  // --- attention -------------------------------------------------------------------------------
  // Stores one position's key and value [head_dim]: narrowed to nearest even (f16), quantized
  // (q8_0).
  virtual void StoreKv(const KvHead& kv, size_t position, const float* k, const float* v) const = 0;
  // Attention for one KV head. q [tokens][group][head_dim] with row stride `q_stride` between
  // tokens (the heads of a group stand side by side); out likewise. A window costs what its
  // positions cost. Scratch: AttentionScratchBytes(first + tokens, group, head_dim), aligned to 64,
  // one per thread.
  virtual size_t AttentionScratchBytes(size_t positions, size_t group, size_t head_dim) const = 0;
  virtual void Attention(const KvHead& kv, const AttentionSpan& span, const float* q,
                         size_t q_stride, std::byte* scratch, float* out,
                         size_t out_stride) const = 0;
};

// The scalar definition.
const Kernels& Reference();
// The set for an instruction set. Errors: kUnsupported when this machine or build lacks it.
Result<const Kernels*> KernelsFor(Isa isa);
// The best set this machine has, or the one forced by its IsaName (empty: best).
// Errors: kInvalid for another name, kUnsupported as above.
Result<const Kernels*> ChooseKernels(std::string_view forced);

}  // namespace exo::kernels
