#include "service/openai/openai.h"

#include <algorithm>
#include <iterator>

#include "service/http/paths.h"
#include "service/openai/completions.h"
#include "service/openai/embeddings.h"
#include "service/openai/errors.h"
#include "service/openai/models.h"
#include "service/openai/parse_request.h"
#include "service/openai/responses.h"
#include "service/request_fields.h"
#include "service/waiting.h"

namespace exo::service::openai {
namespace {

constexpr std::string_view kModelsPrefix = "/v1/models/";

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
  std::ranges::move(ResponseRoutes(api), std::back_inserter(dialect.routes));
  return dialect;
}

}  // namespace exo::service::openai
