// Paths of request targets, so that one resource has one spelling.
#pragma once

#include <string>
#include <string_view>

namespace exo::service {

// The path without escapes that mean nothing ("%6D" is "m", RFC 3986 6.2.2.2), empty segments and a
// slash at the end: "//v1/%6Dodels/" -> "/v1/models". Other escapes stay: "%2F" is part of a name.
std::string NormalPath(std::string_view path);

// "%2F" -> "/". Malformed escapes stay as they are: the name is then not found.
std::string Unescape(std::string_view text);

}  // namespace exo::service
