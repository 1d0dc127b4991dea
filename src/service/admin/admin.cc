#include "service/admin/admin.h"

#include <algorithm>

#include "service/admin/errors.h"
#include "service/admin/inspect.h"
#include "service/admin/metrics.h"
#include "service/admin/pairing.h"
#include "service/admin/pull.h"
#include "service/admin/render.h"
#include "service/admin/requests.h"
#include "service/errors.h"
#include "service/fields.h"
#include "service/http/paths.h"
#include "service/keep_alive.h"
#include "service/removals.h"
#include "service/request_fields.h"
#include "service/waiting.h"
#include "wire/plan.h"

namespace exo::service::admin {
namespace {

constexpr std::string_view kModelsPrefix = "/v1/internal/models/";

Waiting::Failure Failing() {
  return [](const Error& error) { return ErrorResponse(FromError(error)); };
}

// A GET whose answer is there at once.
Route Get(const char* path, Scope scope, std::function<HttpResponse()> response) {
  return {.method = "GET",
          .path = path,
          .scope = scope,
          .read = [response = std::move(response)](const HttpRequest&) -> Parsed<Action> {
            return AnswerNow(response);
          }};
}

constexpr size_t kMaxText = 4096;  // PATH_MAX

// [{"file": name or path, "scale": 1}]
Parsed<std::optional<std::vector<node::AdapterChoice>>> ReadAdapters(const Json& body) {
  const Json* list = Find(body, "adapters");
  if (list == nullptr) return std::nullopt;
  if (!list->is_array() || list->size() > wire::kMaxAdapters) {
    return BadValue("adapters", fmt::format("'adapters' must be a list of at most {} objects",
                                            wire::kMaxAdapters));
  }
  std::vector<node::AdapterChoice> adapters;
  for (const Json& one : *list) {
    if (!one.is_object()) return BadValue("adapters", "'adapters' must be a list of objects");
    const double scale = TRY(ReadNumber(one, "scale", {-1000, 1000})).value_or(1);
    adapters.push_back({TRY(ReadRequiredString(one, "file", kMaxText)), static_cast<float>(scale)});
  }
  return adapters;
}

constexpr std::string_view kModelField = "model";

// The body of an internal POST: one string and perhaps how a model is to be loaded.
struct Call {
  std::string text;
  node::Placing placing = {};
};
// Ids of devices, as /v1/cluster has them.
Parsed<std::vector<NodeId>> ReadWithout(const Json& body) {
  const Json* list = Find(body, "without");
  if (list == nullptr) return std::vector<NodeId>{};
  if (!list->is_array() || list->size() > wire::kMaxStages) {
    return BadValue("without", fmt::format("'without' must be a list of at most {} ids of devices",
                                           wire::kMaxStages));
  }
  std::vector<NodeId> ids;
  for (const Json& one : *list) {
    const auto id = NodeId::FromHex(one.is_string() ? one.get<std::string>() : "");
    if (!id)
      return BadValue("without", fmt::format("'without' has {}, which is no id of a device: 64 "
                                             "hexadecimal digits",
                                             Shown(one)));
    ids.push_back(*id);
  }
  return ids;
}

Parsed<node::Placing> ReadPlacing(const Json& body) {
  node::Placing placing;
  placing.split = TRY(ReadSplit(body));
  placing.codec = TRY(ReadCodec(body));
  placing.use = TRY(ReadUse(body));
  if (const auto users = TRY(ReadInteger(body, "users", 1, wire::kMaxUsers)))
    placing.users = static_cast<uint32_t>(*users);
  placing.without = TRY(ReadWithout(body));
  if (const Json* context = Find(body, "context"); context != nullptr) {
    if (!context->is_number_unsigned() || *context > wire::kMaxContext) {
      return BadValue("context", fmt::format("'context' must be a whole number from 0 (as trained, "
                                             "as far as memory allows) to {}",
                                             wire::kMaxContext));
    }
    placing.context = context->get<uint32_t>();
  }
  if (const Json* kv = Find(body, "kv"); kv != nullptr) {
    const auto names = wire::kKvNames;
    const auto name = std::ranges::find(names, kv->is_string() ? kv->get<std::string>() : "");
    if (name == names.end()) return BadValue("kv", "'kv' must be \"f16\", \"q8_0\" or \"f32\"");
    placing.kv_type = static_cast<uint8_t>(name - names.begin());
  }
  placing.adapters = TRY(ReadAdapters(body));
  placing.keep_ms = TRY(ReadKeepAlive(body));
  if (const auto pinned = TRY(ReadBool(body, "pinned"))) {
    if (*pinned && placing.keep_ms)
      return BadValue("pinned", "'pinned' and 'keep_alive' exclude each other: say one of them");
    if (!placing.keep_ms) placing.keep_ms = *pinned ? wire::kKeepAlways : 0;
    placing.unpin = !*pinned;
  }
  if (Find(body, "draft") != nullptr)
    placing.draft = TRY(ReadRequiredString(body, "draft", kMaxText));
  return placing;
}
Parsed<Call> ReadCall(const std::string& body, const char* field) {
  auto json = ParseJson(body);
  if (!json) return std::unexpected(ApiError{400, json.error().message, "", "invalid_json"});
  if (!json->is_object())
    return std::unexpected(ApiError{400, "the body must be a JSON object", "", "invalid_json"});
  Call call;
  call.text = TRY(ReadRequiredString(*json, field, kMaxText));
  if (field == kModelField) call.text = WithoutTag(std::move(call.text));
  call.placing = TRY(ReadPlacing(*json));
  return call;
}

Route Post(const char* path, const char* field, std::function<void(const Call&, Waiting&)> ask) {
  return {.method = "POST",
          .path = path,
          .read = [field, ask = std::move(ask)](HttpRequest request) -> Parsed<Action> {
            return [call = TRY(ReadCall(request.body, field)),
                    ask](Exchange& exchange) -> std::unique_ptr<Handler> {
              auto waiting = std::make_unique<Waiting>(exchange, Failing());
              ask(call, *waiting);
              return waiting;
            };
          },
          .listed = false};
}

const HttpResponse kOk{.body = R"({"ok":true})"};

Json LoadedJson(const node::PlanView& plan) {
  Json json = PlanJson(plan);
  json["state"] = "ready";
  json["was_running"] = plan.was_running;
  return json;
}

}  // namespace

Dialect MakeDialect(node::Api& api, const HttpStats& stats) {
  Dialect dialect{.name = "admin", .render = &ErrorResponse};
  dialect.routes = {
      Get("/health", Scope::kOpen, [] { return HttpResponse{.body = R"({"status":"ok"})"}; }),
      Get("/metrics", Scope::kModels,
          [&api, &stats] {
            return HttpResponse{.body = MetricsOf(api.Metrics(), stats),
                                .content_type = "text/plain; version=0.0.4; charset=utf-8"};
          }),
      Get("/v1/cluster", Scope::kModels,
          [&api] { return HttpResponse{.body = Dump(ClusterJson(api.Cluster()))}; }),
      PullRoute(api),
      Post("/v1/internal/plan", "model",
           [&api](const Call& call, Waiting& waiting) {
             api.MakePlan(call.text, call.placing, waiting.Callback<node::PlanView>(&PlanJson));
           }),
      Post("/v1/internal/models", "path",
           [&api](const Call& call, Waiting& waiting) {
             api.AddModel(call.text, waiting.Callback<std::string>([](const std::string& name) {
               return Json{{"model", name}};
             }));
           }),
      Post("/v1/internal/load", "model",
           [&api](const Call& call, Waiting& waiting) {
             api.Load(call.text, call.placing, waiting.Callback<node::PlanView>(&LoadedJson));
           }),
      Post("/v1/internal/unload", "model",
           [&api](const Call& call, Waiting& waiting) {
             api.Unload(call.text, false, waiting.Done(kOk));
           }),
      {.method = "DELETE",
       .path = std::string(kModelsPrefix),
       .read = [&api](HttpRequest request) -> Parsed<Action> {
         const auto everywhere = QueryField(request.query, "everywhere");
         if (everywhere && *everywhere != "true" && *everywhere != "false") {
           return std::unexpected(ApiError{
               400,
               fmt::format("'everywhere' is {}, but must be true or false", Shown(*everywhere)),
               "everywhere"});
         }
         return [&api, everywhere = everywhere == "true",
                 name = WithoutTag(Unescape(request.path.substr(kModelsPrefix.size())))](
                    Exchange& exchange) -> std::unique_ptr<Handler> {
           auto waiting = std::make_unique<Waiting>(exchange, Failing());
           api.RemoveModel(name, everywhere,
                           waiting->Callback<std::vector<node::RemovalView>>(&RemovalsJson));
           return waiting;
         };
       },
       .listed = false}};
  for (Route& route : InspectRoutes(api)) dialect.routes.push_back(std::move(route));
  for (Route& route : PairingRoutes(api)) dialect.routes.push_back(std::move(route));
  for (Route& route : RequestRoutes(api)) dialect.routes.push_back(std::move(route));
  return dialect;
}

}  // namespace exo::service::admin
