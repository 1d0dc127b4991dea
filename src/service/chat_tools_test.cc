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
