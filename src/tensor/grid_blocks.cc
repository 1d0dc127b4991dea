// Layouts: tensor/README.md. A group is 32 values: four points of eight, or eight points of four.
#include "tensor/grid_blocks.h"

#include <bit>

#include "base/check.h"
#include "tensor/float16.h"
#include "tensor/grids.h"

namespace exo::tensor {
namespace {

int Word16(const uint8_t* at) {
  return at[0] | at[1] << 8;
}
uint32_t Word32(const uint8_t* at) {
  return static_cast<uint32_t>(Word16(at)) | static_cast<uint32_t>(Word16(at + 2)) << 16;
}

// Eight signs of which the last makes their number even.
int EvenSigns(uint32_t seven) {
  return static_cast<int>(seven) | (std::popcount(seven) & 1) << 7;
}

// A point with a minus where its bit of `signs` is set.
template <size_t kValues>
void SetPoint(const std::array<int8_t, kValues>& point, int signs, int8_t* codes) {
  for (size_t j = 0; j < kValues; ++j) {
    const int minus = -(signs >> j & 1);
    codes[j] = static_cast<int8_t>((point[j] ^ minus) - minus);
  }
}

// The sub-scales 2 s + 1 of group `group`: of both its halves, or one for each in the nibbles of a
// byte.
void SetSub(Block256& out, size_t group, int s) {
  out.sub_scales[2 * group] = out.sub_scales[2 * group + 1] = static_cast<int8_t>(2 * s + 1);
}
void SetSubs(Block256& out, size_t group, int nibbles) {
  out.sub_scales[2 * group] = static_cast<int8_t>(2 * (nibbles & 15) + 1);
  out.sub_scales[2 * group + 1] = static_cast<int8_t>(2 * (nibbles >> 4) + 1);
}

// Per group four indices, then 4 times 7 signs and s.
void ReadIQ2XXS(const uint8_t* block, Block256& out) {
  const Grids& grids = TheGrids();
  for (size_t group = 0; group < 8; ++group) {
    const uint8_t* at = block + 2 + 8 * group;
    const uint32_t signs = Word32(at + 4);
    SetSub(out, group, static_cast<int>(signs >> 28));
    for (size_t l = 0; l < 4; ++l) {
      SetPoint(grids.iq2_xxs[at[l]], EvenSigns(signs >> 7 * l & 127),
               out.codes + 32 * group + 8 * l);
    }
  }
}

// Per point 9 bits of index and 7 signs; then bytes of two s.
void ReadIQ2XS(const uint8_t* block, Block256& out) {
  const Grids& grids = TheGrids();
  for (size_t group = 0; group < 8; ++group) {
    SetSubs(out, group, block[66 + group]);
    for (size_t l = 0; l < 4; ++l) {
      const int word = Word16(block + 2 + 8 * group + 2 * l);
      SetPoint(grids.iq2_xs[static_cast<size_t>(word & 511)],
               EvenSigns(static_cast<uint32_t>(word) >> 9), out.codes + 32 * group + 8 * l);
    }
  }
}

// Low bytes of indices [32]; signs [32]; bytes of four times 2 high bits [8]; bytes of two s [8].
void ReadIQ2S(const uint8_t* block, Block256& out) {
  const Grids& grids = TheGrids();
  for (size_t group = 0; group < 8; ++group) {
    SetSubs(out, group, block[74 + group]);
    for (size_t l = 0; l < 4; ++l) {
      const int high = block[66 + group] >> 2 * l & 3;
      const int index = block[2 + 4 * group + l] | high << 8;
      SetPoint(grids.iq2_s[static_cast<size_t>(index)], block[34 + 4 * group + l],
               out.codes + 32 * group + 8 * l);
    }
  }
}

// Indices [64]; per group 4 times 7 signs and s.
void ReadIQ3XXS(const uint8_t* block, Block256& out) {
  const Grids& grids = TheGrids();
  for (size_t group = 0; group < 8; ++group) {
    const uint32_t signs = Word32(block + 66 + 4 * group);
    SetSub(out, group, static_cast<int>(signs >> 28));
    for (size_t l = 0; l < 8; ++l) {
      SetPoint(grids.iq3_xxs[block[2 + 8 * group + l]],
               EvenSigns(signs >> 7 * (l / 2) & 127) >> 4 * (l % 2),
               out.codes + 32 * group + 4 * l);
    }
  }
}

// Low bytes of indices [64]; a ninth bit of each [8]; signs [32]; bytes of the s of two groups [4].
void ReadIQ3S(const uint8_t* block, Block256& out) {
  const Grids& grids = TheGrids();
  for (size_t group = 0; group < 8; ++group) {
    SetSub(out, group, block[106 + group / 2] >> 4 * (group % 2) & 15);
    for (size_t l = 0; l < 8; ++l) {
      const int index = block[2 + 8 * group + l] | (block[66 + group] >> l & 1) << 8;
      SetPoint(grids.iq3_s[static_cast<size_t>(index)],
               block[74 + 4 * group + l / 2] >> 4 * (l % 2), out.codes + 32 * group + 4 * l);
    }
  }
}

// Eight times the point of `index`, and one more or less.
void SetIQ1(int index, bool less, int8_t* codes) {
  const Point8& point = TheGrids().iq1[static_cast<size_t>(index)];
  for (size_t j = 0; j < 8; ++j) codes[j] = static_cast<int8_t>(8 * point[j] + (less ? -1 : 1));
}

// Low bytes of indices [32]; per group four times 3 high bits, 3 bits of s and the offset's sign.
void ReadIQ1S(const uint8_t* block, Block256& out) {
  for (size_t group = 0; group < 8; ++group) {
    const int high = Word16(block + 34 + 2 * group);
    SetSub(out, group, high >> 12 & 7);
    for (size_t l = 0; l < 4; ++l) {
      SetIQ1(block[2 + 4 * group + l] | (high >> 3 * l & 7) << 8, (high & 0x8000) != 0,
             out.codes + 32 * group + 8 * l);
    }
  }
}

// Low bytes of indices [32]; nibbles of 3 high bits and the offset's sign [16]; per two groups four
// s of 3 bits and a nibble of the scale.
void ReadIQ1M(const uint8_t* block, Block256& out) {
  for (size_t group = 0; group < 8; ++group) {
    const int subs = Word16(block + 48 + group / 2 * 2) >> 6 * (group % 2);
    SetSubs(out, group, (subs & 7) | (subs >> 3 & 7) << 4);
    for (size_t l = 0; l < 4; ++l) {
      const int nibble = block[32 + 2 * group + l / 2] >> 4 * (l % 2) & 15;
      SetIQ1(block[4 * group + l] | (nibble & 7) << 8, (nibble & 8) != 0,
             out.codes + 32 * group + 8 * l);
    }
  }
}

struct Format {
  void (*read)(const uint8_t* block, Block256& out);
  float factor;
};

Format FormatOf(DType type) {
  switch (type) {
    case DType::kIQ1_S:
      return {ReadIQ1S, kIq1Table.factor};
    case DType::kIQ1_M:
      return {ReadIQ1M, kIq1Table.factor};
    case DType::kIQ2_XXS:
      return {ReadIQ2XXS, kIq2Table.factor};
    case DType::kIQ2_XS:
      return {ReadIQ2XS, kIq2Table.factor};
    case DType::kIQ2_S:
      return {ReadIQ2S, kIq2Table.factor};
    case DType::kIQ3_XXS:
      return {ReadIQ3XXS, kIq3XxsTable.factor};
    case DType::kIQ3_S:
      return {ReadIQ3S, kIq3STable.factor};
    default:
      internal::CheckFailed(__FILE__, __LINE__, "not a type of super-blocks");
  }
}

}  // namespace

Block256 ReadGridBlock(DType type, const std::byte* block) {
  const Format format = FormatOf(type);
  Block256 out{};
  out.scale = HalfToFloat(ScaleBits(type, block)) * format.factor;
  format.read(reinterpret_cast<const uint8_t*>(block), out);
  return out;
}

}  // namespace exo::tensor
