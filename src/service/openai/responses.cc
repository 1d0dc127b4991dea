#include "service/openai/responses.h"

#include <algorithm>
#include <charconv>
#include <span>

#include "service/answer.h"
#include "service/http/paths.h"
#include "service/openai/encode_responses.h"
#include "service/openai/errors.h"
#include "service/openai/ids.h"
#include "service/openai/parse_responses.h"
#include "service/openai/response_store.h"
#include "service/presets.h"
#include "service/request_fields.h"
#include "service/waiting.h"

namespace exo::service::openai {
namespace {

constexpr std::string_view kResponsesPrefix = "/v1/responses/";

using Store = std::shared_ptr<ResponseStore>;

// The conversation so far and the new messages; null where it begins with this request. Errors: a
// conversation that is not there.
Parsed<const StoredResponse*> GoOn(const ResponseStore& store, const Caller& caller,
                                   ResponseCall& call) {
  std::vector<model::ChatMessage>& messages = call.request.messages;
  if (call.previous.empty()) return nullptr;
  const StoredResponse* before = store.Find(caller.key, call.previous);
  if (before == nullptr) {
    return std::unexpected(ApiError{
        400,
        fmt::format("the response '{}' is not kept here (any more): send the whole conversation as "
                    "'input'",
                    call.previous.substr(0, 128)),
        "previous_response_id", "previous_response_not_found"});
  }
  messages.insert(messages.begin(), before->messages.begin(), before->messages.end());
  return before;
}

void AddInstructions(ResponseCall& call) {
  if (call.instructions.empty()) return;
  call.request.messages.insert(call.request.messages.begin(),
                               {.role = "system", .content = std::move(call.instructions)});
}

// An item of the input as lists show it: with an id, its type, and its content in parts.
StoredItem ItemOf(Json item) {
  std::string type = StringField(item, "type");
  if (type.empty()) type = "message";
  std::string id = StringField(item, "id");
  if (id.empty()) id = NewId(type == "message" ? "msg_" : type == "reasoning" ? "rs_" : "fc_");
  if (const Json& content = item["content"]; type == "message" && content.is_string()) {
    Json part = {{"type", "input_text"}, {"text", content}};
    if (item["role"] == "assistant")
      part = {{"type", "output_text"}, {"text", content}, {"annotations", Json::array()}};
    item["content"] = Json::array({std::move(part)});
  }
  if (item["content"].is_null()) item.erase("content");
  if (item["status"].is_null()) item["status"] = "completed";
  item["type"] = std::move(type);
  item["id"] = id;
  return {.id = std::move(id), .json = Dump(item)};
}

// What is kept of a response before its answer is there.
StoredResponse BeginStored(const StoredResponse* before, ResponseCall& call) {
  StoredResponse stored{.messages = call.request.messages};
  if (before != nullptr) stored.items = before->items;
  if (call.input.is_string())
    call.input = Json::array({{{"role", "user"}, {"content", std::move(call.input)}}});
  for (Json& item : call.input) stored.items.push_back(ItemOf(std::move(item)));
  stored.inputs = stored.items.size();
  return stored;
}

std::unique_ptr<Handler> Respond(node::Api& api, const Store& store, ResponseCall call,
                                 Caller caller, Exchange& exchange) {
  const auto before = GoOn(*store, caller, call);
  if (!before) {
    exchange.Send(ErrorResponse(before.error()));
    return nullptr;
  }
  ResponseOptions options{.id = NewId("resp_"),
                          .model = call.request.model,
                          .created = SecondsNow(),
                          .stream = call.stream,
                          .logprobs = call.request.sampler.logprobs,
                          .echo = std::move(call.echo),
                          .namespaced = std::move(call.namespaced)};
  if (call.store) {
    options.keep = [store, id = options.id, key = caller.key, stored = BeginStored(*before, call)](
                       model::ChatMessage answer, const Json& response) mutable {
      stored.messages.push_back(std::move(answer));
      for (const Json& item : response["output"])
        stored.items.push_back({StringField(item, "id"), Dump(item)});
      stored.json = Dump(response);
      store->Add(key, id, std::move(stored));
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

// ---- responses that are kept ----

// The {id} of a path.
std::string IdOf(const HttpRequest& request) {
  const std::string_view rest = std::string_view(request.path).substr(kResponsesPrefix.size());
  return Unescape(rest.substr(0, rest.find('/')));
}

HttpResponse NotKept(const std::string& id) {
  return ErrorResponse(
      {404,
       fmt::format("the response '{}' is not kept here: the latest {} are, of this run of the "
                   "node, unless they were made with 'store': false",
                   id.substr(0, 128), kMaxStoredResponses),
       "response_id", "response_not_found"});
}

// What `make` makes of the response that a path names, or 404.
template <class Make>
Action WithStored(const Store& store, const HttpRequest& request, Make make) {
  return AnswerNow([store, id = IdOf(request), key = request.caller.key, make = std::move(make)]() {
    const StoredResponse* stored = store->Find(key, id);
    return stored == nullptr ? NotKept(id) : make(*stored);
  });
}

Parsed<Action> RetrieveResponse(const Store& store, const HttpRequest& request) {
  if (const auto stream = QueryField(request.query, "stream"); stream && *stream == "true")
    return NotSupported("stream",
                        "'stream' of a response that is done is not supported: leave it "
                        "out and read it whole");
  return WithStored(store, request,
                    [](const StoredResponse& stored) { return HttpResponse{.body = stored.json}; });
}

Parsed<Action> DeleteResponse(const Store& store, const HttpRequest& request) {
  return AnswerNow([store, id = IdOf(request), key = request.caller.key] {
    if (!store->Remove(key, id)) return NotKept(id);
    return HttpResponse{.body = Dump({{"id", id}, {"object", "response"}, {"deleted", true}})};
  });
}

// A page of a list, as the query asks for it.
struct ItemPage {
  bool ascending = false;
  size_t limit = 20;
  std::string after;  // the last item of the page before; empty: the first page
};
Parsed<ItemPage> ReadPage(std::string_view query) {
  ItemPage page;
  if (const auto order = QueryField(query, "order")) {
    if (*order != "asc" && *order != "desc")
      return BadValue(
          "order", fmt::format("'order' is '{}', but must be asc or desc", order->substr(0, 64)));
    page.ascending = *order == "asc";
  }
  if (const auto limit = QueryField(query, "limit")) {
    constexpr size_t kMost = 100;
    const char* end = limit->data() + limit->size();
    const auto read = std::from_chars(limit->data(), end, page.limit);
    if (read.ec != std::errc() || read.ptr != end || page.limit < 1 || page.limit > kMost)
      return BadValue("limit", fmt::format("'limit' is '{}', but must be from 1 to {}",
                                           limit->substr(0, 64), kMost));
  }
  page.after = QueryField(query, "after").value_or("");
  return page;
}

HttpResponse ListItems(const StoredResponse& stored, const ItemPage& page) {
  std::vector<const StoredItem*> items;
  for (const StoredItem& item : std::span(stored.items).first(stored.inputs))
    items.push_back(&item);
  if (!page.ascending) std::ranges::reverse(items);
  if (!page.after.empty()) {
    const auto last = std::ranges::find(items, page.after, &StoredItem::id);
    if (last == items.end())
      return ErrorResponse({400,
                            fmt::format("'after' is '{}', which is no item of this response",
                                        page.after.substr(0, 128)),
                            "after", "invalid_value"});
    items.erase(items.begin(), last + 1);
  }
  const bool more = items.size() > page.limit;
  if (more) items.resize(page.limit);
  std::string data;
  for (const StoredItem* item : items) data += (data.empty() ? "" : ",") + item->json;
  const auto id = [&](bool first) {
    return items.empty() ? Json() : Json((first ? items.front() : items.back())->id);
  };
  return {.body = fmt::format(
              R"({{"object":"list","data":[{}],"first_id":{},"last_id":{},"has_more":{}}})", data,
              Dump(id(true)), Dump(id(false)), more)};
}

Parsed<Action> ReadItems(const Store& store, const HttpRequest& request) {
  return WithStored(store, request,
                    [page = TRY(ReadPage(request.query))](const StoredResponse& stored) {
                      return ListItems(stored, page);
                    });
}

// Only what runs in the background could be cancelled by another request.
Parsed<Action> RefuseCancel(const Store& store, const HttpRequest& request) {
  return WithStored(store, request, [](const StoredResponse&) {
    return ErrorResponse({400,
                          "this response is done: only those made with 'background' can be "
                          "canceled, which is not supported here",
                          "", "not_supported"});
  });
}

}  // namespace

std::vector<Route> ResponseRoutes(node::Api& api) {
  const auto store = std::make_shared<ResponseStore>();
  return {
      {"POST", "/v1/responses", Scope::kInfer,
       [&api, store](HttpRequest request) { return ReadResponse(api, store, request); }},
      {"POST", "/v1/responses/input_tokens", Scope::kInfer,
       [&api, store](const HttpRequest& request) { return CountResponse(api, store, request); }},
      {"GET", "/v1/responses/{id}", Scope::kInfer,
       [store](const HttpRequest& request) { return RetrieveResponse(store, request); }},
      {"DELETE", "/v1/responses/{id}", Scope::kInfer,
       [store](const HttpRequest& request) { return DeleteResponse(store, request); }},
      {"GET", "/v1/responses/{id}/input_items", Scope::kInfer,
       [store](const HttpRequest& request) { return ReadItems(store, request); }},
      {kAnyMethod, "/v1/responses/{id}/cancel", Scope::kInfer,
       [store](const HttpRequest& request) { return RefuseCancel(store, request); }, false}};
}

}  // namespace exo::service::openai
