#include "service/http/guard.h"

#include <algorithm>

#include "service/http/ascii.h"
#include "service/http/content_coding.h"

namespace exo::service {
namespace {

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
  if (options.tls != nullptr && !request.hosts[0].empty()) return {};
  const std::string host = WithoutPort(Lower(request.hosts[0]));
  if (!host.empty() && Contains(options.hosts, host)) return {};
  return std::unexpected(ApiError{403,
                                  fmt::format("the Host header '{}' does not name this machine; "
                                              "use localhost, 127.0.0.1 or [::1] (this "
                                              "keeps web pages from reaching the API through DNS)",
                                              request.hosts[0].substr(0, 128)),
                                  "", "host_not_allowed"});
}

// Our own page, also through a tunnel.
bool IsOwn(const std::string& origin, const HttpRequest& request, const HttpOptions& options,
           uint16_t own_port) {
  const std::string_view scheme = options.tls != nullptr ? "https://" : "http://";
  if (!request.hosts.empty() && origin == fmt::format("{}{}", scheme, Lower(request.hosts[0])))
    return true;
  return std::ranges::any_of(options.hosts, [&](const std::string& host) {
    return origin == fmt::format("{}{}:{}", scheme, host, own_port);
  });
}

// Of headers that clients in browsers send; the official ones of OpenAI and Anthropic name their
// platform in a dozen.
bool MaySend(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "accept",     "authorization", "cache-control",    "content-type", "last-event-id",
      "x-api-key",  "x-request-id",  "x-requested-with", "x-session-id", "x-session-affinity",
      "session-id", "thread-id",     "user-agent"};
  static constexpr std::string_view kFamilies[] = {"x-stainless-", "openai-", "anthropic-", "mcp-"};
  return std::ranges::find(kNames, name) != std::end(kNames) ||
         std::ranges::any_of(kFamilies,
                             [&](std::string_view one) { return name.starts_with(one); });
}

}  // namespace

bool HasBody(std::string_view method) {
  return method == "POST" || method == "PUT" || method == "PATCH";
}

Parsed<> CheckBody(const HttpRequest& request) {
  if (const auto coding = CodingOf(request.content_encodings); !coding)
    return std::unexpected(coding.error());
  if (!HasBody(request.method)) return {};
  if (!request.has_length) {
    return std::unexpected(ApiError{
        411, fmt::format("a {} needs Content-Length or Transfer-Encoding: chunked", request.method),
        "", "length_required"});
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

Parsed<> CheckSource(const HttpRequest& request, const HttpOptions& options, uint16_t own_port) {
  TRY(CheckHost(request, options));
  for (const std::string& origin : request.origins) {
    const std::string lower = Lower(origin);
    if (IsOwn(lower, request, options, own_port) || Contains(options.origins, lower)) continue;
    return std::unexpected(ApiError{
        403,
        fmt::format("pages of the origin '{}' may not use this API; exo up --allow-origin ORIGIN "
                    "allows one",
                    origin.substr(0, 128)),
        "", "origin_not_allowed"});
  }
  return {};
}

bool IsForeign(const HttpRequest& request, const HttpOptions& options, uint16_t own_port) {
  return std::ranges::any_of(request.origins, [&](const std::string& origin) {
    return !IsOwn(Lower(origin), request, options, own_port);
  });
}

bool IsOwnPage(const HttpRequest& request, const HttpOptions& options, uint16_t own_port) {
  // "none": somebody has typed the address. Browsers leave Origin out of what images load.
  const std::string& site = request.fetch_site;
  const bool is_own_site = site.empty() || site == "same-origin" || site == "none";
  return is_own_site && !IsForeign(request, options, own_port);
}

Headers CorsHeaders(const HttpRequest& request, const HttpOptions& options) {
  if (request.origins.size() != 1 || !Contains(options.origins, Lower(request.origins[0])))
    return {};
  return {{"Access-Control-Allow-Origin", request.origins[0]},
          {"Access-Control-Expose-Headers",
           "X-Exo-Route, Server-Timing, Retry-After, X-Request-Id, request-id, Mcp-Session-Id"}};
}

bool IsPreflight(const HttpRequest& request) {
  return request.method == "OPTIONS" && request.origins.size() == 1 &&
         !request.preflight_method.empty();
}

Headers PreflightHeaders(const HttpRequest& request, const std::string& methods) {
  std::string allowed;
  std::string_view rest = request.preflight_headers;
  while (!rest.empty()) {
    const std::string name = Lower(Trimmed(rest.substr(0, rest.find(','))));
    rest.remove_prefix(std::min(
        rest.size(), rest.find(',') == std::string_view::npos ? rest.size() : rest.find(',') + 1));
    if (MaySend(name)) allowed += (allowed.empty() ? "" : ", ") + name;
  }
  Headers headers = {{"Access-Control-Allow-Methods", methods}, {"Access-Control-Max-Age", "600"}};
  if (!allowed.empty()) headers.emplace_back("Access-Control-Allow-Headers", allowed);
  return headers;
}

bool IsOrigin(std::string_view text) {
  const size_t at = text.find("://");
  if (at == std::string_view::npos || at == 0 || text.size() > 255) return false;
  const auto of = [](std::string_view part, std::string_view more) {
    return !part.empty() && std::ranges::all_of(part, [&](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || more.find(c) != more.npos;
    });
  };
  return of(text.substr(0, at), "+-.") && of(text.substr(at + 3), "-._:[]");
}

}  // namespace exo::service
