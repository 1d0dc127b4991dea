#include "service/openai/openai.h"

#include "service/answer.h"
#include "service/http/paths.h"
#include "service/openai/completions.h"
#include "service/openai/embeddings.h"
#include "service/openai/encode_responses.h"
#include "service/openai/errors.h"
#include "service/openai/ids.h"
#include "service/openai/models.h"
#include "service/openai/parse_request.h"
#include "service/openai/parse_responses.h"
#include "service/openai/response_store.h"
#include "service/presets.h"
#include "service/request_fields.h"
#include "service/waiting.h"

namespace exo::service::openai {
namespace {

constexpr std::string_view kModelsPrefix = "/v1/models/";

using Store = std::shared_ptr<ResponseStore>;

// The conversation so far, and the new messages. Errors: a conversation that is not there.
Parsed<> GoOn(const ResponseStore& store, const Caller& caller, ResponseCall& call) {
  std::vector<model::ChatMessage>& messages = call.request.messages;
  if (call.previous.empty()) return {};
  const ResponseStore::Messages* before = store.Find(caller.key, call.previous);
  if (before == nullptr) {
    return std::unexpected(ApiError{
        400,
        fmt::format("the response '{}' is not kept here (any more): send the whole conversation as "
                    "'input'",
                    call.previous.substr(0, 128)),
        "previous_response_id", "previous_response_not_found"});
  }
  messages.insert(messages.begin(), before->begin(), before->end());
  return {};
}

void AddInstructions(ResponseCall& call) {
  if (call.instructions.empty()) return;
  call.request.messages.insert(call.request.messages.begin(),
                               {.role = "system", .content = std::move(call.instructions)});
}

std::unique_ptr<Handler> Respond(node::Api& api, const Store& store, ResponseCall call,
                                 Caller caller, Exchange& exchange) {
  if (const auto found = GoOn(*store, caller, call); !found) {
    exchange.Send(ErrorResponse(found.error()));
    return nullptr;
  }
  ResponseOptions options{.id = NewId("resp_"),
                          .model = call.request.model,
                          .created = SecondsNow(),
                          .stream = call.stream,
                          .echo = std::move(call.echo),
                          .namespaced = std::move(call.namespaced)};
  if (call.store) {
    options.keep = [store, id = options.id, key = caller.key,
                    messages = call.request.messages](model::ChatMessage answer) mutable {
      messages.push_back(std::move(answer));
      store->Add(key, id, std::move(messages));
    };
  }
  AddInstructions(call);
  return Generate(api, std::move(call.request), MakeResponseEncoder(std::move(options)),
                  std::move(caller))(exchange);
}

Parsed<Action> ReadResponse(node::Api& api, const Store& store, HttpRequest& request) {
  ResponseCall call = TRY(ParseResponseRequest(request.body, api.grammars()));
  TakeAsker(request, call.user, call.request);
  return
      [&api, store, call = std::move(call), caller = request.caller](Exchange& exchange) mutable {
        return Respond(api, store, std::move(call), std::move(caller), exchange);
      };
}

Parsed<Action> CountResponse(node::Api& api, const Store& store, const HttpRequest& request) {
  ResponseCall call = TRY(ParseResponseRequest(request.body, api.grammars()));
  const auto failure = [](const Error& error) { return ErrorResponse(FromModelError(error)); };
  return [&api, store, failure, caller = request.caller,
          call = std::move(call)](Exchange& exchange) mutable -> std::unique_ptr<Handler> {
    if (const auto found = GoOn(*store, caller, call); !found) {
      exchange.Send(ErrorResponse(found.error()));
      return nullptr;
    }
    AddInstructions(call);
    ApplyPreset(api, call.request);
    auto waiting = std::make_unique<Waiting>(exchange, failure);
    api.Tokenize(std::move(call.request),
                 waiting->Callback<node::TokenizedPrompt>([](const node::TokenizedPrompt& prompt) {
                   return Json{{"object", "response.input_tokens"},
                               {"input_tokens", prompt.ids.size()}};
                 }));
    return waiting;
  };
}

Route Unserved(const char* path) {
  return {.method = kAnyMethod,
          .path = path,
          .scope = Scope::kInfer,
          .read = [path](const HttpRequest&) -> Parsed<Action> {
            return std::unexpected(ApiError{
                404, fmt::format("{} is not served here: this server answers with text only", path),
                "", "not_supported"});
          },
          .listed = false};
}

HttpResponse OneModel(const node::Api& api, const std::string& name) {
  for (const node::ModelView& model : api.Models()) {
    const bool by_id = model.base.empty() && model.id.Hex() == name;
    if (model.name == name || by_id) return {.body = Dump(ModelJson(model))};
  }
  return ErrorResponse({404,
                        fmt::format("the model '{}' does not exist; /v1/models lists those that do",
                                    name.substr(0, 128)),
                        "model", "model_not_found"});
}

}  // namespace

Dialect MakeDialect(node::Api& api) {
  Dialect dialect{.name = "OpenAI", .render = &ErrorResponse};
  const auto store = std::make_shared<ResponseStore>();
  const auto rerank = [&api](HttpRequest request) { return ReadRerank(api, std::move(request)); };
  dialect.routes = {
      {"POST", "/v1/chat/completions", Scope::kInfer,
       [&api](HttpRequest request) {
         return AnswerCompletion(api, request, ParseChatRequest(request.body, api.grammars()));
       }},
      {"POST", "/v1/completions", Scope::kInfer,
       [&api](HttpRequest request) {
         return AnswerCompletion(api, request,
                                 ParseCompletionRequest(request.body, api.grammars()));
       }},
      {"POST", "/v1/responses", Scope::kInfer,
       [&api, store](HttpRequest request) { return ReadResponse(api, store, request); }},
      {"POST", "/v1/responses/input_tokens", Scope::kInfer,
       [&api, store](const HttpRequest& request) { return CountResponse(api, store, request); }},
      {"POST", "/v1/embeddings", Scope::kInfer,
       [&api](HttpRequest request) { return ReadEmbeddings(api, std::move(request)); }},
      {"POST", "/v1/rerank", Scope::kInfer, rerank},
      {"POST", "/v1/reranking", Scope::kInfer, rerank, false},
      {"POST", "/rerank", Scope::kInfer, rerank, false},
      {"POST", "/reranking", Scope::kInfer, rerank, false},
      {"POST", "/v1/score", Scope::kInfer,
       [&api](HttpRequest request) { return ReadScore(api, std::move(request)); }},
      Unserved("/v1/files"),
      Unserved("/v1/files/"),
      Unserved("/v1/batches"),
      Unserved("/v1/batches/"),
      Unserved("/v1/moderations"),
      Unserved("/v1/audio/"),
      Unserved("/v1/images/"),
      {"GET", "/v1/models", Scope::kInfer,
       [&api](HttpRequest) -> Parsed<Action> {
         return AnswerNow(
             [&api] { return HttpResponse{.body = Dump(ModelListJson(api.Models()))}; });
       }},
      {"GET", std::string(kModelsPrefix), Scope::kInfer,
       [&api](HttpRequest request) -> Parsed<Action> {
         return AnswerNow(
             [&api, name = WithoutTag(
                        Unescape(std::string_view(request.path).substr(kModelsPrefix.size())))] {
               return OneModel(api, name);
             });
       }}};
  return dialect;
}

}  // namespace exo::service::openai
