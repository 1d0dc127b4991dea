#include "service/mcp/mcp.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "node/version.h"
#include "service/default_model.h"
#include "service/fields.h"
#include "service/mcp/chat.h"
#include "service/mcp/rpc.h"
#include "service/mcp/running.h"
#include "service/mcp/tools.h"
#include "service/mcp/views.h"
#include "service/request_fields.h"
#include "service/waiting.h"
#include "sys/files.h"
#include "wire/plan.h"

namespace exo::service::mcp {
namespace {

// Of the protocol, newest first. They differ in nothing that this server does.
constexpr std::array<std::string_view, 4> kVersions = {"2025-11-25", "2025-06-18", "2025-03-26",
                                                       "2024-11-05"};
constexpr size_t kMaxSession = 128;        // ours have 32 bytes
constexpr size_t kMaxText = 4096;          // of a model's name
constexpr size_t kMaxProgressToken = 256;  // it is told with each token of an answer

constexpr std::string_view kInstructions =
    "exo runs language models on the devices of this home. 'chat' asks one of them, 'models' lists "
    "them, 'devices' shows what they run on, 'plan' says how fast one would be.";

struct Server {
  node::Api& api;
  const std::shared_ptr<Running> running = std::make_shared<Running>();
};

// A request of a client, and what came with it.
struct Call {
  Message message;
  Caller caller;
  std::string session;
  Json progress_token = nullptr;
  bool streams = false;  // the client takes server-sent events
};

HttpResponse Reply(const Json& message, unsigned status = 200) {
  return {.status = status, .body = Dump(message)};
}

HttpResponse ErrorResponse(const ApiError& error) {
  Json message = ErrorMessage({.code = kTransportError, .message = error.message});
  if (!error.code.empty()) message["error"]["data"] = {{"code", error.code}};
  return WithRetryAfter({.status = error.status, .body = Dump(message)}, error);
}

Action Now(Json message, unsigned status = 200) {
  return AnswerNow([response = Reply(message, status)] { return response; });
}

bool IsKnownVersion(std::string_view version) {
  return std::ranges::find(kVersions, version) != kVersions.end();
}

// A version that is not ours is answered with our newest; the client decides whether it will do.
Action Initialize(const Call& call) {
  const Json* asked = Find(call.message.params, "protocolVersion");
  if (asked == nullptr || !asked->is_string()) {
    return Now(ErrorMessage(
        {kInvalidParams,
         fmt::format("'protocolVersion' must be a text, such as \"{}\"", kVersions.front()),
         call.message.id}));
  }
  const auto& wanted = asked->get_ref<const std::string&>();
  const Json result = {
      {"protocolVersion", IsKnownVersion(wanted) ? wanted : std::string(kVersions.front())},
      {"capabilities", {{"tools", {{"listChanged", false}}}}},
      {"serverInfo", {{"name", "exo"}, {"title", "exo"}, {"version", node::kVersion}}},
      {"instructions", kInstructions}};
  HttpResponse response = Reply(ResultMessage(call.message.id, result));
  response.headers = {{"Mcp-Session-Id", fmt::format("{:016x}{:016x}", sys::RandomValue<uint64_t>(),
                                                     sys::RandomValue<uint64_t>())}};
  return AnswerNow([response] { return response; });
}

Action ListTools(const Call& call) {
  Json list = Json::array();
  for (const Tool& tool : Tools()) {
    if (call.caller.May(tool.scope)) list.push_back(tool.description);
  }
  return Now(ResultMessage(call.message.id, {{"tools", std::move(list)}}));
}

// The tools. Each turns arguments into what is to be done.

Action ReadModels(Server& server, const Call& call) {
  return AnswerNow([&api = server.api, id = call.message.id] {
    return Reply(ResultMessage(id, ModelsResult(api.Models())));
  });
}

Action ReadDevices(Server& server, const Call& call) {
  return AnswerNow([&api = server.api, id = call.message.id] {
    return Reply(ResultMessage(id, DevicesResult(api.Cluster())));
  });
}

bool IsListed(const node::Api& api, const std::string& name) {
  return std::ranges::any_of(api.Models(), [&](const node::ModelView& model) {
    return model.name == name || model.id.Hex() == name ||
           std::ranges::find(model.names, name) != model.names.end();
  });
}

// Only of models that are listed: a path would have the node read files for whoever asks.
Parsed<Action> ReadPlan(Server& server, const Call& call, const Json& arguments) {
  node::Placing placing;
  const std::string model = WithoutTag(TRY(ReadRequiredString(arguments, "model", kMaxText)));
  placing.split = TRY(ReadSplit(arguments));
  placing.codec = TRY(ReadCodec(arguments));
  if (const auto context = TRY(ReadInteger(arguments, "context", 0, wire::kMaxContext)))
    placing.context = static_cast<uint32_t>(*context);
  return [&api = server.api, id = call.message.id, model,
          placing](Exchange& exchange) -> std::unique_ptr<Handler> {
    if (!IsListed(api, model)) {
      exchange.Send(Reply(ResultMessage(
          id, ToolError(fmt::format("there is no model '{}'; the tool 'models' lists those that "
                                    "there are",
                                    model.substr(0, 128))))));
      return nullptr;
    }
    auto waiting = std::make_unique<Waiting>(exchange, [id](const Error& error) {
      return Reply(ResultMessage(id, ToolError(error.message)));
    });
    api.MakePlan(model, placing, waiting->Callback<node::PlanView>([id](const auto& plan) {
      return ResultMessage(id, PlanResult(plan));
    }));
    return waiting;
  };
}

// Under which the client wants to hear of progress; null: it does not. Errors: what is none.
Parsed<Json> ProgressToken(const Json& params) {
  const Json* meta = Find(params, "_meta");
  const Json* token = meta != nullptr && meta->is_object() ? Find(*meta, "progressToken") : nullptr;
  if (token == nullptr || token->is_number_integer()) return token == nullptr ? Json() : *token;
  if (token->is_string() && token->get_ref<const std::string&>().size() <= kMaxProgressToken)
    return *token;
  return BadValue("progressToken",
                  fmt::format("'progressToken' is {}, but must be a whole number or a text of at "
                              "most {} bytes",
                              Shown(*token), kMaxProgressToken));
}

std::unique_ptr<Handler> Chat(Server& server, Call call, node::GenerateRequest request,
                              Exchange& exchange) {
  const Json& id = call.message.id;
  if (request.model.empty()) request.model = DefaultModel(server.api);
  if (request.model.empty()) {
    exchange.Send(Reply(ResultMessage(
        id, ToolError("there is no model: put a GGUF file into a model folder of a device"))));
    return nullptr;
  }
  auto encoder = MakeChatEncoder({.id = id,
                                  .progress_token = std::move(call.progress_token),
                                  .model = request.model,
                                  .max_tokens = request.max_tokens.value_or(0),
                                  .stream = call.streams});
  const CallName name{.key = call.caller.key, .session = std::move(call.session), .id = Dump(id)};
  std::vector<node::GenerateRequest> one;
  one.push_back(std::move(request));
  return Running::Keep(server.running, name,
                       StartAnswer(server.api, std::move(one), std::move(encoder),
                                   std::move(call.caller), exchange));
}

Parsed<Action> ReadTool(const std::shared_ptr<Server>& server, Call& call, const Tool& tool,
                        const Json& arguments, HttpRequest& request) {
  TRY(CheckArguments(tool, arguments));
  if (tool.name == kModelsTool) return ReadModels(*server, call);
  if (tool.name == kDevicesTool) return ReadDevices(*server, call);
  if (tool.name == kPlanTool) return ReadPlan(*server, call, arguments);
  node::GenerateRequest chat = TRY(ReadChat(arguments, request.body, server->api.grammars()));
  TakeAsker(request, "", chat);
  return [server, call = std::move(call), chat = std::move(chat)](Exchange& exchange) mutable {
    return Chat(*server, std::move(call), std::move(chat), exchange);
  };
}

// What is wrong with the arguments is told as a result, which the model that called reads.
Action CallTool(const std::shared_ptr<Server>& server, Call call, HttpRequest& request) {
  const Json id = call.message.id;
  const std::string name = StringField(call.message.params, "name");
  const Tool* tool = FindTool(name);
  if (tool == nullptr) {
    return Now(ErrorMessage({kInvalidParams,
                             fmt::format("there is no tool '{}'; tools/list lists those that there "
                                         "are",
                                         name.substr(0, 64)),
                             id}));
  }
  const Json* given = Find(call.message.params, "arguments");
  const Json arguments = given == nullptr ? Json::object() : *given;
  if (!arguments.is_object())
    return Now(ErrorMessage({kInvalidParams, "'arguments' must be an object", id}));
  if (!call.caller.May(tool->scope)) {
    return Now(ResultMessage(
        id, ToolError(fmt::format("your key may not use the tool '{}': it lacks the scope {}", name,
                                  NameOf(tool->scope)))));
  }
  auto progress_token = ProgressToken(call.message.params);
  if (!progress_token)
    return Now(ErrorMessage({kInvalidParams, progress_token.error().message, id}));
  call.progress_token = *std::move(progress_token);
  auto action = ReadTool(server, call, *tool, arguments, request);
  return action ? *std::move(action) : Now(ResultMessage(id, ToolError(action.error().message)));
}

Action AnswerRequest(const std::shared_ptr<Server>& server, Call call, HttpRequest& request) {
  const std::string& method = call.message.method;
  if (method == "initialize") return Initialize(call);
  if (method == "ping") return Now(ResultMessage(call.message.id, Json::object()));
  if (method == "tools/list") return ListTools(call);
  if (method == "tools/call") return CallTool(server, std::move(call), request);
  return Now(ErrorMessage({kMethodNotFound,
                           fmt::format("the method '{}' is not known here; there are initialize, "
                                       "ping, tools/list and tools/call",
                                       method.substr(0, 64)),
                           call.message.id}));
}

// Notifications and responses are accepted; only a cancellation changes something.
Action Accept(const std::shared_ptr<Server>& server, Call call) {
  return [server, call = std::move(call)](Exchange& exchange) -> std::unique_ptr<Handler> {
    const Json* id = Find(call.message.params, "requestId");
    if (call.message.method == "notifications/cancelled" && id != nullptr && !call.session.empty())
      server->running->Cancel({call.caller.key, call.session, Dump(*id)});
    exchange.Send({.status = 202, .body = ""});
    return nullptr;
  };
}

Parsed<> CheckHeaders(const HttpRequest& request) {
  if (!request.mcp_version.empty() && !IsKnownVersion(request.mcp_version)) {
    return std::unexpected(
        ApiError{400,
                 fmt::format("the MCP-Protocol-Version '{}' is not spoken here; there are {}",
                             request.mcp_version.substr(0, 64), fmt::join(kVersions, ", ")),
                 "", "bad_request"});
  }
  if (request.mcp_session.size() <= kMaxSession) return {};
  return std::unexpected(
      ApiError{400, fmt::format("the Mcp-Session-Id is longer than {} bytes", kMaxSession), "",
               "bad_request"});
}

Parsed<Action> ReadPost(const std::shared_ptr<Server>& server, HttpRequest request) {
  TRY(CheckHeaders(request));
  auto message = ReadMessage(request.body);
  if (!message) return Now(ErrorMessage(message.error()), 400);
  const bool is_request = message->kind == MessageKind::kRequest;
  Call call{.message = *std::move(message),
            .caller = request.caller,
            .session = request.mcp_session,
            .streams = request.accept.contains("text/event-stream")};
  if (!is_request) return Accept(server, std::move(call));
  return AnswerRequest(server, std::move(call), request);
}

// The client is done: whatever it still waits for ends.
Parsed<Action> ReadDelete(const std::shared_ptr<Server>& server, const HttpRequest& request) {
  TRY(CheckHeaders(request));
  if (request.mcp_session.empty())
    return std::unexpected(ApiError{400, "the Mcp-Session-Id is missing", "", "bad_request"});
  return [server, key = request.caller.key,
          session = request.mcp_session](Exchange& exchange) -> std::unique_ptr<Handler> {
    server->running->CancelSession(key, session);
    exchange.Send({.status = 204});
    return nullptr;
  };
}

}  // namespace

// There is no GET: the server sends nothing that was not asked for.
Dialect MakeDialect(node::Api& api) {
  const auto server = std::make_shared<Server>(api);
  Dialect dialect{.name = "MCP", .render = &ErrorResponse};
  dialect.routes = {
      {"POST", "/mcp", Scope::kInfer,
       [server](HttpRequest request) { return ReadPost(server, std::move(request)); }},
      {"DELETE", "/mcp", Scope::kInfer,
       [server](const HttpRequest& request) { return ReadDelete(server, request); }, false}};
  return dialect;
}

}  // namespace exo::service::mcp
