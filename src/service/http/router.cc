#include "service/http/router.h"

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <functional>

#include "service/http/content_coding.h"
#include "service/http/cookies.h"
#include "service/http/guard.h"
#include "service/http/paths.h"

namespace exo::service {
namespace {

bool Serves(const Route& route, std::string_view method) {
  return route.method == kAnyMethod || route.method == (method == "HEAD" ? "GET" : method);
}

std::string Allowed(const auto& matches) {
  std::string allow;
  for (const auto& match : matches) {
    if (match.route->method == kAnyMethod) return "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    allow += match.route->method == "GET" ? "GET, HEAD, " : match.route->method + ", ";
  }
  return allow + "OPTIONS";
}

// Reading such a body may compile a grammar, which takes far longer than its size says.
bool MayCompile(std::string_view body) {
  constexpr std::string_view kWords[] = {"schema", "grammar",   "regex",
                                         "choice", "\"tools\"", "format"};
  return std::ranges::any_of(kWords, [&](auto word) { return body.contains(word); });
}

// The body without its compression, then what the route makes of it.
Parsed<Action> ReadDecoded(const Route& route, HttpRequest request, size_t limit) {
  const Coding coding = TRY(CodingOf(request.content_encodings));
  const bool has_body = HasBody(request.method) || !request.body.empty();
  if (coding != Coding::kIdentity && has_body)
    request.body = TRY(Decode(coding, request.body, limit, *request.lease));
  return route.read(std::move(request));
}

bool IsCompressed(const HttpRequest& request) {
  return CodingOf(request.content_encodings).value_or(Coding::kIdentity) != Coding::kIdentity;
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

// Of the Authorization and x-api-key fields, at most one of each.
Parsed<std::vector<std::string_view>> CredentialsOf(const HttpRequest& request) {
  if (request.authorizations.size() > 1 || request.api_keys.size() > 1) {
    return std::unexpected(ApiError{
        400, "the request has more than one Authorization or x-api-key header", "", "bad_request"});
  }
  std::vector<std::string_view> credentials;
  for (const std::string_view field : request.authorizations) {
    const bool bearer = boost::beast::iequals(field.substr(0, 7), "Bearer ");
    if (!bearer) continue;
    const size_t begin = field.find_first_not_of(' ', 7);
    if (begin != std::string_view::npos) credentials.push_back(field.substr(begin));
  }
  for (const std::string_view field : request.api_keys) {
    if (!field.empty()) credentials.push_back(field);
  }
  return credentials;
}

ApiError Lacking(const std::string& key, Scope needed) {
  return {403,
          fmt::format("the key '{}' may not do this: it lacks the scope {}", key, NameOf(needed)),
          "", "insufficient_scope"};
}

ApiError NoKey(bool given, Scope needed, bool remote) {
  std::string message = given
                            ? "the API key is not known here (any more)"
                            : "this needs an API key: Authorization: Bearer KEY, or x-api-key: KEY";
  message += remote || needed != Scope::kAdmin
                 ? fmt::format(
                       "; on the machine that runs exo, exo key add NAME --scope {} makes "
                       "one",
                       NameOf(needed == Scope::kOpen ? Scope::kInfer : needed))
                 : "; the token in the file admin-token of exo's data folder is one, and exo key "
                   "add NAME --scope admin makes one";
  return {401, std::move(message), "", given ? "invalid_api_key" : "missing_api_key"};
}

// The paths beside a route: "/v1/internal/" of "/v1/internal/plan".
std::string_view FolderOf(std::string_view path) {
  return path.substr(0, path.rfind('/') + 1);
}

}  // namespace

// A key that a request shows says who asks, else its cookie. On loopback whoever has no key of ours
// may do everything but administer, as a program that sends the key of another service does; a key
// of ours that is not known is refused everywhere.
Parsed<Caller> DialectRouter::Authenticate(const HttpRequest& request, Scope needed) const {
  const auto credentials = TRY(CredentialsOf(request));
  std::string known;
  for (const std::string_view credential : credentials) {
    auto caller = options_.gate == nullptr ? std::nullopt : options_.gate->Identify(credential);
    if (caller && caller->May(needed)) return *std::move(caller);
    if (caller) known = caller->name;
  }
  if (!known.empty()) return std::unexpected(Lacking(known, needed));
  const bool ours = std::ranges::any_of(
      credentials, [](std::string_view one) { return one.starts_with(kKeyPrefix); });
  if (!ours) {
    const auto session = SessionOf(request);
    Caller caller = session ? *session : Anybody(request);
    if (caller.May(needed)) return caller;
    if (session) return std::unexpected(Lacking(session->name, needed));
  }
  return std::unexpected(NoKey(!credentials.empty(), needed, options_.tls != nullptr));
}

std::optional<Caller> DialectRouter::SessionOf(const HttpRequest& request) const {
  if (options_.sessions == nullptr || !IsOwnPage(request, options_, port_)) return std::nullopt;
  for (const std::string_view cookie : CookiesNamed(request, options_.sessions->cookie_name())) {
    if (auto caller = options_.sessions->Recognize(cookie)) return caller;
  }
  return std::nullopt;
}

Caller DialectRouter::Anybody(const HttpRequest& request) const {
  Caller nobody;
  if (options_.tls != nullptr) return nobody;
  nobody.scopes = Caller::ScopeBit(Scope::kInfer);
  if (!IsForeign(request, options_, port_)) nobody.scopes |= Caller::ScopeBit(Scope::kModels);
  return nobody;
}

// A path that is not there takes a key where all others do, and tells nothing without; one beside
// routes of administrators, or their path with another method, takes what these take.
Scope DialectRouter::NeededFor(const HttpRequest& request,
                               const std::vector<Match>& matches) const {
  if (request.method == "OPTIONS") return Scope::kOpen;
  for (const Match& match : matches) {
    if (Serves(*match.route, request.method)) return match.route->scope;
  }
  for (const Dialect& dialect : dialects_) {
    for (const Route& route : dialect.routes) {
      const std::string_view folder = FolderOf(route.path);
      if (route.scope == Scope::kAdmin && folder != "/" && request.path.starts_with(folder))
        return Scope::kAdmin;
    }
  }
  return options_.tls != nullptr ? Scope::kInfer : Scope::kOpen;
}

Parsed<> DialectRouter::Admit(HttpRequest& request, const std::vector<Match>& matches) const {
  const Scope needed = NeededFor(request, matches);
  if (needed == Scope::kOpen) {
    request.caller = SessionOf(request).value_or(Anybody(request));
  } else {
    request.caller = TRY(Authenticate(request, needed));
  }
  if (needed == Scope::kOpen || request.caller.key == 0) return {};
  return options_.gate->Admit(request.caller);
}

HttpResponse DialectRouter::Refusal(const Dialect& dialect, const ApiError& error) {
  HttpResponse response = dialect.render(error);
  if (error.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (error.code == "unsupported_content_encoding")
    response.headers.emplace_back("Accept-Encoding", kCodings);
  return response;
}

std::optional<HttpResponse> DialectRouter::RefuseHead(HttpRequest request) const {
  request.path = NormalPath(request.path);
  const auto matches = Find(request.path);
  const Scope needed = NeededFor(request, matches);
  if (needed == Scope::kOpen) return std::nullopt;
  const auto source = CheckSource(request, options_, port_);
  const auto caller = source ? Authenticate(request, needed) : Parsed<Caller>(Caller{});
  if (source && caller) return std::nullopt;
  HttpResponse response =
      Refusal(DialectOf(request.path, matches), source ? caller.error() : source.error());
  if (!options_.origins.empty()) response.headers.emplace_back("Vary", "Origin");
  if (!source) return response;
  for (auto& field : CorsHeaders(request, options_)) response.headers.push_back(std::move(field));
  return response;
}

std::unique_ptr<Handler> DialectRouter::Handle(HttpRequest request, Exchange& exchange) {
  request.path = NormalPath(request.path);
  const auto matches = Find(request.path);
  const Dialect& dialect = DialectOf(request.path, matches);
  const auto refuse = [&](const ApiError& error) {
    exchange.Send(Refusal(dialect, error));
    return nullptr;
  };
  if (!options_.origins.empty()) exchange.AddHeaders({{"Vary", "Origin"}});
  if (const auto source = CheckSource(request, options_, port_); !source)
    return refuse(source.error());
  exchange.AddHeaders(CorsHeaders(request, options_));
  if (const auto admitted = Admit(request, matches); !admitted) return refuse(admitted.error());
  if (matches.empty() && request.path != "*")
    return refuse({404, UnknownPath(request.path), "", "unknown_route"});
  if (request.method == "OPTIONS") {
    const std::string allow = matches.empty() ? "GET, HEAD, POST, OPTIONS" : Allowed(matches);
    exchange.Send({.status = 204,
                   .headers = IsPreflight(request) ? PreflightHeaders(request, allow)
                                                   : Headers{{"Allow", allow}}});
    return nullptr;
  }
  const auto match = std::ranges::find_if(
      matches, [&](const Match& candidate) { return Serves(*candidate.route, request.method); });
  if (match != matches.end()) {
    const auto body = match->route->method == kAnyMethod ? Parsed<>() : CheckBody(request);
    if (!body) return refuse(body.error());
    return Read(*match, std::move(request), exchange);
  }
  if (matches.empty())
    return refuse({400, "the request target '*' is for OPTIONS only", "", "bad_request"});
  exchange.AddHeaders({{"Allow", Allowed(matches)}});
  return refuse({405,
                 fmt::format("{} is not allowed for {}; use {}", request.method.substr(0, 32),
                             matches.front().route->path, matches.front().route->method),
                 "", "method_not_allowed"});
}

HttpResponse DialectRouter::Render(const ApiError& error) const {
  return dialects_.front().render(error);
}

std::vector<DialectRouter::Match> DialectRouter::Find(std::string_view path) const {
  std::vector<Match> found;
  for (const Dialect& dialect : dialects_) {
    for (const Route& route : dialect.routes) {
      if (TakesPath(route.path, path)) found.push_back({&dialect, &route});
    }
  }
  // A path of its own is not one of those that a pattern stands for.
  const auto is_own = [&](const Match& match) { return match.route->path == path; };
  if (std::ranges::any_of(found, is_own)) std::erase_if(found, std::not_fn(is_own));
  return found;
}

const Dialect& DialectRouter::DialectOf(std::string_view path,
                                        const std::vector<Match>& matches) const {
  if (!matches.empty()) return *matches.front().dialect;
  const auto below = std::ranges::find_if(dialects_, [&](const Dialect& dialect) {
    return !dialect.root.empty() && path.starts_with(dialect.root);
  });
  return below == dialects_.end() ? dialects_.front() : *below;
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
  request.dialect = match.dialect->name;
  const auto begin = [&exchange,
                      dialect = match.dialect](Parsed<Action> action) -> std::unique_ptr<Handler> {
    if (action) return (*action)(exchange);
    exchange.Send(dialect->render(action.error()));
    return nullptr;
  };
  const bool reads = match.route->method != kAnyMethod;
  if (!reads || (request.body.size() <= kMaxReadOnLoop && !MayCompile(request.body) &&
                 !IsCompressed(request)))
    return begin(match.route->read(std::move(request)));
  auto reading = std::make_unique<Reading>(begin);
  // Routes live as long as the server, whose destructor waits for the worker.
  const bool begun = worker_.Run(
      [route = match.route, limit = options_.limits.body_bytes,
       request = std::move(request)]() mutable {
        return ReadDecoded(*route, std::move(request), limit);
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
