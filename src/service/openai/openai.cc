#include "service/openai/openai.h"

#include <chrono>

#include "service/answer.h"
#include "service/http/paths.h"
#include "service/openai/encode.h"
#include "service/openai/errors.h"
#include "service/openai/models.h"
#include "service/openai/parse_request.h"
#include "sys/files.h"

namespace exo::service::openai {
namespace {

constexpr std::string_view kModelsPrefix = "/v1/models/";

Action Reply(std::function<HttpResponse()> response) {
  return [response = std::move(response)](Exchange& exchange) -> std::unique_ptr<Handler> {
    exchange.Send(response());
    return nullptr;
  };
}

Parsed<Action> ReadCompletion(node::Api& api, HttpRequest& request, Parsed<CompletionCall> read) {
  CompletionCall call = TRY(std::move(read));
  call.request.lease = std::move(request.lease);
  call.request.client = ClientNumber(request.client, call.user);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  auto encoder =
      MakeEncoder({.id = fmt::format("{}{:016x}{:016x}", call.chat ? "chatcmpl-" : "cmpl-",
                                     sys::RandomValue<uint64_t>(), sys::RandomValue<uint64_t>()),
                   .model = call.request.model,
                   .prompt_param = call.chat ? "messages" : "prompt",
                   .created = std::chrono::duration_cast<std::chrono::seconds>(now).count(),
                   .chat = call.chat,
                   .stream = call.stream,
                   .include_usage = call.include_usage,
                   .choices = call.request.choices,
                   .logprobs = call.request.sampler.logprobs});
  return Generate(api, std::move(call.request), std::move(encoder));
}

HttpResponse OneModel(const node::Api& api, const std::string& name) {
  for (const node::ModelView& model : api.Models()) {
    if (model.name == name || model.id.Hex() == name) return {.body = Dump(ModelJson(model))};
  }
  return ErrorResponse({404,
                        fmt::format("the model '{}' does not exist; /v1/models lists those that do",
                                    name.substr(0, 128)),
                        "model", "model_not_found"});
}

}  // namespace

Dialect MakeDialect(node::Api& api) {
  Dialect dialect{.name = "OpenAI", .render = &ErrorResponse};
  dialect.routes = {
      {"POST", "/v1/chat/completions",
       [&api](HttpRequest request) {
         return ReadCompletion(api, request, ParseChatRequest(request.body));
       }},
      {"POST", "/v1/completions",
       [&api](HttpRequest request) {
         return ReadCompletion(api, request, ParseCompletionRequest(request.body));
       }},
      {"GET", "/v1/models",
       [&api](HttpRequest) -> Parsed<Action> {
         return Reply([&api] { return HttpResponse{.body = Dump(ModelListJson(api.Models()))}; });
       }},
      {"GET", std::string(kModelsPrefix), [&api](HttpRequest request) -> Parsed<Action> {
         return Reply(
             [&api, name = Unescape(std::string_view(request.path).substr(kModelsPrefix.size()))] {
               return OneModel(api, name);
             });
       }}};
  return dialect;
}

}  // namespace exo::service::openai
