// Human-readable sizes, and the type of times.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace exo {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

// "450MB", "1.5GiB", "2g", "1048576" -> bytes. Suffixes k, m, g, t (with or without i and b) are
// powers of 1024. Errors: kInvalid with the text.
Result<uint64_t> ParseSize(std::string_view text);

// "5m", "1h30m", "90s", "300ms", or a plain number of seconds ("2.5"), which may be negative.
// Errors: kInvalid, with examples; also for more than a hundred years.
Result<std::chrono::milliseconds> ParseDuration(std::string_view text);
// 90 s -> "1m30s"; what is below a second is "300ms".
std::string FormatDuration(std::chrono::milliseconds time);

// 1536 MiB -> "1.5 GiB".
std::string FormatSize(uint64_t bytes);

// Two sizes with as many digits as it takes to tell them apart: "1.00 GiB" and "1.02 GiB".
struct SizePair {
  std::string first, second;
};
SizePair FormatSizes(uint64_t first, uint64_t second);

// Round up to a multiple of `unit` (a power of two or not), unit > 0.
constexpr uint64_t RoundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Virtual or real time since an arbitrary start; never wall-clock time.
using Time = std::chrono::nanoseconds;

}  // namespace exo
