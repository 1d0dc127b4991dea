#include "app/http_client.h"

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cctype>
#include <span>

#include "app/output.h"
#include "sys/process.h"

namespace exo::app {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using nlohmann::json;

// A response body is a whole answer at most: 64 MiB.
constexpr uint64_t kMaxResponse = 64u << 20;
constexpr Time kWaitPeriod = std::chrono::milliseconds(100);
const std::function<void()> kNoWait;

ErrorCode CodeFor(unsigned status) {
  switch (status) {
    case 401:
    case 403:
      return ErrorCode::kDenied;
    case 404:
      return ErrorCode::kNotFound;
    case 413:
    case 429:
    case 503:
      return ErrorCode::kOverloaded;
    case 501:
      return ErrorCode::kUnsupported;
    default:
      return status >= 500 ? ErrorCode::kIo : ErrorCode::kInvalid;
  }
}

std::string MessageOf(const json& error) {
  const json message = error.value("message", json());
  return message.is_string() ? message.get<std::string>() : "unknown error";
}

// Of an error in mid-stream, which has a status where its route tells one.
unsigned StatusIn(const json& error) {
  const json status = error.is_object() ? error.value("status", json()) : json();
  return status.is_number_unsigned() ? status.get<unsigned>() : 500;
}

// Of the lines between two empty ones; data that are none are empty.
struct Frame {
  std::string id, name, data;
};
Frame ParseFrame(std::string_view text) {
  Frame frame;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    at = end + 1;
    for (const auto& [field, value] :
         {std::pair{"id: ", &frame.id}, {"event: ", &frame.name}, {"data: ", &frame.data}}) {
      if (line.starts_with(field)) value->assign(line.substr(std::string_view(field).size()));
    }
  }
  return frame;
}

std::function<bool(const ServerEvent&)> DataOnly(const std::function<void(const json&)>& on_event) {
  return [&on_event](const ServerEvent& event) {
    on_event(event.data);
    return true;
  };
}

std::unexpected<Error> ErrorOf(unsigned status, const std::string& body) {
  return Fail(CodeFor(status), "{}", ErrorMessageOf(status, body));
}

}  // namespace

// One connection and one request.
class Exchange {
 public:
  // `on_wait`: called while nothing comes; may be empty. It outlives the object.
  Exchange(uint16_t port, int stop_fd, const std::string& token,
           const std::function<void()>& on_wait)
      : socket_(context_), port_(port), stop_fd_(stop_fd), token_(token), on_wait_(on_wait) {}

  // `after`: the last event that was seen of a stream; empty: none.
  Result<void> Send(http::verb verb, const std::string& path, const std::string& body,
                    const std::string& after = "") {
    beast::error_code error;
    socket_.connect({asio::ip::address_v4::loopback(), port_}, error);
    if (error) {
      return Fail(ErrorCode::kDisconnected,
                  "no exo node answers on port {} of this machine ({}); start one with: exo up",
                  port_, error.message());
    }
    http::request<http::string_body> request(verb, path, 11);
    request.set(http::field::host, "localhost:" + std::to_string(port_));
    request.set(http::field::connection, "close");
    if (verb == http::verb::post) request.set(http::field::content_type, "application/json");
    request.set(http::field::accept, "application/json, text/event-stream");
    if (!token_.empty() && path.starts_with("/v1/internal/"))
      request.set(http::field::authorization, "Bearer " + token_);
    if (!after.empty()) request.set("Last-Event-ID", after);
    request.body() = body;
    request.prepare_payload();
    http::write(socket_, request, error);
    if (error)
      return Fail(ErrorCode::kDisconnected, "the node closed the connection: {}", error.message());
    socket_.non_blocking(true, error);
    if (error) return Fail(ErrorCode::kIo, "a socket's mode is not changed: {}", error.message());
    return {};
  }

  int descriptor() { return socket_.native_handle(); }

  // Reads what is there, or waits for it unless the user stops. What is in buffer_ already may be
  // enough to go on with, or a part of a chunk: only the parser knows.
  template <class Parser>
  Result<void> ReadSome(Parser& parser) {
    // Also where there is always more to read.
    if (stop_fd_ >= 0 && sys::WaitReadable(stop_fd_, Time(0)))
      return Fail(ErrorCode::kCancelled, "interrupted");
    beast::error_code error;
    for (;;) {
      http::read_some(socket_, buffer_, parser, error);
      if (error != asio::error::would_block) break;
      TRY(Wait());
    }
    if (error && error != http::error::need_buffer) {
      return Fail(ErrorCode::kDisconnected, "the node closed the connection: {}", error.message());
    }
    return {};
  }

  Result<json> ReadJson() {
    http::response_parser<http::string_body> parser;
    parser.body_limit(kMaxResponse);
    while (!parser.is_done()) TRY(ReadSome(parser));
    TRY(CheckWhoAnswers(parser.get()));
    const unsigned status = parser.get().result_int();
    if (status / 100 != 2) return ErrorOf(status, parser.get().body());
    if (parser.get().body().empty()) return json();
    json parsed = json::parse(parser.get().body(), nullptr, false);
    if (parsed.is_discarded()) return Fail(ErrorCode::kCorrupt, "the node's answer is not JSON");
    return parsed;
  }

  // Until [DONE], or until `on_event` returns false.
  Result<void> ReadStream(const std::function<bool(const ServerEvent&)>& on_event) {
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(boost::none);
    while (!parser.is_header_done()) TRY(ReadSome(parser));
    TRY(CheckWhoAnswers(parser.get()));
    const unsigned status = parser.get().result_int();
    std::string pending;
    char chunk[16384];
    while (!parser.is_done()) {
      parser.get().body().data = chunk;
      parser.get().body().size = sizeof(chunk);
      TRY(ReadSome(parser));
      pending.append(chunk, sizeof(chunk) - parser.get().body().size);
      if (status / 100 == 2) {
        if (auto done = TakeEvents(pending, on_event); !done || *done)
          return done ? Result<void>{} : std::unexpected(done.error());
      }
    }
    if (status / 100 != 2) return ErrorOf(status, pending);
    return Fail(ErrorCode::kDisconnected, "the answer ended early");
  }

 private:
  // Another program may have taken the port.
  Result<void> CheckWhoAnswers(const http::response_header<>& answer) const {
    if (answer[http::field::server].starts_with("exo")) return {};
    return Fail(ErrorCode::kDisconnected,
                "another program answers on port {} of this machine, not exo; end that program or "
                "give exo another port with --api-port or EXO_API_PORT",
                port_);
  }
  Result<void> Wait() {
    const std::array fds = {socket_.native_handle(), stop_fd_};
    const auto watched = std::span(fds).first(stop_fd_ < 0 ? 1 : 2);
    for (;;) {
      const int ready = sys::WaitAnyReadable(watched, on_wait_ ? kWaitPeriod : Time(-1));
      if (ready == 1) return Fail(ErrorCode::kCancelled, "interrupted");
      if (ready == 0) return {};
      if (on_wait_) on_wait_();
    }
  }
  // Handles the complete events at the front of `pending`; true when no more are wanted or to come.
  static Result<bool> TakeEvents(std::string& pending,
                                 const std::function<bool(const ServerEvent&)>& on_event) {
    for (size_t end = pending.find("\n\n"); end != std::string::npos; end = pending.find("\n\n")) {
      Frame frame = ParseFrame(std::string_view(pending).substr(0, end));
      pending.erase(0, end + 2);
      if (frame.data.empty()) continue;
      if (frame.data == "[DONE]") return true;
      json parsed = json::parse(frame.data, nullptr, false);
      if (parsed.is_discarded())
        return Fail(ErrorCode::kCorrupt, "the node sent an event that is not JSON");
      if (parsed.is_object() && parsed.contains("error"))
        return ErrorOf(StatusIn(parsed["error"]), frame.data);
      if (!on_event({std::move(frame.id), std::move(frame.name), std::move(parsed)})) return true;
    }
    return false;
  }

  asio::io_context context_;
  asio::ip::tcp::socket socket_;
  beast::flat_buffer buffer_;
  uint16_t port_;
  int stop_fd_;
  const std::string token_;
  const std::function<void()>& on_wait_;
};

std::string ErrorMessageOf(unsigned status, const std::string& body) {
  const json parsed = json::parse(body, nullptr, false);
  const json error = parsed.is_object() ? parsed.value("error", json()) : json();
  if (error.is_object()) return MessageOf(error);
  if (error.is_string()) return error.get<std::string>();  // as Ollama's routes answer
  return fmt::format("the node answered with status {}", status);
}

struct HttpCall::Impl {
  Impl(uint16_t port, const std::string& token) : exchange(port, -1, token, kNoWait) {
    parser.body_limit(boost::none);
    // All that has come is parsed at once: what is left would make no descriptor readable.
    parser.eager(true);
  }

  Exchange exchange;
  http::response_parser<http::string_body> parser;
};

HttpCall::HttpCall(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpCall::HttpCall(HttpCall&&) noexcept = default;
HttpCall& HttpCall::operator=(HttpCall&&) noexcept = default;
HttpCall::~HttpCall() = default;

int HttpCall::descriptor() const {
  return impl_->exchange.descriptor();
}
Result<void> HttpCall::ReadSome() {
  return impl_->exchange.ReadSome(impl_->parser);
}
bool HttpCall::done() const {
  return impl_->parser.is_done();
}
unsigned HttpCall::status() const {
  return impl_->parser.is_header_done() ? impl_->parser.get().result_int() : 0;
}
bool HttpCall::is_stream() const {
  return impl_->parser.get()[http::field::content_type].starts_with("text/event-stream");
}
std::string& HttpCall::body() {
  return impl_->parser.get().body();
}

Result<HttpCall> HttpClient::Begin(const std::string& path, const std::string& body) const {
  auto impl = std::make_unique<HttpCall::Impl>(port_, token_);
  TRY(impl->exchange.Send(http::verb::post, path, body));
  return HttpCall(std::move(impl));
}

std::string EscapedSegment(const std::string& name) {
  std::string text;
  for (const char c : name) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' ||
                       c == '.' || c == '~';
    text += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return text;
}

Result<json> HttpClient::Get(const std::string& path) const {
  Exchange exchange(port_, stop_fd_, token_, on_wait_);
  TRY(exchange.Send(http::verb::get, path, ""));
  return exchange.ReadJson();
}

Result<json> HttpClient::Post(const std::string& path, const json& body) const {
  Exchange exchange(port_, stop_fd_, token_, on_wait_);
  TRY(exchange.Send(http::verb::post, path, ToText(body)));
  return exchange.ReadJson();
}

Result<json> HttpClient::Delete(const std::string& path) const {
  Exchange exchange(port_, stop_fd_, token_, on_wait_);
  TRY(exchange.Send(http::verb::delete_, path, ""));
  return exchange.ReadJson();
}

Result<void> HttpClient::GetStream(const std::string& path,
                                   const std::function<void(const json&)>& on_event) const {
  Exchange exchange(port_, stop_fd_, token_, on_wait_);
  TRY(exchange.Send(http::verb::get, path, ""));
  return exchange.ReadStream(DataOnly(on_event));
}

Result<void> HttpClient::Follow(const std::string& path, const std::string& after,
                                const std::function<bool(const ServerEvent&)>& on_event) const {
  Exchange exchange(port_, stop_fd_, token_, on_wait_);
  TRY(exchange.Send(http::verb::get, path, "", after));
  return exchange.ReadStream(on_event);
}

Result<void> HttpClient::PostStream(const std::string& path, const json& body,
                                    const std::function<void(const json&)>& on_event) const {
  Exchange exchange(port_, stop_fd_, token_, on_wait_);
  TRY(exchange.Send(http::verb::post, path, ToText(body)));
  return exchange.ReadStream(DataOnly(on_event));
}

}  // namespace exo::app
