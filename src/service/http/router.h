// From a request to the route of a dialect: the guard, the path, the key, the method, and reading
// the body, on a worker when it is large.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "service/http/dialect.h"
#include "service/http/limits.h"
#include "service/http/worker.h"

namespace exo::service {

class DialectRouter final : public Router {
 public:
  // `worker` and `options` must outlive it. The first dialect's shape is used where neither a route
  // nor a root tells.
  DialectRouter(Worker& worker, const HttpOptions& options) : worker_(worker), options_(options) {}

  void Add(Dialect dialect) { dialects_.push_back(std::move(dialect)); }
  // The port that the server listens on, for the guard.
  void SetPort(uint16_t port) { port_ = port; }

  std::unique_ptr<Handler> Handle(HttpRequest request, Exchange& exchange) override;
  HttpResponse Render(const ApiError& error) const override;
  std::optional<HttpResponse> RefuseHead(HttpRequest request) const override;

 private:
  struct Match {
    const Dialect* dialect = nullptr;
    const Route* route = nullptr;
  };
  Parsed<Caller> Authenticate(const HttpRequest& request, Scope needed) const;
  // By the cookie of a page of ours; nothing: there is none that is valid.
  std::optional<Caller> SessionOf(const HttpRequest& request) const;
  // Somebody without a key.
  Caller Anybody(const HttpRequest& request) const;
  Scope NeededFor(const HttpRequest& request, const std::vector<Match>& matches) const;
  // Key and rate; says who asks.
  Parsed<> Admit(HttpRequest& request, const std::vector<Match>& matches) const;
  static HttpResponse Refusal(const Dialect& dialect, const ApiError& error);
  // The routes of one path, of which there is one for each method.
  std::vector<Match> Find(std::string_view path) const;
  // Whose shape an answer to `path` has.
  const Dialect& DialectOf(std::string_view path, const std::vector<Match>& matches) const;
  std::string UnknownPath(std::string_view path) const;
  std::unique_ptr<Handler> Read(const Match& match, HttpRequest request, Exchange& exchange);

  Worker& worker_;
  const HttpOptions& options_;
  uint16_t port_ = 0;
  std::vector<Dialect> dialects_;
};

}  // namespace exo::service
