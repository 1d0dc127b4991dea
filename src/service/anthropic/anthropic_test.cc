// The Messages API over a scripted node: what the official client's types and stream reader need.
#include <gtest/gtest.h>

#include "service/harness.h"

namespace exo::service {
namespace {

constexpr const char* kMessages = "/v1/messages";

Json Ask(Json more = Json::object()) {
  Json body = {
      {"model", "tiny"}, {"max_tokens", 50}, {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  body.update(more);
  return body;
}

// The type of each event, after checking that its `event:` line says the same.
std::vector<std::string> Types(const Answered& answer) {
  std::vector<std::string> types;
  for (const Json& event : answer.events()) types.push_back(event["type"]);
  size_t lines = 0;
  for (const std::string& type : types)
    lines += answer.body.find("event: " + type + "\ndata: ") != std::string::npos;
  EXPECT_EQ(lines, types.size());
  return types;
}

TEST(AnthropicTest, AnswersWithAMessage) {
  TestServer server;
  const Answered answer = Post(server, "/v1/messages?beta=true", Ask({{"system", "Be brief."}}));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json json = answer.json();
  EXPECT_EQ(json["type"], "message");
  EXPECT_EQ(json["role"], "assistant");
  EXPECT_EQ(json["content"], Json::parse(R"([{"type":"text","text":"Hello"}])"));
  EXPECT_EQ(json["stop_reason"], "end_turn");
  EXPECT_EQ(json["usage"]["input_tokens"], 7);
  EXPECT_EQ(json["usage"]["output_tokens"], 2);
  EXPECT_TRUE(answer.has("x-exo-route: kitchen;layers=0-3"));
  EXPECT_TRUE(answer.has("server-timing: kitchen;dur=1.500"));
  const node::GenerateRequest asked = server.last_request();
  ASSERT_EQ(asked.messages.size(), 2u);
  EXPECT_EQ(asked.messages[0].role, "system");
  EXPECT_EQ(asked.max_tokens, 50u);
}

TEST(AnthropicTest, StreamsBlocksInOrder) {
  TestServer server({}, {.extra = [](node::GenerateSink& sink) {
                      sink.OnDelta({.what = node::ReasoningDelta{"hm"}});
                      sink.OnDelta({.what = node::ToolCallDelta{0, "call_1", "get", "{\"a\""}});
                      sink.OnDelta({.what = node::ToolCallDelta{0, "", "", ":1}"}});
                    }});
  const Answered answer = Post(server, kMessages, Ask({{"stream", true}}));
  const std::vector<std::string> expected = {
      "message_start",      "content_block_start", "content_block_delta", "content_block_delta",
      "content_block_stop", "content_block_start", "content_block_delta", "content_block_delta",
      "content_block_stop", "content_block_start", "content_block_delta", "content_block_delta",
      "content_block_stop", "message_delta",       "message_stop"};
  EXPECT_EQ(Types(answer), expected);
  EXPECT_TRUE(answer.has("x-exo-route: kitchen;layers=0-3"));
  EXPECT_EQ(answer.trailers, "Server-Timing: kitchen;dur=1.500\r\n");
  const std::vector<Json> events = answer.events();
  EXPECT_EQ(events[1]["content_block"]["type"], "thinking");
  EXPECT_EQ(events[3]["delta"]["type"], "signature_delta");
  EXPECT_EQ(events[5]["content_block"]["name"], "get");
  EXPECT_EQ(events[6]["delta"]["partial_json"], "{\"a\"");
  EXPECT_EQ(events[13]["delta"]["stop_reason"], "tool_use");
  const Json whole = Post(server, kMessages, Ask()).json();
  EXPECT_EQ(whole["content"][0]["thinking"], "hm");
  EXPECT_EQ(whole["content"][1]["input"], Json({{"a", 1}}));
  EXPECT_EQ(whole["content"][2]["text"], "Hello");
}

TEST(AnthropicTest, TellsWhyItStopped) {
  TestServer server({}, {.pieces = {"a", "STOP", "b"}});
  Json json = Post(server, kMessages, Ask({{"max_tokens", 1}})).json();
  EXPECT_EQ(json["stop_reason"], "max_tokens");
  json = Post(server, kMessages, Ask({{"stop_sequences", {"STOP"}}})).json();
  EXPECT_EQ(json["stop_reason"], "stop_sequence");
  EXPECT_EQ(json["stop_sequence"], "STOP");
  EXPECT_EQ(json["content"][0]["text"], "a");
}

TEST(AnthropicTest, BlocksBecomeMessagesOfTheTemplate) {
  TestServer server;
  const Json body = Ask(Json::parse(R"({
    "system": [{"type":"text","text":"x-anthropic-billing-header: cch=1;"},
               {"type":"text","text":"You are exo.","cache_control":{"type":"ephemeral"}}],
    "messages": [
      {"role":"user","content":[{"type":"text","text":"Weather?"}]},
      {"role":"assistant","content":[{"type":"thinking","thinking":"look","signature":"s"},
        {"type":"tool_use","id":"t1","name":"weather","input":{"city":"Rome"}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1",
         "content":[{"type":"text","text":"sun"}]},{"type":"text","text":"So?"}]},
      {"role":"assistant","content":"It is"}],
    "tools": [{"name":"weather","description":"d","input_schema":{"type":"object"}},
              {"type":"web_search_20250305","name":"web_search"}],
    "tool_choice": {"type":"auto"}, "thinking": {"type":"disabled"},
    "metadata": {"user_id":"u"}, "unknown_field": 1})"));
  ASSERT_EQ(Post(server, kMessages, body).status, 200);
  const node::GenerateRequest asked = server.last_request();
  ASSERT_EQ(asked.messages.size(), 6u);
  EXPECT_EQ(asked.messages[0].content, "You are exo.");
  EXPECT_EQ(asked.messages[2].reasoning, "look");
  EXPECT_EQ(asked.messages[2].tool_calls.at(0).name, "weather");
  EXPECT_FALSE(asked.messages[2].content);
  EXPECT_EQ(asked.messages[3].role, "tool");
  EXPECT_EQ(asked.messages[3].name, "weather");
  EXPECT_EQ(asked.messages[3].content, "sun");
  EXPECT_EQ(asked.messages[4].content, "So?");
  EXPECT_TRUE(asked.chat.continue_last);
  EXPECT_EQ(asked.chat.tools.size(), 1u);
  ASSERT_EQ(asked.chat.variables.size(), 1u);
  EXPECT_EQ(asked.chat.variables[0].key, "enable_thinking");
}

// A message whose blocks all fall away is still one.
TEST(AnthropicTest, AMessageOfDroppedBlocksIsEmpty) {
  TestServer server;
  const Json body = Ask(Json::parse(
      R"({"messages":[{"role":"user","content":[{"type":"redacted_thinking","data":"x"}]}]})"));
  ASSERT_EQ(Post(server, kMessages, body).status, 200);
  const node::GenerateRequest asked = server.last_request();
  ASSERT_EQ(asked.messages.size(), 1u);
  EXPECT_EQ(asked.messages[0].content, "");
}

// As of a call that was cut before its name was known.
TEST(AnthropicTest, AnAnswerOfNothingHasNoBlock) {
  TestServer server({}, {.pieces = {}, .reason = wire::FinishReason::kLength});
  const Json json = Post(server, kMessages, Ask()).json();
  EXPECT_EQ(json["content"], Json::array());
  EXPECT_EQ(json["stop_reason"], "max_tokens");
  EXPECT_EQ(Types(Post(server, kMessages, Ask({{"stream", true}}))),
            (std::vector<std::string>{"message_start", "message_delta", "message_stop"}));
}

TEST(AnthropicTest, CountsTokens) {
  TestServer server;
  Json body = Ask();
  body.erase("max_tokens");
  const Answered answer = Post(server, "/v1/messages/count_tokens", body);
  EXPECT_EQ(answer.body, R"({"input_tokens":8})");
  body["model"] = "nobody";
  EXPECT_EQ(Post(server, "/v1/messages/count_tokens", body).status, 404);
}

TEST(AnthropicTest, ErrorsHaveItsShape) {
  TestServer server;
  const auto type_of = [&](const Json& body, int status) {
    const Answered answer = Post(server, kMessages, body);
    EXPECT_EQ(answer.status, status) << answer.body;
    EXPECT_EQ(answer.json()["type"], "error");
    EXPECT_TRUE(answer.has("request-id: req_"));
    return answer.error("type");
  };
  EXPECT_EQ(type_of({{"model", "tiny"}}, 400), "invalid_request_error");
  EXPECT_EQ(type_of(Ask({{"model", "nobody"}}), 404), "not_found_error");
  for (const char* bad :
       {R"({"messages":[]})", R"({"messages":[{"role":"king","content":"a"}]})",
        R"({"messages":[{"role":"user"}]})", R"({"tool_choice":{"type":"?"}})",
        R"({"messages":[{"role":"user","content":[{"type":"image","source":{}}]}]})",
        R"({"max_tokens":0})", R"({"temperature":9})", R"({"stop_sequences":[""]})",
        R"({"output_config":{"format":{"type":"json_schema"}}})",
        R"({"output_format":{"type":"json_schema"}})"}) {
    EXPECT_EQ(type_of(Ask(Json::parse(bad)), 400), "invalid_request_error") << bad;
  }
  server.Set({.refusal = node::GenerateError{.error = {ErrorCode::kInvalid, "long"},
                                             .refusal = node::Refusal::kContextLength,
                                             .prompt_tokens = 700,
                                             .context = 512}});
  EXPECT_EQ(Post(server, kMessages, Ask()).error("message"),
            "prompt is too long: 700 tokens > 512 maximum");
  server.Set({.loss = node::GenerateError{{ErrorCode::kDisconnected, "gone"}}});
  const std::vector<Json> events = Post(server, kMessages, Ask({{"stream", true}})).events();
  EXPECT_EQ(events.back()["type"], "error");
  EXPECT_EQ(events.back()["error"]["type"], "overloaded_error");
}

// "output_format" is the beta's name.
TEST(AnthropicTest, AnAnswerHasTheFormThatEitherNameSays) {
  TestServer server;
  const Json format = {{"type", "json_schema"}, {"schema", {{"type", "integer"}}}};
  for (const Json& more :
       {Json{{"output_format", format}}, Json{{"output_config", {{"format", format}}}}}) {
    ASSERT_EQ(Post(server, kMessages, Ask(more)).status, 200);
    EXPECT_EQ(server.last_request().sampler.grammar.parts.size(), 1u) << more;
  }
}

}  // namespace
}  // namespace exo::service
