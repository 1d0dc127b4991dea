#include "service/http/connection.h"

#include <algorithm>

#include "base/log.h"
#include "net/half_closed.h"

namespace exo::service {

namespace asio = boost::asio;

namespace {

// A client's process may be about to end when its sending side closes.
constexpr std::chrono::milliseconds kFirstPeerCheck{20}, kMaxPeerCheck{1000};

// A method's first letter, which no TLS record begins with.
bool BeginsHttp(char first) {
  return first >= 'A' && first <= 'Z';
}

}  // namespace

Connection::Connection(Socket socket, ConnectionHost host,
                       std::function<void(Connection*)> on_closed)
    : socket_(std::move(socket)),
      host_(host),
      limits_(host.limits),
      on_closed_(std::move(on_closed)),
      tls_(host.tls == nullptr ? nullptr : std::make_unique<net::TlsSession>(*host.tls)),
      read_timer_(socket_.get_executor()),
      write_timer_(socket_.get_executor()),
      ping_timer_(socket_.get_executor()),
      read_buffer_(kReadBuffer, '\0') {}

void Connection::Start() {
  ErrorCodeAsio ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::send_buffer_size(kSocketSendBuffer), ignored);
  ExpectHeader(limits_.header_time);
  Read();
}

void Connection::Abort() {
  on_closed_ = nullptr;
  Close(true);
}

// ---- reading

void Connection::Read() {
  socket_.async_read_some(asio::buffer(read_buffer_),
                          [self = shared_from_this()](const ErrorCodeAsio& error, size_t count) {
                            self->OnRead(error, count);
                          });
}

void Connection::OnRead(const ErrorCodeAsio& error, size_t count) {
  if (closed_) return;
  if (error) return OnPeerGone(error);
  if (draining_) {
    drained_ += count;
    return drained_ > kMaxDrained ? Close(true) : Read();
  }
  body_bytes_ += count;
  const bool first = !std::exchange(heard_, true);
  if (first && tls_ != nullptr && BeginsHttp(read_buffer_[0])) {
    RefusePlain();
  } else if (tls_ == nullptr) {
    input_.append(read_buffer_, 0, count);
  } else if (!Decrypt(count)) {
    return;
  }
  if (busy_ && input_.size() > kMaxPipelined) return Close(true);
  if (!busy_) Parse();
  if (!closed_) Read();
}

// False when the connection has ended, by its client or by an error.
bool Connection::Decrypt(size_t count) {
  const auto state = tls_->Open(std::string_view(read_buffer_).substr(0, count), input_);
  // Of the handshake and of changes of keys: whoever has so much of it waiting reads nothing.
  if (tls_->output_bytes() > kMaxUnparsed) return Close(true), false;
  if (state == net::TlsSession::State::kGoesOn) {
    Flush();
    return true;
  }
  if (state == net::TlsSession::State::kBroken) return SendLast(), Close(false), false;
  if (!busy_) Parse();
  if (!closed_) OnPeerGone(asio::error::eof);
  return false;
}

// What TLS has to say of what it cannot read, if the kernel takes it.
void Connection::SendLast() {
  if (tls_ == nullptr || write_pending_) return;
  ErrorCodeAsio ignored;
  socket_.non_blocking(true, ignored);
  socket_.write_some(asio::buffer(tls_->TakeOutput()), ignored);
}

// A client that sends no more may still read its answer; one that has gone looks the same.
void Connection::OnPeerGone(const ErrorCodeAsio& error) {
  if (error != asio::error::eof || !busy_) return Close(false);
  peer_closed_ = true;
  peer_check_ = kFirstPeerCheck;
  WatchPeer();
}

// Nothing is read any more that would tell that the client goes away; a write may be long in
// coming.
void Connection::WatchPeer() {
  if (finished_) return;
  if (!net::PeerSocketIsOpen(socket_.native_handle())) return Close(false);
  read_timer_.expires_after(peer_check_);
  peer_check_ = std::min(2 * peer_check_, kMaxPeerCheck);
  read_timer_.async_wait([self = shared_from_this()](const ErrorCodeAsio& error) {
    if (!error && !self->closed_ && self->busy_) self->WatchPeer();
  });
}

void Connection::Parse() {
  while (!busy_ && !closed_ && !draining_ && !input_.empty()) {
    if (reader_ == nullptr) {
      reader_ = std::make_unique<RequestReader>(limits_, host_.stats.bodies);
      ExpectHeader(limits_.header_time);
      body_timed_ = false;
    }
    if (!FeedReader()) return;
  }
}

// False when more bytes are needed or the request was refused.
bool Connection::FeedReader() {
  const auto taken = reader_->Feed(input_);
  if (!taken) {
    Refuse(taken.error());
    return false;
  }
  input_.erase(0, *taken);
  if (reader_->done()) {
    Dispatch();
    return true;
  }
  if (reader_->header_done() && !body_timed_) {
    body_timed_ = true;
    if (const auto refusal = host_.router.RefuseHead(reader_->Head())) {
      Refuse("a request that nobody may send", *refusal);
      return false;
    }
    if (reader_->wants_continue()) {
      Append("HTTP/1.1 100 Continue\r\n\r\n");
      Flush();
    }
    ExpectBody();
  }
  return false;
}

void Connection::Dispatch() {
  read_timer_.cancel();
  HttpRequest request = reader_->Take();
  reader_.reset();
  busy_ = true;
  finished_ = streaming_ = paused_ = false;
  keep_alive_ = request.keep_alive;
  ErrorCodeAsio error;
  const auto remote = socket_.remote_endpoint(error);  // fails when the client has just gone
  if (!error) request.client = remote.address().to_string() + " " + request.client;
  head_ = request.method == "HEAD";
  http10_ = request.version < 11;
  request_line_ = request.method.substr(0, 32) + " " + request.path.substr(0, 128);
  begun_ = std::chrono::steady_clock::now();
  status_ = 0;
  headers_.clear();
  ++host_.stats.requests;
  handler_ = host_.router.Handle(std::move(request), *this);
}

// Bytes that are no acceptable request: the error goes out and the connection ends.
void Connection::Refuse(const ApiError& error) {
  Refuse("a request that was not accepted (" + error.message + ")", host_.router.Render(error));
}

void Connection::Refuse(std::string line, const HttpResponse& response) {
  read_timer_.cancel();
  reader_.reset();
  input_.clear();
  busy_ = true;
  finished_ = keep_alive_ = head_ = http10_ = streaming_ = false;
  headers_.clear();
  request_line_ = std::move(line);
  begun_ = std::chrono::steady_clock::now();
  Send(response);
}

// Somebody has typed http:// for https://. Only this is said without TLS.
void Connection::RefusePlain() {
  tls_.reset();
  Refuse("plain HTTP where TLS is spoken",
         {.status = 400,
          .body = "This port takes HTTPS only: use https:// in the address.\n",
          .content_type = "text/plain; charset=utf-8"});
}

void Connection::ExpectHeader(std::chrono::milliseconds limit) {
  read_timer_.expires_after(limit);
  read_timer_.async_wait([self = shared_from_this()](const ErrorCodeAsio& error) {
    if (error || self->closed_ || self->busy_) return;
    if (self->reader_ == nullptr) return self->Close(false);  // idle
    self->Refuse({408, "the request headers did not arrive in time", "", "request_timeout"});
  });
}

void Connection::ExpectBody() {
  body_bytes_ = 0;
  read_timer_.expires_after(limits_.body_interval);
  read_timer_.async_wait([self = shared_from_this()](const ErrorCodeAsio& error) {
    if (error || self->closed_ || self->busy_) return;
    if (self->body_bytes_ >= self->limits_.body_bytes_per_interval) return self->ExpectBody();
    self->Refuse({408, "the request body arrives too slowly", "", "request_timeout"});
  });
}

// ---- writing: see connection_write.cc

void Connection::LogExchange(std::string_view end) const {
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begun_;
  const std::string status = status_ == 0 ? "no answer" : std::to_string(status_);
  LOG(kInfo, "HTTP {}: {}{}, {:.1f} ms", request_line_, status, end, took.count());
}

void Connection::EndExchange() {
  LogExchange("");
  handler_.reset();
  ping_timer_.cancel();
  busy_ = false;
  if (!keep_alive_) return peer_closed_ ? Close(false) : Drain();
  ExpectHeader(limits_.idle_time);
  Parse();
  if (!peer_closed_ || closed_) return;
  if (!busy_) return Close(false);
  WatchPeer();  // of the next of several requests that came together
}

// Lets the client read the end of its answer before the reset that unread bytes would cause.
void Connection::Drain() {
  draining_ = true;
  input_.clear();
  if (tls_ != nullptr) tls_->Close();
  Flush();  // what TLS has to say at the end
  if (!write_pending_) EndSending();
}

void Connection::EndSending() {
  ErrorCodeAsio ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  read_timer_.expires_after(limits_.drain_time);
  read_timer_.async_wait([self = shared_from_this()](const ErrorCodeAsio& error) {
    if (!error) self->Close(true);
  });
}

void Connection::Close(bool reset) {
  if (closed_) return;
  closed_ = true;
  const auto self = shared_from_this();
  if (busy_ && !draining_) LogExchange(finished_ ? ", not read to its end" : ", client gone");
  handler_.reset();
  for (auto* timer : {&read_timer_, &write_timer_, &ping_timer_}) timer->cancel();
  ErrorCodeAsio ignored;
  if (reset) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  socket_.close(ignored);
  if (on_closed_) std::exchange(on_closed_, nullptr)(this);
}

}  // namespace exo::service
