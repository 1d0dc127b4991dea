// The order in which a client writes keys is the order in which templates show them and models
// write them.
#include "service/chat_tools.h"

#include <gtest/gtest.h>

#include "chat/tools.h"
#include "service/harness.h"

namespace exo::service {
namespace {

constexpr const char* kOrdered = R"({"b":{"z":1,"y":2},"a":[{"d":1,"c":-2.5}],"c":null})";

std::string Schema() {
  return std::string(R"({"type":"object","properties":)") + kOrdered +
         R"(,"additionalProperties":false})";
}

// `kOrdered` as a text within JSON.
std::string InText() {
  return Dump(Json(kOrdered));
}

void ExpectOrder(const char* target, const std::string& body) {
  SCOPED_TRACE(target);
  TestServer server;
  const Answered answer = Call(server, "POST", target, body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const node::GenerateRequest asked = server.last_request();
  const std::vector<chat::Tool> tools = chat::ToolsOf(asked.chat.tools);
  ASSERT_EQ(tools.size(), 1u);
  EXPECT_EQ(tools[0].parameters, Schema());
  size_t calls = 0;
  for (const model::ChatMessage& message : asked.messages) {
    for (const model::ToolCall& call : message.tool_calls) {
      ++calls;
      EXPECT_EQ(chat::JsonText({call.arguments}), kOrdered);
    }
  }
  EXPECT_EQ(calls, 1u);
}

TEST(ChatToolsTest, KeysKeepTheOrderOfTheRequestInEveryDialect) {
  const std::string tool = R"({"name":"f","parameters":)" + Schema() + "}";
  for (const std::string& arguments : {std::string(kOrdered), InText()}) {
    const std::string function = R"({"function":{"name":"f","arguments":)" + arguments + "}}";
    ExpectOrder("/v1/chat/completions",
                R"({"model":"tiny","tools":[{"type":"web_search"},{"type":"function","function":)" +
                    tool + R"(}],"messages":[{"role":"user","content":"u"},{"role":"assistant",)" +
                    R"("tool_calls":[)" + function +
                    R"(]},{"role":"tool","content":"t","tool_call_id":"1"}]})");
    ExpectOrder("/v1/responses",
                R"({"model":"tiny","tools":[{"type":"function",)" + tool.substr(1) +
                    R"(],"input":[{"role":"user","content":"u"},{"type":"function_call",)" +
                    R"("call_id":"1","name":"f","arguments":)" + arguments +
                    R"(},{"type":"function_call_output","call_id":"1","output":"t"}]})");
  }
  ExpectOrder("/v1/chat/completions",
              R"({"model":"tiny","functions":[)" + tool +
                  R"(],"messages":[{"role":"user","content":"u"},{"role":"assistant",)" +
                  R"("tool_calls":[{"function":{"name":"f","arguments":)" + InText() +
                  R"(}}]},{"role":"user","content":"v"}]})");
  ExpectOrder("/v1/messages",
              R"({"model":"tiny","max_tokens":4,"tools":[{"name":"f","input_schema":)" + Schema() +
                  R"(}],"messages":[{"role":"user","content":"u"},{"role":"assistant","content":)" +
                  R"([{"type":"tool_use","id":"1","name":"f","input":)" + kOrdered +
                  R"(}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"1"}]}]})");
  ExpectOrder("/api/chat",
              R"({"model":"tiny","stream":false,"tools":[{"function":)" + tool +
                  R"(}],"messages":[{"role":"user","content":"u"},{"role":"assistant",)" +
                  R"("tool_calls":[{"function":{"name":"f","arguments":)" + kOrdered +
                  R"(}}]},{"role":"tool","content":"t"}]})");
}

// A tool named `f` in each dialect that knows strict ones.
Answered AskWithTool(const TestServer& server, const std::string& target, const Json& schema,
                     bool strict) {
  Json tool = {{"name", "f"}, {"parameters", schema}, {"strict", strict}};
  Json body = {{"model", "tiny"}, {"max_tokens", 4}, {"stream", false}};
  if (target == "/v1/responses") {
    tool["type"] = "function";
    body["input"] = "u";
  } else {
    body["messages"] = {{{"role", "user"}, {"content", "u"}}};
    if (target == "/v1/messages") {
      tool["input_schema"] = schema;
    } else {
      tool = {{"type", "function"}, {"function", tool}};
    }
  }
  body["tools"] = Json::array({tool});
  return Post(server, target, body);
}

TEST(ChatToolsTest, AStrictToolWhoseSchemaCannotBeKeptIsRefusedByItsKeyword) {
  const Json unsupported = Json::parse(R"({"type":"object","properties":{
      "a":{"type":"array","items":{"type":"object"},"uniqueItems":true}}})");
  const Json impossible = Json::parse(R"({"type":"object","properties":{
      "a":{"type":"integer","minimum":3,"maximum":2}},"required":["a"]})");
  TestServer server;
  for (const char* target : {kChat, "/v1/responses", "/v1/messages", "/api/chat"}) {
    SCOPED_TRACE(target);
    const Answered refused = AskWithTool(server, target, unsupported, true);
    EXPECT_EQ(refused.status, 400) << refused.body;
    EXPECT_NE(refused.body.find("uniqueItems"), std::string::npos) << refused.body;
    EXPECT_NE(refused.body.find("'f'"), std::string::npos) << refused.body;
    EXPECT_EQ(AskWithTool(server, target, impossible, true).status, 400);
    EXPECT_EQ(AskWithTool(server, target, unsupported, false).status, 200);
    EXPECT_EQ(server.last_request().chat.strict_tools, std::vector<std::string>());
    EXPECT_EQ(AskWithTool(server, target, {{"type", "object"}}, true).status, 200);
    EXPECT_EQ(server.last_request().chat.strict_tools, std::vector<std::string>{"f"});
  }
  const Answered bad = AskWithTool(server, kChat, unsupported, true);
  EXPECT_EQ(bad.error("param"), "tools[0].function.parameters");
  EXPECT_EQ(bad.error("code"), "not_supported");
}

TEST(ChatToolsTest, ArgumentsAreAnObject) {
  TestServer server;
  for (const char* target : {kChat, "/v1/responses", "/v1/messages", "/api/chat"}) {
    for (const bool strict : {false, true}) {
      for (const Json& type : {Json("string"), Json("array"), Json({"integer", "null"})}) {
        const Answered refused = AskWithTool(server, target, {{"type", type}}, strict);
        EXPECT_EQ(refused.status, 400) << target << type;
        EXPECT_NE(refused.body.find("arguments are an object"), std::string::npos) << refused.body;
      }
      EXPECT_EQ(AskWithTool(server, target, {{"type", {"object", "null"}}}, false).status, 200);
      EXPECT_EQ(AskWithTool(server, target, Json::object(), false).status, 200);
    }
  }
}

TEST(ChatToolsTest, AllowedToolsAreThoseThatMayBeCalled) {
  TestServer server;
  const auto ask = [&](const Json& choice) {
    return Post(server, kChat,
                {{"model", "tiny"},
                 {"tools", {{{"type", "function"}, {"function", {{"name", "f"}}}}}},
                 {"tool_choice", choice},
                 {"messages", {{{"role", "user"}, {"content", "u"}}}}});
  };
  const Json nested = Json::parse(R"({"type":"allowed_tools","allowed_tools":{"mode":"required",
      "tools":[{"type":"function","function":{"name":"f"}},{"type":"mcp","server_label":"x"}]}})");
  EXPECT_EQ(ask(nested).status, 200);
  EXPECT_EQ(server.last_request().chat.allowed_tools, std::vector<std::string>{"f"});
  EXPECT_EQ(server.last_request().chat.tool_use, node::ToolUse::kRequired);
  const Json flat = Json::parse(
      R"({"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]})");
  EXPECT_EQ(ask(flat).status, 200);
  EXPECT_EQ(server.last_request().chat.allowed_tools, std::vector<std::string>{"f"});
  EXPECT_EQ(server.last_request().chat.tool_use, node::ToolUse::kAuto);
  for (const char* change : {R"({"mode":"none"})", R"({"mode":null})", R"({"tools":null})",
                             R"({"tools":[3]})", R"({"tools":[{"type":"function"}]})"}) {
    Json bad = flat;
    bad.update(Json::parse(change));
    const Answered answer = ask(bad);
    EXPECT_EQ(answer.status, 400) << change;
    EXPECT_TRUE(answer.error("param") == "tool_choice" || answer.error("param") == "name")
        << answer.body;
  }
}

TEST(ChatToolsTest, AsWrittenTakesOneMember) {
  const std::string text = R"({"x":{"b":1},"b":{"b":[2]},"c":5})";
  EXPECT_EQ(chat::JsonText(AsWritten(text, "b")), R"({"b":[2]})");
  EXPECT_EQ(chat::JsonText(AsWritten(text, "c")), "5");
  EXPECT_EQ(chat::JsonText(AsWritten(text, "none")), "null");
  EXPECT_EQ(chat::JsonText(AsWritten("[1]", "b")), "null");
  EXPECT_EQ(chat::JsonText(AsWritten(text)), text);
}

}  // namespace
}  // namespace exo::service
