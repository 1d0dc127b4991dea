// The writing half of a connection: response headers, chunks, the queue and its limits.
#include <algorithm>
#include <boost/asio/post.hpp>

#include "service/http/connection.h"

namespace exo::service {

namespace asio = boost::asio;

namespace {

const char* Reason(unsigned status) {
  switch (status) {
    case 200:
      return "OK";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Canceled";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    default:
      return "Unknown";
  }
}

// Of answers that say nothing about it: what was true a moment ago is asked for again.
constexpr std::string_view kNoCache = "Cache-Control: no-cache\r\n";

std::string_view CacheLine(const Headers& headers) {
  const bool is_told = std::ranges::find(headers, "Cache-Control", [](const auto& field) {
                         return field.first;
                       }) != headers.end();
  return is_told ? "" : kNoCache;
}

std::string FieldLines(const Headers& headers) {
  std::string lines;
  for (const auto& [name, value] : headers) lines += fmt::format("{}: {}\r\n", name, value);
  return lines;
}

}  // namespace

std::string Connection::HeaderText(unsigned status, std::string_view content_type) const {
  std::string text = fmt::format(
      "HTTP/1.1 {} {}\r\nServer: exo\r\nX-Content-Type-Options: nosniff\r\nConnection: {}\r\n",
      status, Reason(status), keep_alive_ ? "keep-alive" : "close");
  if (!content_type.empty()) text += fmt::format("Content-Type: {}\r\n", content_type);
  return text;
}

void Connection::AddHeaders(Headers headers) {
  for (auto& field : headers) headers_.push_back(std::move(field));
}

void Connection::Send(const HttpResponse& response) {
  if (closed_ || finished_ || streaming_) return;
  if (response.status == 401) keep_alive_ = false;  // strangers hold no connections
  const bool no_body = response.status == 204 || response.status == 304;
  std::string text = HeaderText(response.status, no_body ? "" : response.content_type);
  if (!no_body) text += fmt::format("Content-Length: {}\r\n", response.body.size());
  text += CacheLine(response.headers);
  text += FieldLines(headers_) + FieldLines(response.headers) + "\r\n";
  if (!head_ && !no_body) text += response.body;
  finished_ = true;
  status_ = response.status;
  Append(text);
  Flush();
}

void Connection::StartStream(const StreamFormat& format, const Headers& headers) {
  if (closed_ || finished_ || streaming_) return;
  streaming_ = true;
  status_ = 200;
  ping_ = format.ping;
  if (http10_) keep_alive_ = false;  // its end is the connection's end
  std::string text = HeaderText(200, format.content_type) + "X-Accel-Buffering: no\r\n";
  text += kNoCache;
  if (!http10_) text += "Transfer-Encoding: chunked\r\n";
  Append(text + FieldLines(headers_) + FieldLines(headers) + "\r\n");
  finished_ = head_;  // a HEAD has its whole answer
  Flush();
  StartPings();
}

void Connection::Push(std::string_view bytes) {
  if (closed_ || finished_ || !streaming_ || bytes.empty()) return;
  AppendChunk(bytes);
  Flush();
  PauseWhenFull();
}

void Connection::EndStream(bool keep_alive, const Headers& trailers) {
  if (closed_ || finished_ || !streaming_) return;
  if (!http10_) Append("0\r\n" + FieldLines(trailers) + "\r\n");
  keep_alive_ = keep_alive_ && keep_alive;
  finished_ = true;
  Flush();
}

void Connection::AppendChunk(std::string_view bytes) {
  if (http10_) return Append(bytes);
  Append(fmt::format("{:x}\r\n", bytes.size()));
  Append(bytes);
  Append("\r\n");
}

void Connection::Append(std::string_view bytes) {
  queue_ += bytes;
}

void Connection::Flush() {
  if (write_pending_ || closed_) return;
  if (written_ == writing_.size()) {
    writing_.clear();
    written_ = 0;
    if (tls_ != nullptr) {
      tls_->Seal(std::exchange(queue_, {}));
      writing_ = tls_->TakeOutput();
    } else {
      std::swap(writing_, queue_);
    }
  }
  if (writing_.empty()) return;
  write_pending_ = true;
  write_timer_.expires_after(limits_.stall_time);
  write_timer_.async_wait([self = shared_from_this()](const ErrorCodeAsio& error) {
    if (!error) self->Close(true);  // the reader has taken nothing for the whole stall time
  });
  socket_.async_write_some(asio::buffer(std::string_view(writing_).substr(written_)),
                           [self = shared_from_this()](const ErrorCodeAsio& error, size_t count) {
                             self->OnWritten(error, count);
                           });
}

void Connection::OnWritten(const ErrorCodeAsio& error, size_t count) {
  write_pending_ = false;
  if (closed_) return;
  if (error) return Close(false);
  written_ += count;
  write_timer_.cancel();
  ResumeWhenDrained();
  if (Queued() > 0 || (tls_ != nullptr && tls_->output_bytes() > 0)) return Flush();
  if (draining_) return EndSending();
  if (busy_ && finished_) EndExchange();
}

// The handler is told in a separate event-loop iteration: Push is often called from inside the
// node's callback.
void Connection::PauseWhenFull() {
  if (paused_ || finished_ || Queued() <= limits_.pause_bytes) return;
  paused_ = true;
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (!self->closed_ && self->handler_ && self->paused_) self->handler_->SetPaused(true);
  });
}

void Connection::ResumeWhenDrained() {
  if (!paused_ || Queued() >= limits_.resume_bytes) return;
  paused_ = false;
  if (handler_) handler_->SetPaused(false);
}

// Keeps proxies from taking a long prompt for a dead connection.
void Connection::StartPings() {
  if (ping_.empty() || finished_) return;
  ping_timer_.expires_after(limits_.ping_time);
  ping_timer_.async_wait([self = shared_from_this()](const ErrorCodeAsio& error) {
    if (error || self->closed_ || self->finished_ || !self->streaming_) return;
    if (self->Queued() == 0) self->Push(self->ping_);
    self->StartPings();
  });
}

}  // namespace exo::service
