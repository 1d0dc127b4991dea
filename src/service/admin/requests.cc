#include "service/admin/requests.h"

#include "service/admin/errors.h"
#include "service/admin/trace_formats.h"
#include "service/http/paths.h"
#include "service/waiting.h"

namespace exo::service::admin {
namespace {

constexpr std::string_view kRequestsPrefix = "/v1/internal/requests/";

bool MaySee(const Caller& caller, const node::RequestView& request) {
  return caller.May(Scope::kAdmin) || caller.key == request.asker.key;
}

Json RequestJson(const node::RequestView& request) {
  Json json = {{"id", request.id.Hex()},
               {"model", request.model},
               {"state", node::RequestStateName(request.state)},
               {"who", request.asker.name},
               {"entry", request.entry},
               {"dialect", request.asker.dialect},
               {"started", request.started_ms},
               {"prompt_tokens", request.prompt_tokens},
               {"cached_tokens", request.cached_tokens},
               {"generated", request.generated},
               {"tokens_per_second", request.tokens_per_second},
               {"ttft_ms", request.ttft_ms},
               {"devices", request.devices}};
  if (request.ended_ms > 0) json["ended"] = request.ended_ms;
  if (!request.error.empty()) json["error"] = request.error;
  return json;
}

// The {id} of a path, as it is written.
std::string IdIn(std::string_view path) {
  const std::string_view rest = path.substr(kRequestsPrefix.size());
  return Unescape(rest.substr(0, rest.find('/')));
}

HttpResponse NoRequest(const std::string& id) {
  return ErrorResponse({404,
                        fmt::format("there is no request '{}' here (any more): X-Request-Id of an "
                                    "answer names it, and the last {} that have ended are kept",
                                    id.substr(0, 64), node::kKeptRequests),
                        "", "request_not_found"});
}

// The request that a path names, if it is one that the caller may see.
std::optional<node::RequestView> FindFor(const node::Api& api, const Caller& caller,
                                         const std::string& id) {
  const auto call = RequestId::FromHex(id);
  auto found = call ? api.FindRequest(*call) : std::nullopt;
  return found && MaySee(caller, *found) ? std::move(found) : std::nullopt;
}

HttpResponse Cancel(node::Api& api, const Caller& caller, const std::string& id) {
  const auto found = FindFor(api, caller, id);
  if (!found) return NoRequest(id);
  if (api.CancelCall(found->id)) return {.body = R"({"ok":true})"};
  return ErrorResponse({409,
                        fmt::format("the request {} has ended already: {}", id,
                                    node::RequestStateName(found->state)),
                        "", "request_ended"});
}

HttpResponse Trace(const node::Api& api, const Caller& caller, const std::string& id,
                   Json (*format)(const node::RequestTrace&)) {
  const auto found = FindFor(api, caller, id);
  if (!found) return NoRequest(id);
  const auto trace = api.TraceOf(found->id);
  if (trace) return {.body = Dump(format(*trace))};
  return ErrorResponse({404,
                        fmt::format("the trace of request {} is no longer kept: the latest {} are",
                                    id, node::kKeptTraces),
                        "", "trace_not_found"});
}

Parsed<Action> ReadTrace(const node::Api& api, const HttpRequest& request) {
  const std::string format = QueryField(request.query, "format").value_or("exo");
  auto* write = format == "exo"      ? &TraceJson
                : format == "chrome" ? &ChromeTraceJson
                : format == "otlp"   ? &OtlpTraceJson
                                     : nullptr;
  if (write == nullptr) {
    return std::unexpected(ApiError{
        400,
        fmt::format("'format' is \"{}\", but must be exo, chrome or otlp", format.substr(0, 64)),
        "format", "invalid_value"});
  }
  return AnswerNow([&api, write, caller = request.caller, id = IdIn(request.path)] {
    return Trace(api, caller, id, write);
  });
}

}  // namespace

Json RequestsJson(const node::Api& api, const Caller& caller) {
  Json data = Json::array();
  for (const node::RequestView& request : api.RequestList())
    if (MaySee(caller, request)) data.push_back(RequestJson(request));
  return {{"data", std::move(data)}};
}

std::vector<Route> RequestRoutes(node::Api& api) {
  const std::string one = std::string(kRequestsPrefix) + "{id}";
  return {{.method = "GET",
           .path = "/v1/internal/requests",
           .scope = Scope::kInfer,
           .read = [&api](const HttpRequest& request) -> Parsed<Action> {
             return AnswerNow([&api, caller = request.caller] {
               return HttpResponse{.body = Dump(RequestsJson(api, caller))};
             });
           },
           .listed = false},
          {.method = "DELETE",
           .path = one,
           .scope = Scope::kInfer,
           .read = [&api](const HttpRequest& request) -> Parsed<Action> {
             return AnswerNow([&api, caller = request.caller, id = IdIn(request.path)] {
               return Cancel(api, caller, id);
             });
           },
           .listed = false},
          {.method = "GET",
           .path = one + "/trace",
           .scope = Scope::kInfer,
           .read = [&api](const HttpRequest& request) { return ReadTrace(api, request); },
           .listed = false}};
}

}  // namespace exo::service::admin
