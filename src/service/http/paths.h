// Paths of request targets, so that one resource has one spelling, and their queries.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace exo::service {

// The path without escapes that mean nothing ("%6D" is "m", RFC 3986 6.2.2.2), empty segments and a
// slash at the end: "//v1/%6Dodels/" -> "/v1/models". Other escapes stay: "%2F" is part of a name.
std::string NormalPath(std::string_view path);

// "%2F" -> "/". Malformed escapes stay as they are: the name is then not found.
std::string Unescape(std::string_view text);

// The value of the first field of this name in a query ("limit=5&order=asc"), without escapes;
// unset: there is none.
std::optional<std::string> QueryField(std::string_view query, std::string_view name);

// Whether the path of a route takes a normal path: the same one; any longer one, if the route's
// ends with '/'; or one with any segment in place of each {id}.
bool TakesPath(std::string_view route, std::string_view path);

}  // namespace exo::service
