#include "service/http/request_reader.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "base/check.h"

namespace exo::service {
namespace {

namespace http = boost::beast::http;
using Message = http::request<http::string_body>;

std::unexpected<ApiError> BadRequest(std::string message) {
  return std::unexpected(ApiError{400, std::move(message), "", "bad_request"});
}

ApiError ErrorFor(const boost::beast::error_code& code, const HttpLimits& limits) {
  if (code == http::error::body_limit) {
    return {413, fmt::format("the body is larger than {} bytes", limits.body_bytes), "",
            "request_too_large"};
  }
  if (code == http::error::header_limit) {
    return {431, fmt::format("the headers are larger than {} bytes", limits.header_bytes), "",
            "headers_too_large"};
  }
  return {400, "the request is not valid HTTP/1.1: " + code.message(), "", "bad_request"};
}

struct Target {
  std::string_view authority;  // of an absolute target; it replaces the Host header
  std::string_view path;
  std::string_view query;
};

// The four forms of a request target (RFC 9112 3.2); two of them are for this server.
Parsed<Target> SplitTarget(std::string_view target) {
  Target split;
  if (const size_t scheme = target.find("://");
      !target.starts_with('/') && scheme != std::string_view::npos) {
    if (!boost::beast::iequals(target.substr(0, scheme), "http")) {
      return BadRequest(
          fmt::format("the request target has the scheme '{}', but only http is "
                      "served here",
                      target.substr(0, std::min<size_t>(scheme, 32))));
    }
    target.remove_prefix(scheme + 3);
    split.authority = target.substr(0, target.find_first_of("/?"));
    target.remove_prefix(split.authority.size());
    if (split.authority.empty() || split.authority.find('@') != std::string_view::npos)
      return BadRequest("the request target must name a host, without a user");
    if (!target.starts_with('/')) {
      split.path = "/";
      return split;
    }
  } else if (!target.starts_with('/') && target != "*") {
    return BadRequest(
        fmt::format("the request target '{}' is neither a path, such as /v1/models, "
                    "nor http://HOST/PATH; this server is no proxy",
                    target.substr(0, 128)));
  }
  const size_t mark = target.find('?');
  split.path = target.substr(0, mark);
  if (mark != std::string_view::npos) split.query = target.substr(mark + 1);
  return split;
}

Parsed<> CheckTransferEncoding(const Message& message) {
  const auto range = message.equal_range(http::field::transfer_encoding);
  for (auto it = range.first; it != range.second; ++it) {
    if (message.version() < 11)
      return BadRequest("Transfer-Encoding is not part of HTTP/1.0; send Content-Length");
    if (boost::beast::iequals(it->value(), "chunked") && std::next(it) == range.second) continue;
    return std::unexpected(
        ApiError{501,
                 fmt::format("the transfer coding '{}' is not supported, only 'chunked' is; send "
                             "the body as it is",
                             std::string_view(it->value()).substr(0, 64)),
                 "", "transfer_encoding_not_supported"});
  }
  return {};
}

Parsed<> CheckHeader(const Message& message) {
  if (message.target().size() > kMaxTarget) {
    return std::unexpected(ApiError{
        414, fmt::format("the path is longer than {} bytes", kMaxTarget), "", "uri_too_long"});
  }
  const auto fields = static_cast<size_t>(std::distance(message.begin(), message.end()));
  if (fields > kMaxHeaderFields) {
    return std::unexpected(ApiError{
        431, fmt::format("{} header fields, but at most {} are allowed", fields, kMaxHeaderFields),
        "", "headers_too_large"});
  }
  TRY(SplitTarget(message.target()));
  TRY(CheckTransferEncoding(message));
  const std::string_view expect = message[http::field::expect];
  if (!expect.empty() && message.version() >= 11 &&
      !boost::beast::iequals(expect, "100-continue")) {
    return std::unexpected(ApiError{417,
                                    fmt::format("the expectation '{}' cannot be met; only "
                                                "100-continue is known",
                                                expect.substr(0, 64)),
                                    "", "expectation_failed"});
  }
  return {};
}

// `name`: a field, or its name where the library knows none.
template <class Name>
std::vector<std::string> AllOf(const Message& message, const Name& name) {
  std::vector<std::string> values;
  const auto range = message.equal_range(name);
  for (auto it = range.first; it != range.second; ++it) values.emplace_back(it->value());
  return values;
}

}  // namespace

struct RequestReader::Impl {
  http::request_parser<http::string_body> parser;
  size_t header_limit = 0;
  HttpLimits limits;
  std::shared_ptr<BodyLease> lease;
  bool begun = false;  // a byte of the request line has come
  bool header_checked = false;
};

RequestReader::RequestReader(const HttpLimits& limits, std::shared_ptr<BodyBudget> budget)
    : impl_(std::make_unique<Impl>()) {
  impl_->lease = std::make_shared<BodyLease>(std::move(budget));
  impl_->limits = limits;
  impl_->parser.header_limit(static_cast<uint32_t>(limits.header_bytes));
  impl_->parser.body_limit(limits.body_bytes);
}
RequestReader::~RequestReader() = default;

// Header and body are parsed one piece at a time (not eager), so that the header is judged before
// its body.
Parsed<size_t> RequestReader::Feed(std::string_view bytes) {
  size_t taken = 0;
  if (!impl_->begun) {
    // Empty lines before a request are to be ignored (RFC 9112 2.2).
    while (bytes.substr(taken).starts_with("\r\n")) taken += 2;
    impl_->begun = taken < bytes.size() && bytes.substr(taken) != "\r";
    if (!impl_->begun) return taken;
  }
  while (taken < bytes.size() && !impl_->parser.is_done()) {
    boost::beast::error_code code;
    const size_t n = impl_->parser.put(boost::asio::buffer(bytes.substr(taken)), code);
    taken += n;
    if (code == http::error::need_more) break;
    if (code) return std::unexpected(ErrorFor(code, impl_->limits));
    if (!impl_->header_checked && impl_->parser.is_header_done()) {
      impl_->header_checked = true;
      TRY(CheckHeader(impl_->parser.get()));
    }
    if (n == 0) break;
  }
  if (!impl_->lease->GrowTo(impl_->parser.get().body().size())) {
    return std::unexpected(ApiError{
        503,
        fmt::format("the bodies of all requests together may have {} bytes, which are in use; try "
                    "again",
                    impl_->limits.body_budget),
        "", "overloaded"});
  }
  if (!impl_->parser.is_done() && bytes.size() - taken > kMaxUnparsed) {
    return std::unexpected(ApiError{400, "a chunk header is too long", "", "bad_request"});
  }
  return taken;
}

bool RequestReader::header_done() const {
  return impl_->parser.is_header_done();
}
bool RequestReader::done() const {
  return impl_->parser.is_done();
}
bool RequestReader::wants_continue() const {
  const auto& message = impl_->parser.get();
  return header_done() && !done() && message.version() >= 11 &&
         boost::beast::iequals(message[http::field::expect], "100-continue");
}

HttpRequest RequestReader::Head() const {
  CHECK(header_done());
  const Message& message = impl_->parser.get();
  const Target target = SplitTarget(message.target()).value();  // checked with the header
  HttpRequest request;
  request.method = std::string(message.method_string());
  request.path = std::string(target.path);
  request.query = std::string(target.query);
  request.hosts = AllOf(message, http::field::host);
  if (!target.authority.empty()) request.hosts = {std::string(target.authority)};
  request.origins = AllOf(message, http::field::origin);
  request.authorizations = AllOf(message, http::field::authorization);
  request.api_keys = AllOf(message, "x-api-key");
  request.cookies = AllOf(message, http::field::cookie);
  request.fetch_site = std::string(message["Sec-Fetch-Site"]);
  request.preflight_method = std::string(message[http::field::access_control_request_method]);
  request.preflight_headers = std::string(message[http::field::access_control_request_headers]);
  request.content_type = std::string(message[http::field::content_type]);
  request.content_encodings = AllOf(message, http::field::content_encoding);
  request.accept = std::string(message[http::field::accept]);
  request.accept_encoding = std::string(message[http::field::accept_encoding]);
  request.if_none_match = std::string(message[http::field::if_none_match]);
  request.client = std::string(message["User-Agent"]);
  request.last_event_id = std::string(message["Last-Event-ID"]);
  request.mcp_version = std::string(message["MCP-Protocol-Version"]);
  request.mcp_session = std::string(message["Mcp-Session-Id"]);
  request.has_length = message.count(http::field::content_length) > 0 ||
                       message.count(http::field::transfer_encoding) > 0;
  request.version = static_cast<int>(message.version());
  request.keep_alive = message.keep_alive();
  return request;
}

HttpRequest RequestReader::Take() {
  CHECK(done());
  HttpRequest request = Head();
  request.body = std::move(impl_->parser.get().body());
  request.lease = std::move(impl_->lease);
  return request;
}

}  // namespace exo::service
