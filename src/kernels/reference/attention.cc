#include "kernels/reference/attention.h"

#include <algorithm>
#include <cstring>

#include "kernels/elementary.h"
#include "kernels/reference/flush.h"
#include "kernels/reference/tree.h"
#include "tensor/float16.h"

namespace exo::kernels::reference {
namespace {

// e^-40 = 4e-18 stays below 1e-11 of the sum even over a million positions; no weight is denormal.
constexpr float kCut = -40.0f;

void Store(KvType type, std::byte* base, size_t index, float value) {
  if (type == KvType::kF32) {
    const float flushed = FlushWeight(value);
    std::memcpy(base + 4 * index, &flushed, 4);
  } else {
    const uint16_t half = tensor::FloatToHalf(value);
    std::memcpy(base + 2 * index, &half, 2);
  }
}

float Load(KvType type, const std::byte* base, size_t index) {
  if (type == KvType::kF32) {
    float value;
    std::memcpy(&value, base + 4 * index, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, base + 2 * index, 2);
  return tensor::HalfToFloat(half);
}

size_t KeyIndex(size_t head_dim, size_t position, size_t d) {
  return (position / kKvTile * head_dim + d) * kKvTile + position % kKvTile;
}

float Score(const KvHead& kv, const float* q, size_t position, float scale) {
  const auto product = [&](size_t d) {
    return FlushActivation(q[d]) * Load(kv.type, kv.k, KeyIndex(kv.head_dim, position, d));
  };
  float sum = product(0);
  for (size_t d = 1; d < kv.head_dim; ++d) sum = sum + product(d);
  return sum * scale;
}

}  // namespace

void StoreKv(const KvHead& kv, size_t position, const float* k, const float* v) {
  for (size_t d = 0; d < kv.head_dim; ++d) {
    Store(kv.type, kv.k, KeyIndex(kv.head_dim, position, d), k[d]);
    Store(kv.type, kv.v, position * kv.head_dim + d, v[d]);
  }
}

void AttendHead(const KvHead& kv, const float* q, size_t begin, size_t end, float scale, float* p,
                float* out) {
  for (size_t j = begin; j < end; ++j) p[j] = Score(kv, q, j, scale);
  float max = p[begin];  // NaN scores need no care here: one makes every output NaN below
  for (size_t j = begin; j < end; ++j) max = p[j] > max ? p[j] : max;
  for (size_t j = begin; j < end; ++j) {
    const float distance = p[j] - max;
    p[j] = distance < kCut ? 0.0f : Exp(distance);
  }

  // The leaves of the trees are the chunks that hold an attended position.
  const size_t first_chunk = begin / kChunkPositions;
  const size_t chunks = (end - 1) / kChunkPositions + 1 - first_chunk;
  const auto first = [&](size_t leaf) {
    return std::max(begin, (first_chunk + leaf) * kChunkPositions);
  };
  const auto last = [&](size_t leaf) {
    return std::min(end, (first_chunk + leaf + 1) * kChunkPositions);
  };
  const auto chunk_denominator = [&](size_t leaf) {
    const size_t lane = first(leaf) % 16;  // a position keeps its lane whatever the window
    float weights[kChunkPositions] = {};
    std::copy(p + first(leaf), p + last(leaf), weights + lane);
    return RowSum(weights, lane + last(leaf) - first(leaf));
  };
  const float denominator = TreeSum(chunk_denominator, 0, chunks);
  for (size_t d = 0; d < kv.head_dim; ++d) {
    const auto product = [&](size_t j) { return p[j] * Load(kv.type, kv.v, j * kv.head_dim + d); };
    const auto chunk_value = [&](size_t leaf) {
      float sum = product(first(leaf));
      for (size_t j = first(leaf) + 1; j < last(leaf); ++j) sum = sum + product(j);
      return sum;
    };
    out[d] = TreeSum(chunk_value, 0, chunks) / denominator;
  }
}

}  // namespace exo::kernels::reference
