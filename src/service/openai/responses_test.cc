// /v1/responses over a scripted node: the events that the official client and Codex read, and
// conversations that go on.
#include <gtest/gtest.h>

#include "service/harness.h"
#include "service/openai/response_store.h"

namespace exo::service {
namespace {

constexpr const char* kResponses = "/v1/responses";

Json Ask(Json more = Json::object()) {
  Json body = {{"model", "tiny"}, {"input", "Hi"}};
  body.update(more);
  return body;
}

TEST(ResponsesTest, AnswersWithItems) {
  TestServer server({}, {.extra = [](node::GenerateSink& sink) {
                      sink.OnDelta({.what = node::ReasoningDelta{"hm"}});
                      sink.OnDelta({.what = node::ToolCallDelta{0, "c1", "get", "{\"a\":"}});
                      sink.OnDelta({.what = node::ToolCallDelta{0, "", "", "1}"}});
                    }});
  const Json json = Post(server, kResponses, Ask({{"instructions", "Be brief."}})).json();
  EXPECT_EQ(json["object"], "response");
  EXPECT_EQ(json["status"], "completed");
  ASSERT_EQ(json["output"].size(), 3u);
  EXPECT_EQ(json["output"][0]["type"], "reasoning");
  EXPECT_EQ(json["output"][0]["content"][0]["text"], "hm");
  EXPECT_EQ(json["output"][1]["type"], "function_call");
  EXPECT_EQ(json["output"][1]["call_id"], "c1");
  EXPECT_EQ(json["output"][1]["arguments"], "{\"a\":1}");
  EXPECT_EQ(json["output"][2]["content"][0]["text"], "Hello");
  EXPECT_EQ(json["usage"]["total_tokens"], 9);
  EXPECT_EQ(json["usage"]["input_tokens_details"]["cached_tokens"], 0);
  EXPECT_EQ(json["instructions"], "Be brief.");
  EXPECT_EQ(server.last_request().messages.at(0).role, "system");
  const Json cut = Post(server, kResponses, Ask({{"max_output_tokens", 1}})).json();
  EXPECT_EQ(cut["status"], "incomplete");
  EXPECT_EQ(cut["incomplete_details"]["reason"], "max_output_tokens");
}

TEST(ResponsesTest, StreamsEveryEventInOrder) {
  TestServer server({}, {.extra = [](node::GenerateSink& sink) {
                      sink.OnDelta({.what = node::ReasoningDelta{"hm"}});
                      sink.OnDelta({.what = node::ToolCallDelta{0, "c1", "get", "{}"}});
                    }});
  const Answered answer = Post(server, kResponses, Ask({{"stream", true}}));
  const std::vector<Json> events = answer.events();
  std::string types;
  for (size_t i = 0; i < events.size(); ++i) {
    const std::string type = events[i]["type"];
    EXPECT_EQ(events[i]["sequence_number"], i);
    EXPECT_NE(answer.body.find("event: " + type + "\n"), std::string::npos);
    types += type.substr(std::string("response.").size()) + " ";
  }
  EXPECT_EQ(types,
            "created in_progress "
            "output_item.added content_part.added reasoning_text.delta reasoning_text.done "
            "content_part.done output_item.done "
            "output_item.added function_call_arguments.delta function_call_arguments.done "
            "output_item.done "
            "output_item.added content_part.added output_text.delta output_text.delta "
            "output_text.done content_part.done output_item.done completed ");
  EXPECT_EQ(events.back()["response"]["output"].size(), 3u);
  EXPECT_EQ(events.back()["response"]["id"], events.front()["response"]["id"]);
  server.Set({.loss = node::GenerateError{{ErrorCode::kDisconnected, "gone"}}});
  const Json last = Post(server, kResponses, Ask({{"stream", true}})).events().back();
  EXPECT_EQ(last["type"], "response.failed");
  EXPECT_EQ(last["response"]["error"]["code"], "device_lost");
}

// What Codex sends in its second turn, with tools that are not ours.
TEST(ResponsesTest, ItemsBecomeMessages) {
  TestServer server;
  const Json body = Ask(Json::parse(R"({
    "input": [
      {"type":"message","role":"developer","content":[{"type":"input_text","text":"rules"}]},
      {"type":"message","role":"user","content":[{"type":"input_text","text":"list"}]},
      {"type":"reasoning","summary":[{"type":"summary_text","text":"think"}]},
      {"type":"function_call","call_id":"c1","name":"shell","arguments":"{\"cmd\":\"ls\"}"},
      {"type":"function_call_output","call_id":"c1","output":"a b"},
      {"type":"web_search_call","id":"w"}],
    "tools": [{"type":"function","name":"shell","parameters":{"type":"object"},"strict":false},
              {"type":"namespace","name":"x"},{"type":"web_search"}],
    "tool_choice":"auto","parallel_tool_calls":true,"reasoning":{"summary":"auto"},
    "store":false,"include":["reasoning.encrypted_content"],"prompt_cache_key":"k",
    "client_metadata":{"a":"b"}})"));
  const Answered answer = Post(server, kResponses, body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const node::GenerateRequest asked = server.last_request();
  ASSERT_EQ(asked.messages.size(), 4u);
  EXPECT_EQ(asked.messages[0].role, "system");
  EXPECT_EQ(asked.messages[2].reasoning, "think");
  EXPECT_EQ(asked.messages[2].tool_calls.at(0).name, "shell");
  EXPECT_EQ(asked.messages[3].name, "shell");
  EXPECT_EQ(asked.messages[3].content, "a b");
  EXPECT_EQ(asked.chat.tools.size(), 1u);
}

TEST(ResponsesTest, AConversationGoesOnUnlessItWasNotToBeKept) {
  TestServer server;
  const std::string first = Post(server, kResponses, Ask({{"instructions", "once"}})).json()["id"];
  const Json next = Ask({{"input", "And?"}, {"previous_response_id", first}});
  ASSERT_EQ(Post(server, kResponses, next).status, 200);
  const node::GenerateRequest asked = server.last_request();
  ASSERT_EQ(asked.messages.size(), 3u);  // instructions are not kept
  EXPECT_EQ(asked.messages[0].content, "Hi");
  EXPECT_EQ(asked.messages[1].content, "Hello");
  EXPECT_EQ(asked.messages[2].content, "And?");
  EXPECT_EQ(Post(server, "/v1/responses/input_tokens", next).json()["input_tokens"], 34);
  const std::string unkept = Post(server, kResponses, Ask({{"store", false}})).json()["id"];
  const Answered gone = Post(server, kResponses, Ask({{"previous_response_id", unkept}}));
  EXPECT_EQ(gone.status, 400);
  EXPECT_EQ(gone.error("param"), "previous_response_id");
}

TEST(ResponsesTest, TheStoreKeepsTheLatestWithinItsBounds) {
  openai::ResponseStore store;
  for (size_t i = 0; i <= openai::kMaxStoredResponses; ++i)
    store.Add(0, std::to_string(i), {{.role = "user", .content = "a"}});
  EXPECT_EQ(store.Find(0, "0"), nullptr);
  EXPECT_NE(store.Find(0, "1"), nullptr);
  const std::string large(openai::kMaxStoredBytes / 2, 'a');
  store.Add(0, "x", {{.role = "user", .content = large}});
  EXPECT_NE(store.Find(0, "x"), nullptr);
  store.Add(0, "y", {{.role = "user", .content = large}});
  EXPECT_EQ(store.Find(0, "x"), nullptr);
  EXPECT_EQ(store.Find(0, "1"), nullptr);
  store.Add(0, "z", {{.role = "user", .content = large + large}});  // too large for any store
  EXPECT_EQ(store.Find(0, "z"), nullptr);
  store.Add(7, "w", {{.role = "user", .content = "a"}});
  EXPECT_EQ(store.Find(0, "w"), nullptr) << "another's";
  EXPECT_EQ(store.Find(8, "w"), nullptr);
  EXPECT_NE(store.Find(7, "w"), nullptr);
}

TEST(ResponsesTest, ToolsThatTheModelCannotTellApartAreRefused) {
  const auto tool = [](const char* name) { return Json{{"type", "function"}, {"name", name}}; };
  const auto space = [&](const char* name, const char* function) {
    return Json{{"type", "namespace"}, {"name", name}, {"tools", {tool(function)}}};
  };
  TestServer server;
  for (const Json& tools :
       {Json{space("a__b", "c"), space("a", "b__c")}, Json{tool("a__b"), space("a", "b")}}) {
    const Answered answer = Post(server, kResponses, Ask({{"tools", tools}}));
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_NE(answer.body.find("a__b"), std::string::npos) << answer.body;
    EXPECT_EQ(answer.json()["error"]["param"], "tools[1].tools[0]") << answer.body;
  }
}

// As Codex sends the tools of MCP servers: the model gets them as functions, the client in their
// namespace.
TEST(ResponsesTest, ToolsOfNamespacesAreFunctions) {
  const auto tool = [](const char* name) {
    return Json{{"type", "function"}, {"name", name}, {"parameters", {{"type", "object"}}}};
  };
  const Json space = {{"type", "namespace"},
                      {"name", "mcp__home"},
                      {"tools", {tool("plan"), {{"type", "namespace"}, {"name", "deeper"}}}}};
  const Json call = {{"type", "function_call"},
                     {"call_id", "c"},
                     {"namespace", "mcp__home"},
                     {"name", "plan"},
                     {"arguments", "{}"}};
  const Json body =
      Ask({{"tools", {tool("shell"), space, {{"type", "namespace"}}}},
           {"tool_choice", {{"type", "function"}, {"namespace", "mcp__home"}, {"name", "plan"}}},
           {"input", {call}}});
  TestServer server(
      {}, {.pieces = {}, .extra = [](node::GenerateSink& sink) {
             for (const char* name : {"mcp__home__plan", "shell"})
               sink.OnDelta({node::ToolCallDelta{.id = "c1", .name = name, .arguments = "{}"}, {}});
           }});
  const Answered answer = Post(server, kResponses, body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const node::GenerateRequest asked = server.last_request();
  ASSERT_EQ(asked.chat.tools.size(), 2u);
  EXPECT_EQ(asked.chat.tool_name, "mcp__home__plan");
  ASSERT_EQ(asked.messages[0].tool_calls.size(), 1u);
  EXPECT_EQ(asked.messages[0].tool_calls[0].name, "mcp__home__plan");
  const Json output = answer.json()["output"];
  ASSERT_EQ(output.size(), 2u);
  EXPECT_EQ(output[0]["name"], "plan");
  EXPECT_EQ(output[0]["namespace"], "mcp__home");
  EXPECT_EQ(output[1]["name"], "shell");
  EXPECT_FALSE(output[1].contains("namespace"));
  // What was called is known by its full name in the next prompt.
  const Json next = Ask({{"previous_response_id", answer.json()["id"]}});
  ASSERT_EQ(Post(server, kResponses, next).status, 200);
  EXPECT_EQ(server.last_request().messages[1].tool_calls[0].name, "mcp__home__plan");
}

TEST(ResponsesTest, WhatIsWrongIsNamed) {
  TestServer server;
  for (const auto& [field, value] : std::vector<std::pair<std::string, Json>>{
           {"input", nullptr},
           {"input", Json::array()},
           {"input", {{{"type", "message"}, {"role", "king"}}}},
           {"input", {{{"role", "user"}, {"content", {{{"type", "input_image"}}}}}}},
           {"input", {{{"type", "function_call"}, {"name", "f"}, {"arguments", "{"}}}},
           {"background", true},
           {"previous_response_id", 5},
           {"instructions", 5},
           {"user", {{"id", 1}}},
           {"conversation", "c"},
           {"tool_choice", "perhaps"},
           {"reasoning", {{"effort", 3}}},
           {"text", {{"format", {{"type", "json_schema"}}}}},
           {"temperature", 3}}) {
    const Answered answer = Post(server, kResponses, Ask({{field, value}}));
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_TRUE(answer.error("param").starts_with(field)) << answer.body;
  }
  EXPECT_EQ(Post(server, "/v1/files", Ask()).status, 404);
}

}  // namespace
}  // namespace exo::service
