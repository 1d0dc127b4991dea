// The rotary tables of elementary.h.
#include "kernels/binary64.h"
#include "kernels/elementary.h"

namespace exo::kernels {

std::vector<double> RopeFrequencies(size_t rotary_dim, double base, double scale,
                                    const float* factors) {
  std::vector<double> frequencies(rotary_dim / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double frequency =
        InversePower(base, static_cast<double>(2 * i), static_cast<double>(rotary_dim));
    if (factors != nullptr) frequency = frequency / static_cast<double>(factors[i]);
    frequencies[i] = frequency * scale;
  }
  return frequencies;
}

void RopeAngles(const std::vector<double>& frequencies, size_t position, float* cos, float* sin) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const SinCos angle = SinCosOf(static_cast<double>(position) * frequencies[i]);
    cos[i] = static_cast<float>(angle.cos);
    sin[i] = static_cast<float>(angle.sin);
  }
}

}  // namespace exo::kernels
