#include "service/http/router.h"

#include <algorithm>

#include "service/http/guard.h"
#include "service/http/paths.h"

namespace exo::service {
namespace {

std::string Allowed(const auto& matches) {
  std::string allow;
  for (const auto& match : matches) {
    allow += match.route->method == "GET" ? "GET, HEAD, " : match.route->method + ", ";
  }
  return allow + "OPTIONS";
}

// Waits for a body that is read on the worker, then is whatever the route makes of it.
class Reading final : public Handler {
 public:
  using Begin = std::move_only_function<std::unique_ptr<Handler>(Parsed<Action>)>;
  explicit Reading(Begin begin) : begin_(std::move(begin)) {}

  void Finish(Parsed<Action> action) {
    inner_ = begin_(std::move(action));
    if (inner_ != nullptr && paused_) inner_->SetPaused(true);
  }
  void SetPaused(bool paused) override {
    paused_ = paused;
    if (inner_ != nullptr) inner_->SetPaused(paused);
  }
  std::weak_ptr<char> alive() const { return alive_; }

 private:
  Begin begin_;
  std::unique_ptr<Handler> inner_;
  bool paused_ = false;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace

std::unique_ptr<Handler> DialectRouter::Handle(HttpRequest request, Exchange& exchange) {
  request.path = NormalPath(request.path);
  const auto matches = Find(request.path);
  const Dialect& dialect = matches.empty() ? dialects_.front() : *matches.front().dialect;
  const auto refuse = [&](const ApiError& error) {
    exchange.Send(dialect.render(error));
    return nullptr;
  };
  if (const auto allowed = CheckSource(request, options_, port_); !allowed)
    return refuse(allowed.error());
  if (matches.empty() && request.path != "*")
    return refuse({404, UnknownPath(request.path), "", "unknown_route"});
  if (request.method == "OPTIONS") {
    // The methods, and nothing about other origins: there are no CORS headers.
    const std::string allow = matches.empty() ? "GET, HEAD, POST, OPTIONS" : Allowed(matches);
    exchange.Send({.status = 204, .headers = {{"Allow", allow}}});
    return nullptr;
  }
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  const auto match = std::ranges::find_if(
      matches, [&](const Match& candidate) { return candidate.route->method == method; });
  if (match != matches.end()) return Read(*match, std::move(request), exchange);
  if (matches.empty()) {
    return refuse({400, "the request target '*' is for OPTIONS only", "", "bad_request"});
  }
  HttpResponse response =
      dialect.render({405,
                      fmt::format("{} is not allowed for {}; use {}", request.method.substr(0, 32),
                                  matches.front().route->path, matches.front().route->method),
                      "", "method_not_allowed"});
  response.headers.emplace_back("Allow", Allowed(matches));
  exchange.Send(response);
  return nullptr;
}

HttpResponse DialectRouter::Render(const ApiError& error) const {
  return dialects_.front().render(error);
}

std::vector<DialectRouter::Match> DialectRouter::Find(std::string_view path) const {
  std::vector<Match> found;
  for (const Dialect& dialect : dialects_) {
    for (const Route& route : dialect.routes) {
      const bool prefix = route.path.size() > 1 && route.path.ends_with('/');
      if (path == route.path || (prefix && path.starts_with(route.path)))
        found.push_back({&dialect, &route});
    }
  }
  return found;
}

std::string DialectRouter::UnknownPath(std::string_view path) const {
  std::string known;
  for (const Dialect& dialect : dialects_) {
    for (const Route& route : dialect.routes) {
      if (!route.listed) continue;
      known += fmt::format("{}{} {}{}", known.empty() ? "" : ", ", route.method, route.path,
                           route.path.ends_with('/') ? "{id}" : "");
    }
  }
  return fmt::format("'{}' is not served here; there are: {}", path.substr(0, 128), known);
}

std::unique_ptr<Handler> DialectRouter::Read(const Match& match, HttpRequest request,
                                             Exchange& exchange) {
  const auto begin = [&exchange,
                      dialect = match.dialect](Parsed<Action> action) -> std::unique_ptr<Handler> {
    if (action) return (*action)(exchange);
    exchange.Send(dialect->render(action.error()));
    return nullptr;
  };
  if (request.body.size() <= kMaxReadOnLoop) return begin(match.route->read(std::move(request)));
  auto reading = std::make_unique<Reading>(begin);
  // Routes live as long as the server, whose destructor waits for the worker.
  const bool begun = worker_.Run(
      [route = match.route, request = std::move(request)]() mutable {
        return route->read(std::move(request));
      },
      [handler = reading.get(), alive = reading->alive()](Parsed<Action> action) {
        if (!alive.expired()) handler->Finish(std::move(action));
      });
  if (begun) return reading;
  exchange.Send(match.dialect->render(
      {503, "too many large requests are being read; try again", "", "overloaded"}));
  return nullptr;
}

}  // namespace exo::service
