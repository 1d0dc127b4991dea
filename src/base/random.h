// Counter-based randomness: a pure function of (seed, counter), so that no generator state can be
// lost with a device (docs/arithmetic.md, rule 16). Philox-4x32-10, Salmon et al., SC 2011. Not for
// secrets: keys and identifiers come from FillRandom (sys/files.h).
#pragma once

#include <array>
#include <cstdint>

namespace exo {

// Four independent 32-bit words for (seed, counter).
constexpr std::array<uint32_t, 4> Philox(uint64_t seed, uint64_t counter, uint64_t stream = 0) {
  std::array<uint32_t, 4> x = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                               static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  uint32_t k0 = static_cast<uint32_t>(seed);
  uint32_t k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * x[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * x[2];
    x = {static_cast<uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return x;
}

// Uniform in [0, 1) with 24 bits, exact in binary32.
constexpr float UniformFloat(uint64_t seed, uint64_t counter, uint64_t stream = 0) {
  return static_cast<float>(Philox(seed, counter, stream)[0] >> 8) * 0x1p-24f;
}

// A stream of values for simulations and tests.
class Rng {
 public:
  explicit Rng(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}
  uint64_t Next() {
    const auto x = Philox(seed_, counter_++, stream_);
    return uint64_t{x[0]} << 32 | x[1];
  }
  // Uniform in [0, bound), bound > 0. The bias of the multiplication is below 2^-32 for bound <
  // 2^32.
  uint64_t Below(uint64_t bound) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(Next()) * bound >> 64);
  }
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

 private:
  uint64_t seed_;
  uint64_t stream_;
  uint64_t counter_ = 0;
};

}  // namespace exo
