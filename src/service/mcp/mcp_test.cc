// MCP over HTTP, over a fake node.
#include <gtest/gtest.h>

#include "service/harness.h"
#include "service/mcp/tools.h"

namespace exo::service::mcp {
namespace {

const std::string kHeaders =
    "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";

Json Request(const char* method, Json params = Json::object(), Json id = 1) {
  return {
      {"jsonrpc", "2.0"}, {"id", std::move(id)}, {"method", method}, {"params", std::move(params)}};
}
Json ToolCall(const char* tool, Json arguments, Json id = 1) {
  return Request("tools/call", {{"name", tool}, {"arguments", std::move(arguments)}},
                 std::move(id));
}
Answered Send(const TestServer& server, const Json& message, const std::string& more = "") {
  return Call(server, "POST", "/mcp", Dump(message), kHeaders + more);
}
// The last message of an answer, streamed or whole.
Json LastOf(const Answered& answer) {
  if (!answer.has("text/event-stream")) return answer.json();
  const std::vector<Json> events = answer.events();
  return events.empty() ? Json() : events.back();
}
Json ResultOf(const Answered& answer) {
  return LastOf(answer).value("result", Json());
}
std::string TextOf(const Json& result) {
  return result.is_object() ? result["content"][0].value("text", "") : "no result";
}
bool IsError(const Json& result) {
  return result.is_object() && result.value("isError", false);
}

TEST(McpTest, AgreesOnAVersion) {
  TestServer server;
  for (const auto& [asked, given] : {std::pair{"2025-06-18", "2025-06-18"},
                                     {"2024-11-05", "2024-11-05"},
                                     {"1999-01-01", "2025-11-25"}}) {
    const auto answer = Send(server, Request("initialize", {{"protocolVersion", asked}}));
    EXPECT_EQ(answer.status, 200);
    EXPECT_TRUE(answer.has("mcp-session-id: ")) << answer.headers;
    const Json result = ResultOf(answer);
    EXPECT_EQ(result["protocolVersion"], given);
    EXPECT_EQ(result["serverInfo"]["name"], "exo");
    EXPECT_TRUE(result["capabilities"].contains("tools"));
  }
  EXPECT_EQ(LastOf(Send(server, Request("initialize")))["error"]["code"], -32602);
  EXPECT_EQ(Send(server, Request("ping"), "MCP-Protocol-Version: 2025-06-18\r\n").status, 200);
  const auto refused = Send(server, Request("ping"), "MCP-Protocol-Version: 1\r\n");
  EXPECT_EQ(refused.status, 400);
  EXPECT_TRUE(refused.error("message").contains("2025-06-18")) << refused.body;
}

TEST(McpTest, KeepsToTheRulesOfItsTransport) {
  TestServer server;
  const auto get = Call(server, "GET", "/mcp", "", "Accept: text/event-stream\r\n");
  EXPECT_EQ(get.status, 405);
  EXPECT_TRUE(get.has("allow: post, delete, options")) << get.headers;
  EXPECT_EQ(get.json()["error"]["code"], -32000);
  const Json notification = {{"jsonrpc", "2.0"}, {"method", "notifications/initialized"}};
  const auto accepted = Send(server, notification);
  EXPECT_EQ(accepted.status, 202);
  EXPECT_EQ(accepted.body, "");
  EXPECT_EQ(Send(server, {{"jsonrpc", "2.0"}, {"id", 1}, {"result", Json::object()}}).status, 202);
  EXPECT_EQ(Call(server, "DELETE", "/mcp", "", "Mcp-Session-Id: abc\r\n").status, 204);
  EXPECT_EQ(Call(server, "DELETE", "/mcp", "", "").status, 400);
  const std::string long_name(200, 'x');
  EXPECT_EQ(Send(server, notification, "Mcp-Session-Id: " + long_name + "\r\n").status, 400);
  EXPECT_EQ(Call(server, "POST", "/mcp", "{}", "Content-Type: text/plain\r\n").status, 415);
  EXPECT_EQ(Send(server, Request("ping"), "Origin: http://evil.example\r\n").status, 403);
  EXPECT_EQ(Send(server, Request("ping"), "Host: evil.example\r\n").status, 403);
}

TEST(McpTest, AnswersWhatIsNoRequestWithAnError) {
  TestServer server;
  const auto damaged = Call(server, "POST", "/mcp", R"({"jsonrpc":)", kHeaders);
  EXPECT_EQ(damaged.status, 400);
  EXPECT_EQ(damaged.json()["error"]["code"], -32700);
  EXPECT_TRUE(damaged.json()["id"].is_null());
  const auto batch = Send(server, Json::array({Request("ping")}));
  EXPECT_EQ(batch.status, 400);
  EXPECT_EQ(batch.json()["error"]["code"], -32600);
  const auto unknown = Send(server, Request("resources/list", Json::object(), "a"));
  EXPECT_EQ(unknown.status, 200);
  EXPECT_EQ(unknown.json()["error"]["code"], -32601);
  EXPECT_EQ(unknown.json()["id"], "a");
  EXPECT_EQ(LastOf(Send(server, ToolCall("shell", Json::object())))["error"]["code"], -32602);
  EXPECT_EQ(LastOf(Send(server, ToolCall("models", Json::array())))["error"]["code"], -32602);
  // Large: read on the worker.
  const auto large = Send(server, Request("ping", {{"x", std::string(1 << 20, 'x')}}));
  EXPECT_EQ(large.json()["result"], Json::object());
}

// Every schema that clients check results with holds what the results are.
TEST(McpTest, ResultsHaveWhatTheirSchemasRequire) {
  TestServer server;
  const Json list = ResultOf(Send(server, Request("tools/list")))["tools"];
  ASSERT_EQ(list.size(), Tools().size());
  const Json plan = {{"model", "tiny"}};
  const Json prompt = {{"prompt", "Hi"}};
  for (const Json& tool : list) {
    EXPECT_TRUE(tool["annotations"]["readOnlyHint"]);
    EXPECT_EQ(tool["inputSchema"]["type"], "object");
    const std::string name = tool["name"];
    const Json arguments = name == "chat" ? prompt : name == "plan" ? plan : Json::object();
    const Json result = ResultOf(Send(server, ToolCall(name.c_str(), arguments)));
    EXPECT_FALSE(IsError(result)) << result;
    for (const Json& field : tool["outputSchema"]["required"])
      EXPECT_TRUE(result["structuredContent"].contains(field)) << name << " lacks " << field;
    for (const auto& [field, value] : result["structuredContent"].items())
      EXPECT_TRUE(tool["outputSchema"]["properties"].contains(field)) << name << ": " << field;
    EXPECT_NE(TextOf(result), "");
  }
}

TEST(McpTest, ListsModelsAndDevicesAndPlans) {
  TestServer server;
  const Json models = ResultOf(Send(server, ToolCall("models", Json::object())));
  EXPECT_EQ(models["structuredContent"]["models"][0]["name"], "tiny");
  EXPECT_EQ(models["structuredContent"]["models"][0]["where"], "here");
  const Json devices = ResultOf(Send(server, ToolCall("devices", Json::object())));
  EXPECT_EQ(devices["structuredContent"]["devices"][0]["name"], "kitchen");
  EXPECT_EQ(devices["structuredContent"]["running"][0]["devices"],
            Json::array({"kitchen", "desk"}));
  EXPECT_TRUE(TextOf(devices).contains("tiny is ready on kitchen, desk"));
  const Json plan = ResultOf(
      Send(server, ToolCall("plan", {{"model", "tiny"}, {"spread", true}, {"context", 512}})));
  EXPECT_TRUE(TextOf(plan).contains("kitchen (layers 0-4")) << TextOf(plan);
  EXPECT_TRUE(TextOf(plan).contains("tiny spread"));
  EXPECT_EQ(plan["structuredContent"]["stages"][1]["layer_begin"], 5);
}

// A listed page has no key: it may ask models and not look at devices.
TEST(McpTest, ACallerHasTheToolsOfItsScopes) {
  TestServer server({.origins = {"https://chat.home"}});
  const std::string page = "Origin: https://chat.home\r\n";
  const auto list = Send(server, Request("tools/list"), page);
  EXPECT_TRUE(list.has("access-control-expose-headers: ") && list.has("mcp-session-id"));
  EXPECT_EQ(ResultOf(list)["tools"].size(), 2u);
  const Json refused = ResultOf(Send(server, ToolCall("devices", Json::object()), page));
  EXPECT_TRUE(IsError(refused));
  EXPECT_TRUE(TextOf(refused).contains("lacks the scope models")) << TextOf(refused);
  EXPECT_EQ(TextOf(ResultOf(Send(server, ToolCall("chat", {{"prompt", "Hi"}}), page))), "Hello");
}

TEST(McpTest, WhatIsWrongWithArgumentsIsAResultThatSaysIt) {
  TestServer server;
  struct Case {
    const char* tool;
    const char* arguments;
    const char* word;
  };
  for (const Case& one : std::initializer_list<Case>{
           {"chat", R"({})", "no question"},
           {"chat", R"({"prompt":"a","messages":[{"role":"user","content":"b"}]})", "both"},
           {"chat", R"({"prompt":3})", "'prompt' must be a string"},
           {"chat", R"({"prompt":"a","temperature":9})", "temperature"},
           {"chat", R"({"prompt":"a","max_tokens":0})", "max_tokens"},
           {"chat", R"({"prompt":"a","top_k":1})", "takes no argument 'top_k'"},
           {"chat", R"({"prompt":"a","schema":3})", "'schema' must be an object"},
           {"chat", R"({"prompt":"a","schema":{"type":"nonsense"}})", "schema"},
           {"chat", R"({"messages":[{"role":"wizard","content":"b"}]})", "wizard"},
           {"chat", R"({"prompt":"a","model":"nobody"})", "the tool 'models' lists"},
           {"plan", R"({})", "'model' is missing"},
           {"plan", R"({"model":"/etc/passwd"})", "no model '/etc/passwd'"},
           {"plan", R"({"model":"tiny","context":-1})", "context"},
           {"plan", R"({"model":"tiny","spread":"yes"})", "spread"},
           {"models", R"({"x":1})", "takes none"}}) {
    const auto answer = Send(server, ToolCall(one.tool, Json::parse(one.arguments)));
    EXPECT_EQ(answer.status, 200);
    const Json result = ResultOf(answer);
    EXPECT_TRUE(IsError(result)) << one.arguments;
    EXPECT_TRUE(TextOf(result).contains(one.word)) << TextOf(result);
  }
}

TEST(McpTest, ChatsWithWhatItWasGiven) {
  TestServer server;
  const Json result = ResultOf(Send(
      server, ToolCall("chat", {{"system", "Be short."},
                                {"messages", Json::array({{{"role", "user"}, {"content", "Hi"}}})},
                                {"max_tokens", 9},
                                {"temperature", 0},
                                {"seed", 5},
                                {"schema", {{"type", "object"}}}})));
  EXPECT_EQ(TextOf(result), "Hello");
  EXPECT_EQ(result["structuredContent"]["model"], "tiny");
  EXPECT_EQ(result["structuredContent"]["finish_reason"], "stop");
  EXPECT_EQ(result["structuredContent"]["seed"], 5);
  EXPECT_EQ(result["structuredContent"]["devices"], Json::array({"kitchen"}));
  const node::GenerateRequest asked = server.last_request();
  ASSERT_EQ(asked.messages.size(), 2u);
  EXPECT_EQ(asked.messages[0].role, "system");
  EXPECT_EQ(asked.max_tokens, 9u);
  EXPECT_EQ(asked.sampler.temperature, 0);
  EXPECT_FALSE(asked.sampler.grammar.parts.empty());
  // Whole, for a client that takes no stream, and no longer than a client waits.
  const auto whole = Call(server, "POST", "/mcp", Dump(ToolCall("chat", {{"prompt", "Hi"}})));
  EXPECT_TRUE(whole.has("content-type: application/json"));
  EXPECT_EQ(TextOf(ResultOf(whole)), "Hello");
  EXPECT_EQ(server.last_request().max_tokens, kDefaultAnswerTokens);
}

TEST(McpTest, TellsProgressToWhoAsks) {
  TestServer server;
  Json call = ToolCall("chat", {{"prompt", "Hi"}, {"max_tokens", 8}});
  EXPECT_EQ(Send(server, call).events().size(), 1u);
  call["params"]["_meta"]["progressToken"] = "p";
  const std::vector<Json> events = Send(server, call).events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0]["method"], "notifications/progress");
  EXPECT_EQ(events[0]["params"],
            (Json{{"progressToken", "p"}, {"progress", 1}, {"total", 8}, {"message", "Hel"}}));
  EXPECT_EQ(events[1]["params"]["progress"], 2);
  EXPECT_EQ(events[2]["id"], 1);
  // No more than the context leaves.
  call["params"]["arguments"]["max_tokens"] = 100'000;
  EXPECT_EQ(Send(server, call).events()[0]["params"]["total"], 1000);
  for (const Json& odd : {Json(1.5), Json(true), Json(std::string(257, 'p')), Json::array()}) {
    call["params"]["_meta"]["progressToken"] = odd;
    EXPECT_EQ(Send(server, call).json()["error"]["code"], -32602) << odd;
  }
}

TEST(McpTest, AnAnswerThatFailsIsAResult) {
  TestServer server({}, {.loss = node::GenerateError{{ErrorCode::kDisconnected, "desk is gone"},
                                                     node::Refusal::kLost}});
  const auto streamed = Send(server, ToolCall("chat", {{"prompt", "Hi"}}));
  EXPECT_TRUE(IsError(ResultOf(streamed)));
  EXPECT_EQ(TextOf(ResultOf(streamed)), "desk is gone; try again");
  const auto whole = Call(server, "POST", "/mcp", Dump(ToolCall("chat", {{"prompt", "Hi"}})));
  EXPECT_EQ(whole.status, 200);
  EXPECT_TRUE(IsError(ResultOf(whole)));
  server.Set({.admin_fails = true});
  EXPECT_TRUE(IsError(ResultOf(Send(server, ToolCall("plan", {{"model", "tiny"}})))));
}

Answered Cancel(const TestServer& server, const std::string& session, const Json& id) {
  return Send(
      server,
      {{"jsonrpc", "2.0"}, {"method", "notifications/cancelled"}, {"params", {{"requestId", id}}}},
      session.empty() ? "" : "Mcp-Session-Id: " + session + "\r\n");
}

TEST(McpTest, ACancelledAnswerEndsWithoutAResult) {
  TestServer server({}, {.endless = true, .delay = std::chrono::milliseconds(1)});
  const auto begin = [&](TestClient& client, const std::string& session, const std::string& more) {
    client.Write(RequestText(
        "POST", "/mcp", Dump(ToolCall("chat", {{"prompt", "Hi"}}, 7)),
        "Content-Type: application/json\r\nMcp-Session-Id: " + session + "\r\n" + more));
  };
  TestClient streamed(server.port()), whole(server.port()), other(server.port());
  begin(streamed, "a", "Accept: text/event-stream\r\n");
  begin(whole, "b", "");
  begin(other, "c", "");
  ASSERT_TRUE(WaitUntil([&] { return server.alive() == 3 && server.tokens() > 10; }));
  for (const auto& [session, id] :
       {std::pair{"a", Json(8)}, {"a", Json("7")}, {"x", Json(7)}, {"", Json(7)}}) {
    EXPECT_EQ(Cancel(server, session, id).status, 202);
  }
  EXPECT_EQ(server.alive(), 3);
  Cancel(server, "a", 7);
  EXPECT_TRUE(streamed.Read().events().empty());
  Cancel(server, "b", 7);
  EXPECT_EQ(whole.Read().status, 202);
  ASSERT_TRUE(WaitUntil([&] { return server.alive() == 1; }));
  // The end of a session is the end of what it waits for. The connections go on.
  EXPECT_EQ(Call(server, "DELETE", "/mcp", "", "Mcp-Session-Id: c\r\n").status, 204);
  EXPECT_EQ(other.Read().status, 202);
  ASSERT_TRUE(WaitUntil([&] { return server.alive() == 0; }));
  server.Set({});
  begin(streamed, "a", "Accept: text/event-stream\r\n");
  EXPECT_EQ(TextOf(ResultOf(streamed.Read())), "Hello");
}

}  // namespace
}  // namespace exo::service::mcp
