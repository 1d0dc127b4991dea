// The HTTP server of a node: listens on loopback and serves node::Api in OpenAI's dialect
// (docs/api.md).
//
// Thread: everything on the thread that runs `context`. Owner: app; the context and the api must
// outlive it, and Stop (or the destructor) drops every connection, which cancels every running
// answer.
#pragma once

#include <memory>

#include "node/api.h"
#include "service/limits.h"

namespace boost::asio {
class io_context;
}

namespace exo::service {

class HttpServer {
 public:
  HttpServer(boost::asio::io_context& context, node::Api& api, HttpOptions options = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Listens on 127.0.0.1 and, where there is one, [::1].
  // Errors: kIo when the port is taken (names it and what to do) or the system refuses.
  Result<void> Start();
  void Stop();

  // The port that it listens on, after Start.
  uint16_t port() const;
  size_t connections() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // pending accepts hold it weakly
};

}  // namespace exo::service
