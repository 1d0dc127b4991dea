// Bytes to one HTTP request: Beast's parser behind a small interface, with our limits.
// Passive: it is given bytes and says how many it took; it knows no socket and no time.
#pragma once

#include <memory>
#include <string_view>

#include "service/http/body_budget.h"
#include "service/http/exchange.h"
#include "service/http/limits.h"

namespace exo::service {

class RequestReader {
 public:
  // The body's memory comes out of `budget`.
  RequestReader(const HttpLimits& limits, std::shared_ptr<BodyBudget> budget);
  ~RequestReader();
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  // Takes bytes from the front. Not taken bytes must come again, with more behind them.
  // Errors: status 400, 413, 414, 417, 431, 501 or 503; the connection must then be closed.
  Parsed<size_t> Feed(std::string_view bytes);

  bool header_done() const;
  bool done() const;
  // The client waits for "100 Continue" before it sends the body.
  bool wants_continue() const;
  // The request without its body, once the header is done.
  HttpRequest Head() const;
  // The request, once done.
  HttpRequest Take();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace exo::service
