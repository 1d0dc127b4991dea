#include "service/routes.h"

#include <chrono>
#include <random>
#include <span>

#include "base/random.h"
#include "service/answer.h"
#include "service/fields.h"
#include "service/guard.h"
#include "service/render_cluster.h"

namespace exo::service {
namespace {

constexpr std::string_view kPage =
    "<!doctype html><html lang=en><meta charset=utf-8><title>exo</title>"
    "<h1>exo</h1><p>This device runs language models together with the other devices of this "
    "home.</p>"
    "<p>The API speaks OpenAI's dialect: base URL <code>/v1</code>, any key.</p>"
    "<ul><li><a href=/v1/models>/v1/models</a><li><a href=/v1/cluster>/v1/cluster</a>"
    "<li><a href=/health>/health</a></ul></html>\n";

// Waits for a node's answer to an administrative request; a late answer finds the token gone.
class Waiting final : public Handler {
 public:
  explicit Waiting(Exchange& exchange) : exchange_(exchange), alive_(std::make_shared<char>()) {}

  // Wraps `render` (value -> JSON) into a callback for the node.
  template <class T, class Render>
  std::function<void(Result<T>)> Callback(Render render) {
    return [this, alive = std::weak_ptr<char>(alive_), render](Result<T> result) {
      if (alive.expired()) return;
      alive_.reset();
      exchange_.Send(result ? JsonResponse(render(*result))
                            : ErrorResponse(FromError(result.error())));
    };
  }

 private:
  Exchange& exchange_;
  std::shared_ptr<char> alive_;
};

// "%2F" -> "/". Malformed escapes stay as they are: the name is then not found.
std::string Unescape(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? digit(text[i + 1]) : -1;
    const int low = high >= 0 ? digit(text[i + 2]) : -1;
    out += low >= 0 ? static_cast<char>(high * 16 + low) : text[i];
    if (low >= 0) i += 2;
  }
  return out;
}

class Routes final : public Router {
 public:
  Routes(node::Api& api, const HttpOptions& options, uint16_t port)
      : api_(api), options_(options), port_(port), ids_(std::random_device{}()) {}

  std::unique_ptr<Handler> Handle(HttpRequest request, Exchange& exchange) override {
    if (const auto allowed = CheckSource(request, options_, port_); !allowed) {
      exchange.Send(ErrorResponse(allowed.error()));
      return nullptr;
    }
    const Route* route = FindRoute(request.path);
    if (route == nullptr) {
      exchange.Send(ErrorResponse({404, UnknownPath(request.path), "", "unknown_route"}));
      return nullptr;
    }
    const std::string_view method =
        request.method == "HEAD" ? "GET" : std::string_view(request.method);
    if (method != route->method) {
      exchange.Send(WrongMethod(request, *route));
      return nullptr;
    }
    return (this->*route->handle)(request, exchange);
  }

 private:
  using Done = std::unique_ptr<Handler>;
  struct Route {
    std::string_view method;
    std::string_view path;  // ends with '/': a prefix
    Done (Routes::*handle)(HttpRequest&, Exchange&);
  };
  static std::span<const Route> Table();
  static const Route* FindRoute(std::string_view path);
  static std::string UnknownPath(const std::string& path);
  static HttpResponse WrongMethod(const HttpRequest& request, const Route& route);

  Done Page(HttpRequest&, Exchange& exchange) {
    exchange.Send({.body = std::string(kPage), .content_type = "text/html; charset=utf-8"});
    return nullptr;
  }
  Done Health(HttpRequest&, Exchange& exchange) { return Reply(exchange, {{"status", "ok"}}); }
  Done Models(HttpRequest&, Exchange& exchange) {
    return Reply(exchange, ModelListJson(api_.Models()));
  }
  Done Cluster(HttpRequest&, Exchange& exchange) {
    return Reply(exchange, ClusterJson(api_.Cluster()));
  }
  Done Model(HttpRequest& request, Exchange& exchange);
  Done Chat(HttpRequest& request, Exchange& exchange) {
    return Complete(ParseChatRequest(request.body), "chatcmpl-", exchange);
  }
  Done Completion(HttpRequest& request, Exchange& exchange) {
    return Complete(ParseCompletionRequest(request.body), "cmpl-", exchange);
  }
  Done Plan(HttpRequest& request, Exchange& exchange);
  Done AddModel(HttpRequest& request, Exchange& exchange);
  Done Load(HttpRequest& request, Exchange& exchange);
  Done Unload(HttpRequest& request, Exchange& exchange);

  Done Complete(Parsed<CompletionCall> call, const char* prefix, Exchange& exchange);
  static Done Reply(Exchange& exchange, const Json& json) {
    exchange.Send(JsonResponse(json));
    return nullptr;
  }
  static Done Refuse(Exchange& exchange, const ApiError& error) {
    exchange.Send(ErrorResponse(error));
    return nullptr;
  }

  node::Api& api_;
  const HttpOptions& options_;
  const uint16_t port_;
  Rng ids_;  // for answer ids: unique, not secret
};

// An administrative body: one string and perhaps "spread".
struct AdminCall {
  std::string text;
  bool spread = false;
};
Parsed<AdminCall> ParseAdmin(const std::string& body, const char* field) {
  constexpr size_t kMaxText = 4096;  // PATH_MAX
  auto json = ParseJson(body);
  if (!json) return std::unexpected(ApiError{400, json.error().message, "", "invalid_json"});
  if (!json->is_object())
    return std::unexpected(ApiError{400, "the body must be a JSON object", "", "invalid_json"});
  AdminCall call;
  call.text = TRY(ReadRequiredString(*json, field, kMaxText));
  call.spread = TRY(ReadBool(*json, "spread")).value_or(false);
  return call;
}

std::span<const Routes::Route> Routes::Table() {
  static constexpr Route kTable[] = {
      {"GET", "/", &Routes::Page},
      {"GET", "/health", &Routes::Health},
      {"GET", "/v1/models", &Routes::Models},
      {"GET", "/v1/models/", &Routes::Model},
      {"GET", "/v1/cluster", &Routes::Cluster},
      {"POST", "/v1/chat/completions", &Routes::Chat},
      {"POST", "/v1/completions", &Routes::Completion},
      {"POST", "/v1/internal/plan", &Routes::Plan},
      {"POST", "/v1/internal/models", &Routes::AddModel},
      {"POST", "/v1/internal/load", &Routes::Load},
      {"POST", "/v1/internal/unload", &Routes::Unload},
  };
  return kTable;
}

const Routes::Route* Routes::FindRoute(std::string_view path) {
  for (const Route& route : Table()) {
    if (path == route.path) return &route;
    if (route.path.size() > 1 && route.path.ends_with('/') && path.starts_with(route.path))
      return &route;
  }
  return nullptr;
}

std::string Routes::UnknownPath(const std::string& path) {
  std::string known;
  for (const Route& route : Table()) {
    if (route.path.starts_with("/v1/internal/") || route.path.size() == 1) continue;
    known += fmt::format("{}{} {}{}", known.empty() ? "" : ", ", route.method, route.path,
                         route.path.ends_with('/') ? "{id}" : "");
  }
  return fmt::format("'{}' is not served here; there are: {}", path.substr(0, 128), known);
}

// OPTIONS tells the methods (and nothing about other origins: there are no CORS headers); others
// get 405.
HttpResponse Routes::WrongMethod(const HttpRequest& request, const Route& route) {
  const std::string allow = route.method == "GET" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
  HttpResponse response{.status = 204};
  if (request.method != "OPTIONS") {
    response = ErrorResponse(
        {405,
         fmt::format("{} is not allowed for {}; use {}", request.method, route.path, route.method),
         "", "method_not_allowed"});
  }
  response.headers.emplace_back("Allow", allow);
  return response;
}

Routes::Done Routes::Model(HttpRequest& request, Exchange& exchange) {
  const std::string name =
      Unescape(std::string_view(request.path).substr(sizeof("/v1/models/") - 1));
  for (const node::ModelView& model : api_.Models()) {
    if (model.name == name || model.id.Hex() == name) return Reply(exchange, ModelJson(model));
  }
  return Refuse(exchange,
                {404,
                 fmt::format("the model '{}' does not exist; /v1/models lists those that do",
                             name.substr(0, 128)),
                 "model", "model_not_found"});
}

Routes::Done Routes::Complete(Parsed<CompletionCall> call, const char* prefix, Exchange& exchange) {
  if (!call) return Refuse(exchange, call.error());
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  AnswerHead head{.id = fmt::format("{}{:016x}{:016x}", prefix, ids_.Next(), ids_.Next()),
                  .model = call->request.model,
                  .created = std::chrono::duration_cast<std::chrono::seconds>(now).count(),
                  .chat = call->chat};
  auto answer = std::make_unique<Answer>(exchange, std::move(head), *call);
  answer->Start(api_, *call);
  return answer;
}

Routes::Done Routes::Plan(HttpRequest& request, Exchange& exchange) {
  auto call = ParseAdmin(request.body, "model");
  if (!call) return Refuse(exchange, call.error());
  auto waiting = std::make_unique<Waiting>(exchange);
  api_.MakePlan(call->text, call->spread, waiting->Callback<node::PlanView>(&PlanJson));
  return waiting;
}

Routes::Done Routes::AddModel(HttpRequest& request, Exchange& exchange) {
  auto call = ParseAdmin(request.body, "path");
  if (!call) return Refuse(exchange, call.error());
  auto waiting = std::make_unique<Waiting>(exchange);
  api_.AddModel(call->text, waiting->Callback<std::string>(
                                [](const std::string& name) { return Json{{"model", name}}; }));
  return waiting;
}

Routes::Done Routes::Load(HttpRequest& request, Exchange& exchange) {
  auto call = ParseAdmin(request.body, "model");
  if (!call) return Refuse(exchange, call.error());
  auto waiting = std::make_unique<Waiting>(exchange);
  api_.Load(call->text, call->spread,
            waiting->Callback<node::PlanView>([](const node::PlanView& plan) {
              Json json = PlanJson(plan);
              json["state"] = "ready";
              return json;
            }));
  return waiting;
}

Routes::Done Routes::Unload(HttpRequest& request, Exchange& exchange) {
  auto call = ParseAdmin(request.body, "model");
  if (!call) return Refuse(exchange, call.error());
  auto waiting = std::make_unique<Waiting>(exchange);
  const auto done = waiting->Callback<bool>([](bool) { return Json{{"ok", true}}; });
  api_.Unload(call->text, [done](Result<void> result) {
    done(result ? Result<bool>(true) : Result<bool>(std::unexpected(result.error())));
  });
  return waiting;
}

}  // namespace

std::unique_ptr<Router> MakeRouter(node::Api& api, const HttpOptions& options, uint16_t own_port) {
  return std::make_unique<Routes>(api, options, own_port);
}

}  // namespace exo::service
