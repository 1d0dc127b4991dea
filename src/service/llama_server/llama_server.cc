#include "service/llama_server/llama_server.h"

#include <algorithm>

#include "node/version.h"
#include "service/answer.h"
#include "service/default_model.h"
#include "service/llama_server/encode.h"
#include "service/llama_server/parse.h"
#include "service/presets.h"
#include "service/readouts.h"
#include "service/waiting.h"

namespace exo::service::llama_server {
namespace {

HttpResponse Failed(const Error& error) {
  return ErrorResponse(FromModelError(error));
}

Parsed<Action> Complete(node::Api& api, HttpRequest& request, Parsed<Call> read) {
  Call call = TRY(std::move(read));
  TakeAsker(request, "", call.request);
  return [&api, call = std::move(call), caller = request.caller](Exchange& exchange) mutable {
    if (call.request.model.empty()) call.request.model = DefaultModel(api);
    auto encoder =
        MakeEncoder({.model = call.request.model, .stream = call.stream, .warms = call.warms});
    return Generate(api, std::move(call.request), std::move(encoder), caller)(exchange);
  };
}

Json TokensJson(const node::TokenizedPrompt& prompt) {
  return {{"tokens", prompt.ids}};
}

Parsed<Action> Tokenize(node::Api& api, const HttpRequest& request) {
  TokenizeCall call = TRY(ParseTokenize(request.body));
  if (call.with_pieces) return NotSupported("with_pieces");
  return AskNode(&Failed, [&api, call = std::move(call)](Waiting& waiting) mutable {
    if (call.request.model.empty()) call.request.model = DefaultModel(api);
    api.Tokenize(std::move(call.request), waiting.Callback<node::TokenizedPrompt>(&TokensJson));
  });
}

Parsed<Action> Detokenize(node::Api& api, const HttpRequest& request) {
  DetokenizeCall call = TRY(ParseDetokenize(request.body));
  return AskNode(&Failed, [&api, call = std::move(call)](Waiting& waiting) mutable {
    if (call.model.empty()) call.model = DefaultModel(api);
    api.Detokenize(std::move(call.model), std::move(call.tokens),
                   waiting.Callback<std::string>(
                       [](const std::string& text) { return Json{{"content", text}}; }));
  });
}

Parsed<Action> ApplyTemplate(node::Api& api, const HttpRequest& request) {
  node::GenerateRequest chat = TRY(ParseTemplate(request.body, api.grammars()));
  return AskNode(&Failed, [&api, chat = std::move(chat)](Waiting& waiting) mutable {
    if (chat.model.empty()) chat.model = DefaultModel(api);
    ApplyPreset(api, chat);
    api.Tokenize(std::move(chat),
                 waiting.Callback<node::TokenizedPrompt>([](const node::TokenizedPrompt& prompt) {
                   return Json{{"prompt", prompt.text}};
                 }));
  });
}

Json PropsJson(const std::string& model, const node::ModelDetails& details) {
  return {{"default_generation_settings", {{"n_ctx", details.context}}},
          {"total_slots", 1},
          {"model_path", model},
          {"model_alias", model},
          {"chat_template", details.chat_template},
          {"bos_token", details.bos},
          {"eos_token", details.eos},
          {"modalities", {{"vision", false}, {"audio", false}}},
          {"build_info", fmt::format("exo {}", node::kVersion)},
          {"is_sleeping", false}};
}

Parsed<Action> Props(node::Api& api) {
  return AskNode(&Failed, [&api](Waiting& waiting) {
    const std::string model = DefaultModel(api);
    api.DescribeModel(model,
                      waiting.Callback<std::shared_ptr<const node::ModelDetails>>(
                          [model](const auto& details) { return PropsJson(model, *details); }));
  });
}

// One text has its vector in a list of its own, as for a model that gives one for each token.
Parsed<Action> Embed(node::Api& api, HttpRequest& request) {
  EmbeddingCall call = TRY(ParseEmbedding(request.body));
  TakeAsker(request, "", call.requests);
  return ReadTexts(api, std::move(call.requests),
                   {.render =
                        [](const Readouts& readouts) {
                          std::string body = "[";
                          for (size_t i = 0; i < readouts.values.size(); ++i)
                            body +=
                                fmt::format(R"({}{{"index":{},"embedding":[{}]}})",
                                            i == 0 ? "" : ",", i, NumbersJson(readouts.values[i]));
                          return HttpResponse{.body = body + "]"};
                        },
                    .fail = &ErrorResponse,
                    .field = call.field},
                   request.caller);
}

// A slot per answer that is being computed, and one that waits for the next.
Json SlotsJson(const node::ClusterView& cluster) {
  Json slots = Json::array();
  for (const node::InstanceView& instance : cluster.instances) {
    if (instance.summary.state != wire::InstanceState::kReady) continue;
    for (uint32_t i = 0; i <= instance.summary.active_requests; ++i) {
      slots.push_back({{"id", slots.size()},
                       {"n_ctx", instance.summary.plan.context},
                       {"model", instance.summary.plan.model_name},
                       {"is_processing", i < instance.summary.active_requests}});
    }
  }
  return slots;
}

}  // namespace

Dialect MakeDialect(node::Api& api) {
  Dialect dialect{.name = "llama-server", .render = &ErrorResponse};
  const auto completion = [&api](HttpRequest request) {
    return Complete(api, request, ParseCompletion(request.body, api.grammars()));
  };
  dialect.routes = {
      {"POST", "/completion", Scope::kInfer, completion},
      {"POST", "/completions", Scope::kInfer, completion, false},
      {"POST", "/infill", Scope::kInfer,
       [&api](HttpRequest request) {
         return Complete(api, request, ParseInfill(request.body, api.grammars()));
       }},
      {"POST", "/embedding", Scope::kInfer,
       [&api](HttpRequest request) { return Embed(api, request); }},
      {"POST", "/embeddings", Scope::kInfer,
       [&api](HttpRequest request) { return Embed(api, request); }, false},
      {"POST", "/tokenize", Scope::kInfer,
       [&api](const HttpRequest& request) { return Tokenize(api, request); }},
      {"POST", "/detokenize", Scope::kInfer,
       [&api](const HttpRequest& request) { return Detokenize(api, request); }},
      {"POST", "/apply-template", Scope::kInfer,
       [&api](const HttpRequest& request) { return ApplyTemplate(api, request); }},
      {"GET", "/props", Scope::kInfer, [&api](const HttpRequest&) { return Props(api); }},
      {"GET", "/slots", Scope::kInfer, [&api](const HttpRequest&) -> Parsed<Action> {
         return AnswerNow([&api] { return HttpResponse{.body = Dump(SlotsJson(api.Cluster()))}; });
       }}};
  return dialect;
}

}  // namespace exo::service::llama_server
