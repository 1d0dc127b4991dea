#include "fetch/address.h"

#include <algorithm>
#include <array>

namespace exo::fetch {
namespace {

struct Block {
  std::array<uint8_t, 16> bytes;
  unsigned bits;
};

constexpr Block kSpecialV4[] = {
    {{0}, 8},             // this network
    {{10}, 8},            // private
    {{100, 64}, 10},      // shared by a provider's customers
    {{127}, 8},           // loopback
    {{169, 254}, 16},     // link-local, with the metadata of clouds
    {{172, 16}, 12},      // private
    {{192, 0, 0}, 24},    // protocols
    {{192, 0, 2}, 24},    // documentation
    {{192, 88, 99}, 24},  // relays of 6to4
    {{192, 168}, 16},     // private
    {{198, 18}, 15},      // benchmarks
    {{198, 51, 100}, 24},
    {{203, 0, 113}, 24},
    {{224}, 3},  // multicast, reserved, broadcast
};
// Of IPv6 only 2000::/3 is given out; these parts of it are special.
constexpr Block kSpecialV6[] = {
    {{0x20, 0x01, 0x00, 0x00}, 23},  // protocols, Teredo among them
    {{0x20, 0x01, 0x0d, 0xb8}, 32},  // documentation
    {{0x3f, 0xff, 0x00}, 20},        // documentation
};
constexpr Block kGlobalV6 = {{0x20}, 3};
constexpr Block kMapped = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96};
constexpr Block kNat64 = {{0x00, 0x64, 0xff, 0x9b}, 96};
constexpr Block k6to4 = {{0x20, 0x02}, 16};

bool IsIn(std::span<const uint8_t> bytes, const Block& block) {
  for (unsigned bit = 0; bit < block.bits; ++bit) {
    const unsigned mask = 0x80u >> (bit % 8);
    if ((bytes[bit / 8] & mask) != (block.bytes[bit / 8] & mask)) return false;
  }
  return true;
}

bool IsInAny(std::span<const uint8_t> bytes, std::span<const Block> blocks) {
  return std::ranges::any_of(blocks, [&](const Block& block) { return IsIn(bytes, block); });
}

}  // namespace

bool IsPublicAddress(std::span<const uint8_t> bytes) {
  if (bytes.size() == 4) return !IsInAny(bytes, kSpecialV4);
  if (bytes.size() != 16) return false;
  if (IsIn(bytes, kMapped) || IsIn(bytes, kNat64)) return IsPublicAddress(bytes.subspan(12));
  if (IsIn(bytes, k6to4)) return IsPublicAddress(bytes.subspan(2, 4));
  return IsIn(bytes, kGlobalV6) && !IsInAny(bytes, kSpecialV6);
}

}  // namespace exo::fetch
