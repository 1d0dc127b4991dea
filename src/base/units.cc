#include "base/units.h"

#include <cmath>
#include <cstdlib>

namespace exo {

Result<uint64_t> ParseSize(std::string_view text) {
  const std::string owned(text);
  char* end = nullptr;
  const double number = std::strtod(owned.c_str(), &end);
  const auto bad = [&] {
    return Fail(ErrorCode::kInvalid,
                "'{}' is not a size; write for example 450M, 1.5GiB or 1048576", text);
  };
  if (end == owned.c_str() || !std::isfinite(number) || number < 0) return bad();
  std::string suffix(end);
  for (char& c : suffix) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  while (!suffix.empty() && suffix.front() == ' ') suffix.erase(0, 1);
  double unit = 1;
  if (!suffix.empty() && suffix != "b") {
    switch (suffix.front()) {
      case 'k':
        unit = static_cast<double>(kKiB);
        break;
      case 'm':
        unit = static_cast<double>(kMiB);
        break;
      case 'g':
        unit = static_cast<double>(kGiB);
        break;
      case 't':
        unit = 1024.0 * static_cast<double>(kGiB);
        break;
      default:
        return bad();
    }
    const std::string rest = suffix.substr(1);
    if (!rest.empty() && rest != "b" && rest != "i" && rest != "ib") return bad();
  }
  const double bytes = number * unit;
  if (bytes >= 9e18) return bad();
  return static_cast<uint64_t>(bytes);
}

namespace {

std::string Format(uint64_t bytes, int digits) {
  const double value = static_cast<double>(bytes);
  if (bytes >= kGiB) return fmt::format("{:.{}f} GiB", value / static_cast<double>(kGiB), digits);
  if (bytes >= kMiB) return fmt::format("{:.{}f} MiB", value / static_cast<double>(kMiB), digits);
  if (bytes >= kKiB) return fmt::format("{:.{}f} KiB", value / static_cast<double>(kKiB), digits);
  return fmt::format("{} B", bytes);
}

}  // namespace

std::string FormatSize(uint64_t bytes) {
  return Format(bytes, 1);
}

SizePair FormatSizes(uint64_t first, uint64_t second) {
  constexpr int kMostDigits = 4;  // below a MiB of a TiB sizes may well look alike
  for (int digits = 1;; ++digits) {
    SizePair pair{Format(first, digits), Format(second, digits)};
    if (first == second || pair.first != pair.second || digits == kMostDigits) return pair;
  }
}

}  // namespace exo
