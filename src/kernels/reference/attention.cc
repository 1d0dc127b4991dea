#include "kernels/reference/attention.h"

#include <algorithm>
#include <cstring>

#include "kernels/elementary.h"
#include "kernels/reference/flush.h"
#include "kernels/reference/quantize.h"
#include "kernels/reference/tree.h"
#include "tensor/float16.h"

namespace exo::kernels::reference {
namespace {

// e^-40 = 4e-18 stays below 1e-11 of the sum even over a million positions; no weight is denormal.
constexpr float kCut = -40.0f;

uint16_t LoadBits(const std::byte* base, size_t index) {
  uint16_t bits;
  std::memcpy(&bits, base + 2 * index, 2);
  return bits;
}

// Keys (or values) of one tile: where dimension d of the position in `lane` lies.
struct Place {
  size_t value;  // index among the values or codes
  size_t scale;  // index among the scales of a q8_0 tile
};
Place KeyPlace(const KvHead& kv, size_t lane, size_t d) {
  const size_t scale = d / kKvBlock * kKvTile + lane;
  if (kv.type == KvType::kQ8_0) return {(d / 4 * kKvTile + lane) * 4 + d % 4, scale};
  return {d * kKvTile + lane, scale};
}
Place ValuePlace(const KvHead& kv, size_t lane, size_t d) {
  return {lane * kv.head_dim + d, d / kKvBlock * kKvTile + lane};
}

// The tile of a position; `offset`: kv.k or kv.v.
std::byte* Tile(const KvHead& kv, size_t offset, size_t position) {
  return kv.pages[position / kKvPage] + offset +
         position % kKvPage / kKvTile * KvTileBytes(kv.type, kv.head_dim);
}

// The scale of 32 codes as stored: one that f16 cannot hold poisons the block, like an infinite
// value.
uint16_t NarrowScale(float scale) {
  const uint16_t half = tensor::FloatToHalf(scale);
  return (half & 0x7c00) == 0x7c00 ? 0x7e00 : half;
}

template <class PlaceOf>
void StoreOne(const KvHead& kv, size_t offset, size_t position, const float* x,
              const PlaceOf& place_of) {
  std::byte* tile = Tile(kv, offset, position);
  std::byte* scales = tile + kKvTile * kv.head_dim;
  const size_t lane = position % kKvTile;
  for (size_t d = 0; d < kv.head_dim; ++d) {
    const Place place = place_of(kv, lane, d);
    if (kv.type == KvType::kF32) {
      const float flushed = FlushWeight(x[d]);
      std::memcpy(tile + 4 * place.value, &flushed, 4);
    } else if (kv.type == KvType::kF16) {
      const uint16_t half = tensor::FloatToHalf(x[d]);
      std::memcpy(tile + 2 * place.value, &half, 2);
    } else if (d % kKvBlock == 0) {
      int8_t codes[kKvBlock];
      const uint16_t scale = NarrowScale(QuantizeBlock(x + d, kKvBlock, codes));
      std::memcpy(scales + 2 * place.scale, &scale, 2);
      for (size_t i = 0; i < kKvBlock; ++i) {
        tile[place_of(kv, lane, d + i).value] = static_cast<std::byte>(codes[i]);
      }
    }
  }
}

float LoadFloat(const KvHead& kv, const std::byte* tile, const Place& place) {
  if (kv.type == KvType::kF16) return tensor::HalfToFloat(LoadBits(tile, place.value));
  if (kv.type == KvType::kF32) {
    float value;
    std::memcpy(&value, tile + 4 * place.value, 4);
    return value;
  }
  const auto code = static_cast<float>(static_cast<int8_t>(tile[place.value]));
  return tensor::HalfToFloat(LoadBits(tile + kKvTile * kv.head_dim, place.scale)) * code;  // exact
}

// A query as the products want it: flushed values, or codes and scales.
struct Query {
  float* values;
  int8_t* codes;
  float* scales;

  Query(const KvHead& kv, const float* q, std::byte* scratch)
      : values(reinterpret_cast<float*>(scratch)),
        codes(reinterpret_cast<int8_t*>(scratch)),
        scales(reinterpret_cast<float*>(scratch + kv.head_dim)) {
    for (size_t d = 0; d < kv.head_dim; ++d) {
      if (kv.type != KvType::kQ8_0) values[d] = FlushActivation(q[d]);
      if (kv.type == KvType::kQ8_0 && d % kKvBlock == 0) {
        scales[d / kKvBlock] = QuantizeBlock(q + d, kKvBlock, codes + d);
      }
    }
  }
};

float FloatProduct(const KvHead& kv, const Query& q, const std::byte* tile, size_t lane) {
  const auto product = [&](size_t d) {
    return q.values[d] * LoadFloat(kv, tile, KeyPlace(kv, lane, d));
  };
  float sum = product(0);
  for (size_t d = 1; d < kv.head_dim; ++d) sum = sum + product(d);
  return sum;
}

float CodeProduct(const KvHead& kv, const Query& q, const std::byte* tile, size_t lane) {
  const auto block = [&](size_t b) {
    int32_t dot = 0;  // exact
    for (size_t d = kKvBlock * b; d < kKvBlock * (b + 1); ++d) {
      dot += static_cast<int8_t>(tile[KeyPlace(kv, lane, d).value]) * q.codes[d];
    }
    const size_t place = KeyPlace(kv, lane, kKvBlock * b).scale;
    const float key_scale = tensor::HalfToFloat(LoadBits(tile + kKvTile * kv.head_dim, place));
    const float both = q.scales[b] * key_scale;
    return both * static_cast<float>(dot);
  };
  float sum = block(0);
  for (size_t b = 1; b < kv.head_dim / kKvBlock; ++b) sum = sum + block(b);
  return sum;
}

float Score(const KvHead& kv, const Query& q, size_t position, float scale) {
  const std::byte* tile = Tile(kv, kv.k, position);
  const size_t lane = position % kKvTile;
  const float sum =
      kv.type == KvType::kQ8_0 ? CodeProduct(kv, q, tile, lane) : FloatProduct(kv, q, tile, lane);
  return sum * scale;
}

}  // namespace

void StoreKv(const KvHead& kv, size_t position, const float* k, const float* v) {
  StoreOne(kv, kv.k, position, k, KeyPlace);
  StoreOne(kv, kv.v, position, v, ValuePlace);
}

size_t AttendScratchBytes(size_t end, size_t head_dim) {
  return 4 * (end + head_dim);
}

void AttendHead(const KvHead& kv, const float* q, size_t begin, size_t end, float scale,
                std::byte* scratch, float* out) {
  float* p = reinterpret_cast<float*>(scratch);
  const Query query(kv, q, scratch + 4 * end);
  for (size_t j = begin; j < end; ++j) p[j] = Score(kv, query, j, scale);
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
    const auto product = [&](size_t j) {
      return p[j] * LoadFloat(kv, Tile(kv, kv.v, j), ValuePlace(kv, j % kKvTile, d));
    };
    const auto chunk_value = [&](size_t leaf) {
      float sum = product(first(leaf));
      for (size_t j = first(leaf) + 1; j < last(leaf); ++j) sum = sum + product(j);
      return sum;
    };
    out[d] = TreeSum(chunk_value, 0, chunks) / denominator;
  }
}

}  // namespace exo::kernels::reference
