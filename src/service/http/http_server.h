// The HTTP server of a node: listens on loopback, or by TLS on another address, and speaks the
// dialects that it is given.
//
// Thread: everything on the thread that runs `context`. Owner: app; the context and what the
// dialects use must outlive it, and Stop (or the destructor) drops every connection, which cancels
// every running answer.
#pragma once

#include <memory>

#include "base/result.h"
#include "service/http/dialect.h"
#include "service/http/limits.h"
#include "service/http/stats.h"

namespace boost::asio {
class io_context;
}

namespace exo::service {

class HttpServer {
 public:
  explicit HttpServer(boost::asio::io_context& context, HttpOptions options = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Before Start. Where two dialects serve one path and method, the earlier one does; the first one
  // also renders the errors of requests that no route can be found for.
  void Add(Dialect dialect);
  // Listens on 127.0.0.1 and, where there is one, [::1]; with TLS on its address instead.
  // Errors: kIo when the port is taken (names it and what to do) or the system refuses.
  Result<void> Start();
  void Stop();

  // The port that it listens on, after Start.
  uint16_t port() const;
  const HttpStats& stats() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // pending accepts hold it weakly
};

}  // namespace exo::service
