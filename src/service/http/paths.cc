#include "service/http/paths.h"

#include <algorithm>

namespace exo::service {
namespace {

int Digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool IsUnreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

// Resolves the escapes whose character `wanted` accepts.
template <class Wanted>
std::string Resolve(std::string_view text, Wanted wanted) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? Digit(text[i + 1]) : -1;
    const int low = high >= 0 ? Digit(text[i + 2]) : -1;
    const char value = static_cast<char>(high * 16 + low);
    if (low >= 0 && wanted(value)) {
      out += value;
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

std::string NormalPath(std::string_view path) {
  std::string out;
  for (const char c : Resolve(path, IsUnreserved)) {
    if (c != '/' || out.empty() || out.back() != '/') out += c;
  }
  if (out.size() > 1 && out.back() == '/') out.pop_back();
  return out;
}

std::string Unescape(std::string_view text) {
  return Resolve(text, [](char) { return true; });
}

std::optional<std::string> QueryField(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view field = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), field.size() + 1));
    const size_t equals = field.find('=');
    if (Unescape(field.substr(0, equals)) != name) continue;
    return equals == std::string_view::npos ? "" : Unescape(field.substr(equals + 1));
  }
  return std::nullopt;
}

bool TakesPath(std::string_view route, std::string_view path) {
  constexpr std::string_view kAny = "{id}";
  if (path == route) return true;
  if (route.size() > 1 && route.ends_with('/')) return path.starts_with(route);
  const size_t any = route.find(kAny);
  if (any == std::string_view::npos || !path.starts_with(route.substr(0, any))) return false;
  const size_t end = std::min(path.find('/', any), path.size());
  return end > any && TakesPath(route.substr(any + kAny.size()), path.substr(end));
}

}  // namespace exo::service
