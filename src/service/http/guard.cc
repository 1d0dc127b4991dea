#include "service/http/guard.h"

#include <algorithm>

namespace exo::service {
namespace {

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// "localhost:80" -> "localhost", "[::1]:80" -> "[::1]"; empty when the port is not a number.
std::string WithoutPort(std::string_view host) {
  const size_t bracket = host.rfind(']');
  const size_t colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon == std::string_view::npos) return std::string(host);
  const std::string_view port = host.substr(colon + 1);
  const bool digits =
      std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  return port.size() <= 5 && digits ? std::string(host.substr(0, colon)) : "";
}

bool Contains(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

Parsed<> CheckHost(const HttpRequest& request, const HttpOptions& options) {
  if (request.version < 11 && request.hosts.empty()) return {};  // no browser is that old
  if (request.hosts.size() != 1) {
    return std::unexpected(ApiError{
        400,
        fmt::format("the request has {} Host headers, but must have one", request.hosts.size()), "",
        "bad_request"});
  }
  const std::string host = WithoutPort(Lower(request.hosts[0]));
  if (!host.empty() && Contains(options.hosts, host)) return {};
  return std::unexpected(ApiError{403,
                                  fmt::format("the Host header '{}' does not name this machine; "
                                              "use localhost, 127.0.0.1 or [::1] (this "
                                              "keeps web pages from reaching the API through DNS)",
                                              request.hosts[0].substr(0, 128)),
                                  "", "host_not_allowed"});
}

bool OriginAllowed(const std::string& origin, const HttpRequest& request,
                   const HttpOptions& options, uint16_t own_port) {
  if (!request.hosts.empty() && origin == "http://" + Lower(request.hosts[0]))
    return true;  // our own page, also through a tunnel
  for (const std::string& host : options.hosts) {
    if (origin == fmt::format("http://{}:{}", host, own_port)) return true;
  }
  return Contains(options.origins, origin);
}

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

Parsed<> CheckBody(const HttpRequest& request) {
  if (!request.has_length) {
    return std::unexpected(ApiError{
        411, "a POST needs Content-Length or Transfer-Encoding: chunked", "", "length_required"});
  }
  for (const std::string& encoding : request.content_encodings) {
    const std::string name = Lower(Trimmed(encoding));
    if (name.empty() || name == "identity") continue;
    return std::unexpected(
        ApiError{415,
                 fmt::format("the body's content encoding is '{}'; compressed bodies are not "
                             "supported: send it plain, without Content-Encoding",
                             name.substr(0, 64)),
                 "", "unsupported_content_encoding"});
  }
  const std::string type =
      Lower(Trimmed(request.content_type.substr(0, request.content_type.find(';'))));
  if (type == "application/json") return {};
  return std::unexpected(
      ApiError{415,
               fmt::format("the content type is '{}', but must be application/json; with "
                           "curl: -H 'Content-Type: application/json'",
                           type.substr(0, 64)),
               "", "unsupported_media_type"});
}

}  // namespace

Parsed<> CheckSource(const HttpRequest& request, const HttpOptions& options, uint16_t own_port) {
  TRY(CheckHost(request, options));
  for (const std::string& origin : request.origins) {
    if (OriginAllowed(Lower(origin), request, options, own_port)) continue;
    return std::unexpected(ApiError{
        403, fmt::format("pages of the origin '{}' may not use this API", origin.substr(0, 128)),
        "", "origin_not_allowed"});
  }
  return request.method == "POST" ? CheckBody(request) : Parsed<>();
}

}  // namespace exo::service
