#include "service/anthropic/anthropic.h"

#include "service/answer.h"
#include "service/anthropic/encode.h"
#include "service/anthropic/errors.h"
#include "service/anthropic/parse.h"
#include "service/presets.h"
#include "service/waiting.h"

namespace exo::service::anthropic {
namespace {

Parsed<Action> ReadMessage(node::Api& api, HttpRequest request) {
  MessageCall call = TRY(ParseMessages(request.body, Purpose::kAnswer, api.grammars()));
  TakeAsker(request, call.user, call.request);
  auto encoder = MakeEncoder({.model = call.request.model, .stream = call.stream});
  return Generate(api, std::move(call.request), std::move(encoder), request.caller);
}

Parsed<Action> ReadCount(node::Api& api, const HttpRequest& request) {
  MessageCall call = TRY(ParseMessages(request.body, Purpose::kCount, api.grammars()));
  const auto failure = [](const Error& error) { return ErrorResponse(FromModelError(error)); };
  return AskNode(failure, [&api, call = std::move(call)](Waiting& waiting) mutable {
    ApplyPreset(api, call.request);
    api.Tokenize(std::move(call.request),
                 waiting.Callback<node::TokenizedPrompt>([](const node::TokenizedPrompt& prompt) {
                   return Json{{"input_tokens", prompt.ids.size()}};
                 }));
  });
}

}  // namespace

Dialect MakeDialect(node::Api& api) {
  Dialect dialect{.name = "Anthropic", .render = &ErrorResponse, .root = "/v1/messages/"};
  dialect.routes = {{"POST", "/v1/messages", Scope::kInfer,
                     [&api](HttpRequest request) { return ReadMessage(api, std::move(request)); }},
                    {"POST", "/v1/messages/count_tokens", Scope::kInfer,
                     [&api](HttpRequest request) { return ReadCount(api, request); }}};
  return dialect;
}

}  // namespace exo::service::anthropic
