#include "base/units.h"

#include <algorithm>
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

struct DurationUnit {
  std::string_view name;
  double milliseconds;
};
constexpr DurationUnit kDurationUnits[] = {
    {"ms", 1}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"d", 86'400'000}};
constexpr double kMaxDuration = 100.0 * 365 * 86'400'000;

Result<std::chrono::milliseconds> Checked(double milliseconds, bool negative,
                                          std::string_view text) {
  if (milliseconds > kMaxDuration)
    return Fail(ErrorCode::kInvalid, "'{}' is more than a hundred years", text.substr(0, 64));
  const auto whole = static_cast<int64_t>(std::llround(milliseconds));
  return std::chrono::milliseconds(negative ? -whole : whole);
}

}  // namespace

Result<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  const std::string owned(text);
  const auto bad = [&] {
    return Fail(ErrorCode::kInvalid, "'{}' is no time; write for example 300, 90s, 5m or 1h30m",
                text.substr(0, 64));
  };
  double sum = 0;
  const char* at = owned.c_str();
  const bool negative = *at == '-';
  if (negative) ++at;
  if (*at == '\0') return bad();
  while (*at != '\0') {
    char* end = nullptr;
    // No sign, blank, "inf", "nan" or hexadecimal within.
    if ((*at < '0' || *at > '9') && *at != '.') return bad();
    const double number = std::strtod(at, &end);
    if (end == at || std::string_view(at, end).find_first_of("xXpP") != std::string_view::npos)
      return bad();
    const std::string_view rest(end);
    if (rest.empty() && sum == 0) return Checked(number * 1000, negative, text);
    const auto unit = std::ranges::find_if(
        kDurationUnits, [&](const DurationUnit& one) { return rest.starts_with(one.name); });
    if (unit == std::end(kDurationUnits)) return bad();
    sum += number * unit->milliseconds;
    at = end + unit->name.size();
  }
  return Checked(sum, negative, text);
}

std::string FormatDuration(std::chrono::milliseconds time) {
  if (time < std::chrono::seconds(1)) return fmt::format("{}ms", time.count());
  const int64_t seconds = time / std::chrono::seconds(1);
  std::string text;
  if (seconds >= 3600) text += fmt::format("{}h", seconds / 3600);
  if (seconds / 60 % 60 > 0) text += fmt::format("{}m", seconds / 60 % 60);
  if (seconds % 60 > 0) text += fmt::format("{}s", seconds % 60);
  return text;
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
