// How much processor time something takes: for tests of how costs grow, which other programs of the
// machine must not disturb.
#pragma once

#include <algorithm>
#include <ctime>

namespace exo::testing {

// Seconds of this thread, the least of so many times.
inline double ProcessorSeconds(auto work, int rounds = 3) {
  const auto now = [] {
    timespec t = {};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  double best = 1e9;
  for (int round = 0; round < rounds; ++round) {
    const double start = now();
    work();
    best = std::min(best, now() - start);
  }
  return best;
}

}  // namespace exo::testing
