// One client connection: reads requests, one at a time, and writes their answers in order.
//
// A read is always pending, also while an answer is computed: a client that goes away is noticed at
// once and its handler destroyed. One that closes only its sending side is answered. Writes go
// through one queue; when it grows beyond the limit the handler is paused, and when the client
// takes nothing for the stall time the answer is cancelled.
//
// Thread: the event loop. Lifetime: Asio's completion handlers hold shared pointers (the usual
// idiom); the server holds a plain pointer until on_closed.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>

#include "net/tls_server.h"
#include "service/http/exchange.h"
#include "service/http/request_reader.h"
#include "service/http/stats.h"

namespace exo::service {

// What a connection uses of its server; used until Abort.
struct ConnectionHost {
  Router& router;
  const HttpLimits& limits;
  HttpStats& stats;
  const net::TlsServer* tls = nullptr;  // null: plain HTTP
};

class Connection final : public Exchange, public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  // on_closed is called once, not from Abort.
  Connection(Socket socket, ConnectionHost host, std::function<void(Connection*)> on_closed);

  void Start();
  // Drops the connection and its handler; nothing is called afterwards.
  void Abort();

  void AddHeaders(Headers headers) override;
  void Send(const HttpResponse& response) override;
  void StartStream(const StreamFormat& format, const Headers& headers) override;
  void Push(std::string_view bytes) override;
  void EndStream(bool keep_alive, const Headers& trailers) override;

 private:
  using ErrorCodeAsio = boost::system::error_code;

  void Read();
  void OnRead(const ErrorCodeAsio& error, size_t count);
  bool Decrypt(size_t count);
  void SendLast();
  void OnPeerGone(const ErrorCodeAsio& error);
  void WatchPeer();
  void Parse();
  bool FeedReader();
  void Dispatch();
  void Refuse(const ApiError& error);
  void Refuse(std::string line, const HttpResponse& response);
  void RefusePlain();
  void ExpectHeader(std::chrono::milliseconds limit);
  void ExpectBody();

  void Append(std::string_view bytes);
  void AppendChunk(std::string_view bytes);
  std::string HeaderText(unsigned status, std::string_view content_type) const;
  void Flush();
  void OnWritten(const ErrorCodeAsio& error, size_t count);
  void EndExchange();
  void LogExchange(std::string_view end) const;
  size_t Queued() const { return queue_.size() + writing_.size() - written_; }
  void PauseWhenFull();
  void ResumeWhenDrained();
  void StartPings();

  void Drain();
  void EndSending();
  void Close(bool reset);

  Socket socket_;
  const ConnectionHost host_;
  const HttpLimits& limits_;
  std::function<void(Connection*)> on_closed_;
  std::unique_ptr<net::TlsSession> tls_;  // null: plain HTTP
  bool heard_ = false;                    // bytes have come
  boost::asio::steady_timer read_timer_;
  boost::asio::steady_timer write_timer_;
  boost::asio::steady_timer ping_timer_;

  std::string read_buffer_;
  std::string input_;                      // read, not parsed
  std::unique_ptr<RequestReader> reader_;  // of the request that is being read
  size_t body_bytes_ = 0;                  // arrived in the current interval
  bool body_timed_ = false;

  std::unique_ptr<Handler> handler_;  // of the request that is being answered
  bool busy_ = false;
  std::string request_line_;  // method and path, for the log
  unsigned status_ = 0;
  Headers headers_;  // of the answer, whatever it will be
  std::chrono::steady_clock::time_point begun_;
  bool finished_ = false;  // the whole answer is queued
  bool keep_alive_ = true;
  bool head_ = false;  // HEAD: no body
  bool http10_ = false;
  bool streaming_ = false;
  std::string ping_;
  bool paused_ = false;

  std::string queue_;
  std::string writing_;
  size_t written_ = 0;  // of writing_
  bool write_pending_ = false;

  // The client sends no more: what has come is answered, as long as it is there.
  bool peer_closed_ = false;
  std::chrono::milliseconds peer_check_{};
  bool draining_ = false;
  size_t drained_ = 0;
  bool closed_ = false;
};

}  // namespace exo::service
