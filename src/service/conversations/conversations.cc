#include "service/conversations/conversations.h"

#include <charconv>
#include <chrono>

#include "service/conversations/import_answer.h"
#include "service/conversations/rows.h"
#include "service/fields.h"
#include "service/http/paths.h"
#include "service/waiting.h"
#include "sys/files.h"

namespace exo::service::conversations {
namespace {

constexpr std::string_view kPrefix = "/v1/conversations/";

// What the routes share.
struct Context {
  node::Api& api;
  Render render;
};

int64_t NowMs() {
  return std::chrono::system_clock::now().time_since_epoch() / std::chrono::milliseconds(1);
}

Waiting::Failure FailingAs(const Render& render) {
  return [render](const Error& error) { return render(FromError(error)); };
}

// ask(conversations, waiting) runs on the loop, where conversations are kept at all.
template <class Ask>
Action AskKept(const Context& context, Ask ask) {
  return [context, ask = std::move(ask)](Exchange& exchange) mutable -> std::unique_ptr<Handler> {
    node::Conversations* kept = context.api.conversations();
    if (kept == nullptr) {
      exchange.Send(context.render(
          {404,
           "this device keeps no conversations: its setting 'conversations' is off (exo config)",
           "", "conversations_off"}));
      return nullptr;
    }
    return ask(*kept, exchange);
  };
}

// The same for a question with one answer.
template <class Ask>
Action AskOnce(const Context& context, Ask ask) {
  return AskKept(
      context,
      [failure = FailingAs(context.render), ask = std::move(ask)](
          node::Conversations& kept, Exchange& exchange) mutable -> std::unique_ptr<Handler> {
        auto waiting = std::make_unique<Waiting>(exchange, failure);
        ask(kept, *waiting);
        return waiting;
      });
}

Parsed<Json> ReadBody(const std::string& body) {
  auto json = ParseJson(body);
  if (!json) return std::unexpected(ApiError{400, json.error().message, "", "invalid_json"});
  if (!json->is_object())
    return std::unexpected(ApiError{400, "the body must be a JSON object", "", "invalid_json"});
  return *std::move(json);
}

// The row that a path names: /v1/conversations/ID or …/ID/messages/MESSAGE.
Parsed<wire::RowKey> ReadKey(const HttpRequest& request) {
  const std::string_view rest = std::string_view(request.path).substr(kPrefix.size());
  const size_t slash = rest.find('/');
  wire::RowKey key{.owner = request.caller.key,
                   .conversation = TRY(ReadId<ConversationId>(rest.substr(0, slash), "id"))};
  if (slash == std::string_view::npos) return key;
  key.message = TRY(ReadId<MessageId>(rest.substr(rest.rfind('/') + 1), "message"));
  return key;
}

Parsed<node::ConversationQuery> ReadQuery(const HttpRequest& request) {
  node::ConversationQuery query{.owner = request.caller.key,
                                .search = QueryField(request.query, "search").value_or(""),
                                .before = QueryField(request.query, "before").value_or("")};
  if (query.search.size() > node::kMaxSearch) {
    return BadValue("search", fmt::format("'search' has {} bytes, but must have at most {}",
                                          query.search.size(), node::kMaxSearch));
  }
  if (const auto limit = QueryField(request.query, "limit")) {
    const char* end = limit->data() + limit->size();
    const auto read = std::from_chars(limit->data(), end, query.limit);
    if (read.ec != std::errc() || read.ptr != end || query.limit < 1 ||
        query.limit > node::kMaxPage) {
      return BadValue("limit", fmt::format("'limit' is '{}', but must be from 1 to {}",
                                           limit->substr(0, 64), node::kMaxPage));
    }
  }
  return query;
}

Json PageJson(const node::ConversationPage& page) {
  Json data = Json::array();
  for (const node::ConversationSummary& one : page.data) data.push_back(ListedJson(one));
  return {{"data", std::move(data)}, {"next", page.next.empty() ? Json() : Json(page.next)}};
}

Parsed<Action> ReadList(const Context& context, const HttpRequest& request) {
  return AskOnce(context,
                 [query = TRY(ReadQuery(request))](node::Conversations& kept, Waiting& waiting) {
                   kept.List(query, waiting.Callback<node::ConversationPage>(&PageJson));
                 });
}

// A conversation is made or changed; without `exists` it is a new one.
Parsed<Action> ReadConversation(const Context& context, const HttpRequest& request,
                                wire::RowKey key, bool exists) {
  const ConversationFields fields = TRY(ReadConversationFields(TRY(ReadBody(request.body))));
  auto change = [fields, exists, id = key.conversation](
                    const node::RowContent* now) -> Result<std::optional<node::RowContent>> {
    if (exists && now == nullptr)
      return Fail(ErrorCode::kNotFound, "there is no conversation {}", id.Hex());
    return WithFields(now, fields, NowMs());
  };
  return AskOnce(context, [key, change = std::move(change)](node::Conversations& kept,
                                                            Waiting& waiting) {
    kept.Change(
        key, change,
        waiting.Callback<node::WrittenRow>([id = key.conversation](const node::WrittenRow& row) {
          return ConversationJson({.id = id, .content = row.content, .updated_ms = row.updated_ms});
        }));
  });
}

Parsed<Action> ReadCreate(const Context& context, const HttpRequest& request) {
  return ReadConversation(
      context, request,
      {.owner = request.caller.key, .conversation = sys::RandomValue<ConversationId>()}, false);
}

Parsed<Action> ReadPatch(const Context& context, const HttpRequest& request) {
  return ReadConversation(context, request, TRY(ReadKey(request)), true);
}

Parsed<Action> ReadWhole(const Context& context, const HttpRequest& request) {
  return AskKept(context,
                 [key = TRY(ReadKey(request)), render = context.render](
                     node::Conversations& kept, Exchange& exchange) -> std::unique_ptr<Handler> {
                   auto stream =
                       std::make_unique<ConversationStream>(kept, key.owner, render, exchange);
                   stream->StartOne(key.conversation);
                   return stream;
                 });
}

Parsed<Action> ReadExport(const Context& context, const HttpRequest& request) {
  return AskKept(context,
                 [owner = request.caller.key, render = context.render](
                     node::Conversations& kept, Exchange& exchange) -> std::unique_ptr<Handler> {
                   auto stream =
                       std::make_unique<ConversationStream>(kept, owner, render, exchange);
                   stream->StartAll();
                   return stream;
                 });
}

Parsed<Action> ReadPut(const Context& context, const HttpRequest& request) {
  const wire::RowKey key = TRY(ReadKey(request));
  auto change = [fields = TRY(ReadMessageFields(TRY(ReadBody(request.body))))](
                    const node::RowContent* now) -> Result<std::optional<node::RowContent>> {
    return ToContent(fields, now, NowMs());
  };
  return AskOnce(context, [key, change = std::move(change)](node::Conversations& kept,
                                                            Waiting& waiting) {
    kept.Change(key, change,
                waiting.Callback<node::WrittenRow>([id = key.message](const node::WrittenRow& row) {
                  return Json{{"id", id.Hex()}, {"updated", row.updated_ms}};
                }));
  });
}

Parsed<Action> ReadDelete(const Context& context, const HttpRequest& request) {
  const wire::RowKey key = TRY(ReadKey(request));
  const auto remove = [](const node::RowContent*) { return std::optional<node::RowContent>(); };
  const std::string id = key.message.IsZero() ? key.conversation.Hex() : key.message.Hex();
  return AskOnce(context, [key, remove, id](node::Conversations& kept, Waiting& waiting) {
    kept.Change(key, remove, waiting.Callback<node::WrittenRow>([id](const node::WrittenRow&) {
      return Json{{"id", id}, {"deleted", true}};
    }));
  });
}

Parsed<Action> ReadImportBody(const Context& context, const HttpRequest& request) {
  const Json body = TRY(ReadBody(request.body));
  const bool streams = TRY(ReadBool(body, "stream")).value_or(false);
  auto rows = TRY(ReadImport(body, request.caller.key, NowMs()));
  return AskKept(
      context,
      [rows = std::move(rows), streams, render = context.render](
          node::Conversations& kept, Exchange& exchange) mutable -> std::unique_ptr<Handler> {
        auto answer = std::make_unique<ImportAnswer>(exchange, render, streams);
        answer->Begin(kept, std::move(rows));
        return answer;
      });
}

}  // namespace

std::vector<Route> MakeRoutes(node::Api& api, const Render& render) {
  using Reader = Parsed<Action> (*)(const Context&, const HttpRequest&);
  const auto route = [context = Context{api, render}](const char* method, std::string path,
                                                      Reader read) {
    return Route{
        .method = method,
        .path = std::move(path),
        .scope = Scope::kInfer,
        .read = [context, read](const HttpRequest& request) { return read(context, request); },
        .listed = false};
  };
  const std::string list = "/v1/conversations";
  const std::string one = list + "/{id}";
  const std::string message = one + "/messages/{id}";
  return {route("GET", list, &ReadList),
          route("POST", list, &ReadCreate),
          route("GET", list + "/export", &ReadExport),
          route("POST", list + "/import", &ReadImportBody),
          route("GET", one, &ReadWhole),
          route("PATCH", one, &ReadPatch),
          route("DELETE", one, &ReadDelete),
          route("PUT", message, &ReadPut),
          route("DELETE", message, &ReadDelete)};
}

}  // namespace exo::service::conversations
