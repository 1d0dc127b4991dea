#include "service/http/request_reader.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "base/check.h"

namespace exo::service {
namespace {

namespace http = boost::beast::http;
using Message = http::request<http::string_body>;

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
  if (!message.target().starts_with('/') && message.target() != "*") {
    return std::unexpected(ApiError{400, "the request target must be a path", "", "bad_request"});
  }
  return {};
}

std::vector<std::string> AllOf(const Message& message, http::field name) {
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
  bool header_checked = false;
};

RequestReader::RequestReader(const HttpLimits& limits) : impl_(std::make_unique<Impl>()) {
  impl_->limits = limits;
  impl_->parser.header_limit(static_cast<uint32_t>(limits.header_bytes));
  impl_->parser.body_limit(limits.body_bytes);
}
RequestReader::~RequestReader() = default;

// Header and body are parsed one piece at a time (not eager), so that the header is judged before
// its body.
Parsed<size_t> RequestReader::Feed(std::string_view bytes) {
  size_t taken = 0;
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

HttpRequest RequestReader::Take() {
  CHECK(done());
  Message message = impl_->parser.release();
  HttpRequest request;
  request.method = std::string(message.method_string());
  request.path = std::string(message.target().substr(0, message.target().find('?')));
  request.hosts = AllOf(message, http::field::host);
  request.origins = AllOf(message, http::field::origin);
  request.content_type = std::string(message[http::field::content_type]);
  request.body = std::move(message.body());
  request.version = static_cast<int>(message.version());
  request.keep_alive = message.keep_alive();
  return request;
}

}  // namespace exo::service
