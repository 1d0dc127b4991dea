#include "app/option_checks.h"

#include <fmt/format.h>

#include <charconv>

#include "base/units.h"

namespace exo::app {

CLI::Validator Between(double low, double high) {
  const std::string range = fmt::format("{} to {}", low, high);
  return CLI::Validator(
      [low, high, range](std::string& text) {
        double value = 0;
        const bool fits = CLI::detail::lexical_cast(text, value) && value >= low && value <= high;
        return fits ? "" : fmt::format("{} is not a number from {}", text, range);
      },
      range);
}

CLI::Validator Whole64() {
  return CLI::Validator(
      [](std::string& text) {
        const char* end = text.data() + text.size();
        int64_t below = 0;
        uint64_t above = 0;
        const auto fits = [end](std::from_chars_result read) {
          return read.ec == std::errc() && read.ptr == end;
        };
        const bool whole = fits(std::from_chars(text.data(), end, above)) ||
                           fits(std::from_chars(text.data(), end, below));
        return whole ? "" : fmt::format("{} is not a whole number of 64 bits", text);
      },
      "64 bits");
}

CLI::Validator IsDuration() {
  return CLI::Validator(
      [](std::string& text) {
        const auto time = ParseDuration(text);
        return time ? "" : time.error().message;
      },
      "TIME");
}

}  // namespace exo::app
