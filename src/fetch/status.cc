#include "fetch/status.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace exo::fetch {
namespace {

std::optional<uint64_t> ParseNumber(std::string_view digits) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

}  // namespace

std::unexpected<Error> StatusError(unsigned status, const std::string& host) {
  switch (status) {
    case 401:
    case 403:
      return Fail(ErrorCode::kInvalid, "{} refuses the file (status {}): it wants another token",
                  host, status);
    case 404:
    case 410:
      return Fail(ErrorCode::kNotFound, "{} does not have the file (status {})", host, status);
    case 416:
      return Fail(ErrorCode::kCorrupt, "the file has changed on {}: it is shorter than announced",
                  host);
    case 429:
      return Fail(ErrorCode::kOverloaded, "{} was asked too often: wait a while", host);
    default:
      return Fail(status >= 500 ? ErrorCode::kDisconnected : ErrorCode::kInvalid,
                  "{} answers with status {}", host, status);
  }
}

std::unexpected<Error> StatusError(const Request& request, const std::string& host) {
  return StatusError(request.status(), host);
}

Time RetryAfter(const Request& request) {
  constexpr uint64_t kDay = 24 * 3600;
  const uint64_t seconds = ParseNumber(request.Header("retry-after")).value_or(0);
  return std::chrono::seconds(std::min(seconds, kDay));
}

std::optional<ContentRange> ParseContentRange(const std::string& text) {
  constexpr std::string_view kUnit = "bytes ";
  const std::string_view view = text;
  const size_t dash = view.find('-'), slash = view.find('/');
  if (!view.starts_with(kUnit) || dash == view.npos || slash == view.npos || dash < kUnit.size())
    return std::nullopt;
  const auto begin = ParseNumber(view.substr(kUnit.size(), dash - kUnit.size()));
  const auto total = ParseNumber(view.substr(slash + 1));
  if (!begin || !total) return std::nullopt;
  return ContentRange{*begin, *total};
}

}  // namespace exo::fetch
