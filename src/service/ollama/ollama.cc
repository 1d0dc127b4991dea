#include "service/ollama/ollama.h"

#include "service/answer.h"
#include "service/fields.h"
#include "service/http/limits.h"
#include "service/keep_alive.h"
#include "service/ollama/create.h"
#include "service/ollama/encode.h"
#include "service/ollama/models.h"
#include "service/ollama/parse.h"
#include "service/ollama/pull.h"
#include "service/prompts.h"
#include "service/readouts.h"
#include "service/removals.h"
#include "service/request_fields.h"
#include "service/waiting.h"

namespace exo::service::ollama {
namespace {

// The version whose API this is; some clients stay away from older ones.
constexpr const char* kVersion = R"({"version":"0.12.0"})";

// Without a question or a text a model is only loaded.
Action LoadAlone(node::Api& api, const node::GenerateRequest& request, Json answer) {
  return AskNode(&Failed, [&api, model = request.model, keep_ms = request.keep_ms,
                           answer = std::move(answer)](Waiting& waiting) {
    api.Load(model, {.keep_ms = keep_ms},
             waiting.Callback<node::PlanView>([answer](const node::PlanView&) { return answer; }));
  });
}

// How long a model stays concerns everybody who uses it.
void KeepOnlyIfAllowed(const Caller& caller, node::GenerateRequest& request) {
  if (!caller.May(Scope::kModels)) request.keep_ms.reset();
}

Parsed<Action> Answer(node::Api& api, HttpRequest& request, Parsed<Call> read) {
  Call call = TRY(std::move(read));
  const std::string model = call.request.model;
  KeepOnlyIfAllowed(request.caller, call.request);
  if (call.wish == Wish::kLoad)
    return LoadAlone(api, call.request, EmptyAnswer(model, call.chat, "load"));
  if (call.wish == Wish::kUnload) {
    if (!request.caller.May(Scope::kModels)) {
      return std::unexpected(ApiError{403, "unloading a model needs a key with the scope models",
                                      "", "insufficient_scope"});
    }
    return AskNode(&Failed, [&api, model, chat = call.chat](Waiting& waiting) {
      api.Unload(model, true, waiting.Done({.body = Dump(EmptyAnswer(model, chat, "unload"))}));
    });
  }
  TakeAsker(request, "", call.request);
  auto encoder = MakeEncoder({.model = model,
                              .chat = call.chat,
                              .stream = call.stream,
                              .context = call.request.tells_prompt});
  return Generate(api, std::move(call.request), std::move(encoder), request.caller);
}

Parsed<Action> Embed(node::Api& api, HttpRequest& request) {
  const Json body = TRY(ParseBody(request.body));
  const std::string model = TRY(ReadModelName(body, "model"));
  node::GenerateRequest like{.model = model,
                             .readout = node::ReadoutRequest{
                                 .dimensions = static_cast<uint32_t>(
                                     TRY(ReadInteger(body, "dimensions", 0, 1 << 17)).value_or(0)),
                                 .truncate = TRY(ReadBool(body, "truncate")).value_or(true)}};
  TRY(ReadOptionsObject(body));
  like.keep_ms = TRY(ReadKeepAlive(body));
  KeepOnlyIfAllowed(request.caller, like);
  const Json* input = Find(body, "input");
  if (input == nullptr || *input == "" || *input == Json::array())
    return LoadAlone(api, like, {{"model", model}, {"embeddings", Json::array()}});
  TakeAsker(request, "", like);
  return ReadTexts(
      api, TRY(ReadPrompts(body, "input", like, {.most = kMaxTexts})),
      {.render =
           [model](const Readouts& readouts) {
             std::string vectors;
             for (const std::vector<float>& values : readouts.values)
               vectors += (vectors.empty() ? "" : ",") + NumbersJson(values);
             return HttpResponse{
                 .body = fmt::format(R"({{"model":{},"embeddings":[{}],"total_duration":{:.0f},)"
                                     R"("load_duration":0,"prompt_eval_count":{}}})",
                                     Dump(model), vectors, readouts.milliseconds * 1e6,
                                     readouts.prompt_tokens)};
           },
       .fail = &ErrorResponse},
      request.caller);
}

// The older route: one text, and its vector as the model gives it.
Parsed<Action> EmbedOne(node::Api& api, HttpRequest& request) {
  const Json body = TRY(ParseBody(request.body));
  node::GenerateRequest one{.model = TRY(ReadModelName(body, "model")),
                            .prompt = TRY(ReadText(body, "prompt")),
                            .readout = node::ReadoutRequest{.unit = false, .truncate = true}};
  TRY(ReadOptionsObject(body));
  one.keep_ms = TRY(ReadKeepAlive(body));
  KeepOnlyIfAllowed(request.caller, one);
  if (one.prompt->empty()) return LoadAlone(api, one, {{"embedding", Json::array()}});
  TakeAsker(request, "", one);
  return ReadTexts(api, {std::move(one)},
                   {.render =
                        [](const Readouts& readouts) {
                          return HttpResponse{.body = fmt::format(R"({{"embedding":{}}})",
                                                                  NumbersJson(readouts.values[0]))};
                        },
                    .fail = &ErrorResponse,
                    .field = "prompt"},
                   request.caller);
}

Parsed<Action> Show(node::Api& api, const HttpRequest& request) {
  const std::string model = TRY(ReadName(TRY(ParseBody(request.body))));
  return AskNode(&Failed, [&api, model](Waiting& waiting) {
    const auto preset = api.FindPreset(model);
    api.DescribeModel(
        model, waiting.Callback<std::shared_ptr<const node::ModelDetails>>(
                   [preset](const auto& details) { return ShowJson(*details, preset.get()); }));
  });
}

Parsed<Action> Delete(node::Api& api, const HttpRequest& request) {
  const Json body = TRY(ParseBody(request.body));
  const std::string model = TRY(ReadName(body));
  const bool everywhere = TRY(ReadBool(body, "everywhere")).value_or(false);
  return AskNode(&Failed, [&api, model, everywhere](Waiting& waiting) {
    api.RemoveModel(
        model, everywhere,
        waiting.Callback<std::vector<node::RemovalView>>(
            [everywhere](const std::vector<node::RemovalView>& removals) {
              return HttpResponse{.body = everywhere ? Dump(RemovalsJson(removals)) : ""};
            }));
  });
}

constexpr const char* kNoBlobs =
    "files are not sent here; put them into a model folder (exo up --models FOLDER), and "
    "/api/create makes models from those that are there";

Route Refused(const char* path, const char* why) {
  return {.method = kAnyMethod,
          .path = path,
          .scope = Scope::kModels,
          .read = [path, why](const HttpRequest&) -> Parsed<Action> {
            return std::unexpected(ApiError{400, fmt::format("{} is not supported: {}", path, why),
                                            "", "not_supported"});
          },
          .listed = false};
}

}  // namespace

Dialect MakeDialect(node::Api& api) {
  Dialect dialect{.name = "Ollama", .render = &ErrorResponse, .root = "/api/"};
  const auto get = [](std::function<HttpResponse()> response) {
    return [response = std::move(response)](HttpRequest) -> Parsed<Action> {
      return AnswerNow(response);
    };
  };
  dialect.routes = {
      {"POST", "/api/chat", Scope::kInfer,
       [&api](HttpRequest request) {
         return Answer(api, request, ParseChat(request.body, api.grammars()));
       }},
      {"POST", "/api/generate", Scope::kInfer,
       [&api](HttpRequest request) {
         return Answer(api, request, ParseGenerate(request.body, api.grammars()));
       }},
      {"GET", "/api/version", Scope::kInfer, get([] { return HttpResponse{.body = kVersion}; })},
      {"GET", "/api/tags", Scope::kInfer,
       get([&api] { return HttpResponse{.body = Dump(TagsJson(api.Models()))}; })},
      {"GET", "/api/ps", Scope::kInfer, get([&api] {
         return HttpResponse{.body = Dump(RunningJson(api.Cluster(), api.Models()))};
       })},
      {"POST", "/api/embed", Scope::kInfer,
       [&api](HttpRequest request) { return Embed(api, request); }},
      {"POST", "/api/embeddings", Scope::kInfer,
       [&api](HttpRequest request) { return EmbedOne(api, request); }},
      {"POST", "/api/show", Scope::kInfer,
       [&api](const HttpRequest& request) { return Show(api, request); }},
      {"DELETE", "/api/delete", Scope::kModels,
       [&api](const HttpRequest& request) { return Delete(api, request); }},
      {"POST", "/api/pull", Scope::kModels,
       [&api](const HttpRequest& request) { return ReadPull(api, request); }},
      {"POST", "/api/create", Scope::kModels,
       [&api](const HttpRequest& request) { return ReadCreate(api, request); }},
      {"POST", "/api/copy", Scope::kModels,
       [&api](const HttpRequest& request) { return ReadCopy(api, request); }},
      Refused("/api/push", "models are not sent to a registry"),
      Refused("/api/blobs/", kNoBlobs)};
  return dialect;
}

}  // namespace exo::service::ollama
