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

TEST(ResponsesTest, OneThatIsDoneCanBeReadAndDeleted) {
  TestServer server;
  const std::string whole = Post(server, kResponses, Ask()).body;
  const std::string id = Json::parse(whole)["id"];
  const std::string path = std::string(kResponses) + "/" + id;
  EXPECT_EQ(Call(server, "GET", path).body, whole);
  EXPECT_EQ(Call(server, "GET", path + "?include[]=reasoning.encrypted_content").body, whole);
  EXPECT_EQ(Call(server, "GET", path + "?stream=true").error("param"), "stream");
  // A streamed one as its last event has it.
  const Json last = Post(server, kResponses, Ask({{"stream", true}})).events().back();
  const std::string streamed = last["response"]["id"];
  EXPECT_EQ(Call(server, "GET", std::string(kResponses) + "/" + streamed).json(), last["response"]);
  // It cannot be cancelled: a client sends that without a body.
  const Answered cancel = Call(server, "POST", path + "/cancel", "", "");
  EXPECT_EQ(cancel.status, 400) << cancel.body;
  EXPECT_EQ(cancel.error("code"), "not_supported");
  const Answered wrong = Call(server, "POST", path, "{}");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_TRUE(wrong.has("allow: get, head, delete, options")) << wrong.headers;

  const Answered deleted = Call(server, "DELETE", path);
  EXPECT_EQ(deleted.json(), (Json{{"id", id}, {"object", "response"}, {"deleted", true}}));
  for (const auto& [method, at] :
       std::vector<std::pair<std::string, std::string>>{{"GET", path},
                                                        {"DELETE", path},
                                                        {"POST", path + "/cancel"},
                                                        {"GET", path + "/input_items"}}) {
    const Answered gone = Call(server, method, at);
    EXPECT_EQ(gone.status, 404) << at;
    EXPECT_EQ(gone.error("type"), "invalid_request_error") << gone.body;
    EXPECT_EQ(gone.error("code"), "response_not_found") << gone.body;
  }
  EXPECT_EQ(Call(server, "GET", path + "/output").error("code"), "unknown_route");
  EXPECT_EQ(Call(server, "GET", std::string(kResponses) + "/input_tokens").status, 405);
  const std::string unkept = Post(server, kResponses, Ask({{"store", false}})).json()["id"];
  EXPECT_EQ(Call(server, "GET", std::string(kResponses) + "/" + unkept).status, 404);
}

std::vector<std::string> Ids(const Json& list) {
  std::vector<std::string> ids;
  for (const Json& item : list["data"]) ids.push_back(item["id"]);
  return ids;
}

TEST(ResponsesTest, InputItemsAreThoseOfTheWholeConversation) {
  TestServer server;
  const Json input = Json::parse(R"([
    {"role":"user","content":"list"},
    {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"think"}]},
    {"type":"function_call","call_id":"c1","name":"shell","arguments":"{}"},
    {"type":"function_call_output","call_id":"c1","output":"a b"}])");
  const Json first = Post(server, kResponses, Ask({{"input", input}})).json();
  const Json second =
      Post(server, kResponses, Ask({{"previous_response_id", first["id"]}, {"input", "And?"}}))
          .json();
  const auto list = [&](const Json& response, const std::string& query) {
    return Call(
               server, "GET",
               std::string(kResponses) + "/" + std::string(response["id"]) + "/input_items" + query)
        .json();
  };
  const Json of_first = list(first, "?order=asc");
  EXPECT_EQ(of_first["object"], "list");
  ASSERT_EQ(of_first["data"].size(), 4u) << of_first;
  EXPECT_EQ(of_first["data"][0]["type"], "message");
  EXPECT_EQ(of_first["data"][0]["content"],
            Json::parse(R"([{"type":"input_text","text":"list"}])"));
  EXPECT_EQ(of_first["data"][1]["id"], "rs_1");
  EXPECT_EQ(of_first["data"][3]["output"], "a b");
  // Items keep their ids in what goes on, and the answer is one of them.
  const Json all = list(second, "?order=asc&limit=100");
  std::vector<std::string> ids = Ids(of_first);
  ids.push_back(first["output"][0]["id"]);
  ASSERT_EQ(all["data"].size(), 6u);
  EXPECT_EQ(all["data"][5]["content"][0]["text"], "And?");
  ids.push_back(all["data"][5]["id"]);
  EXPECT_EQ(Ids(all), ids);
  EXPECT_EQ(all["first_id"], ids.front());
  EXPECT_EQ(all["last_id"], ids.back());
  EXPECT_EQ(all["has_more"], false);

  const Json page = list(second, "?limit=2&after=" + ids[4]);  // the latest first
  EXPECT_EQ(Ids(page), (std::vector{ids[3], ids[2]}));
  EXPECT_EQ(page["has_more"], true);
  const Json none = list(second, "?after=" + ids[0]);
  EXPECT_EQ(none["data"], Json::array());
  EXPECT_EQ(none["first_id"], nullptr);
  for (const std::string bad : {"order=up", "limit=0", "limit=101", "limit=x", "after=nobody"}) {
    const Json error = list(second, "?" + bad)["error"];
    EXPECT_EQ(error["param"], bad.substr(0, bad.find('='))) << error;
  }
}

TEST(ResponsesTest, LogprobsAreThoseOfTheTextsTokens) {
  const auto sampled = [](const char* bytes) {
    return node::SampledLogprob{.token = {bytes, -0.5}, .top = {{bytes, -0.5}}};
  };
  const TokenId id = 3;
  TestServer server(
      {},
      {.pieces = {}, .extra = [&](node::GenerateSink& sink) {
         const auto tell = [&](auto what, const char* bytes) {
           const node::SampledLogprob one = sampled(bytes);
           sink.OnDelta({.what = what, .ids = std::span(&id, 1), .logprobs = std::span(&one, 1)});
         };
         tell(node::ReasoningDelta{"hm"}, "hm");
         tell(node::TextDelta{""}, "<");
         tell(node::TextDelta{"<a"}, "a");
         tell(node::TextDelta{""}, "end");
       }});
  const auto tokens = [](const Json& list) {
    std::string all;
    for (const Json& one : list) all += std::string(one["token"]) + " ";
    return all;
  };
  const Json include = Json::array({"message.output_text.logprobs"});
  const Json json = Post(server, kResponses, Ask({{"include", include}})).json();
  EXPECT_EQ(json["exo"]["token_ids"], Json::array({3, 3, 3, 3}));
  EXPECT_EQ(tokens(json["output"][1]["content"][0]["logprobs"]), "< a end ");
  EXPECT_TRUE(server.last_request().sampler.logprobs);
  EXPECT_EQ(server.last_request().sampler.top_logprobs, 0u);
  const auto events =
      Post(server, kResponses, Ask({{"top_logprobs", 2}, {"stream", true}})).events();
  EXPECT_EQ(server.last_request().sampler.top_logprobs, 2u);
  std::string told;
  for (const Json& event : events) {
    if (event["type"] == "response.output_text.delta") told += tokens(event["logprobs"]) + "| ";
    if (event["type"] == "response.output_text.done") told += tokens(event["logprobs"]);
  }
  EXPECT_EQ(told, "< a | < a end ");
  const Json none = Post(server, kResponses, Ask()).json();
  EXPECT_EQ(none["output"][1]["content"][0]["logprobs"], Json::array());
  EXPECT_EQ(Post(server, kResponses, Ask({{"top_logprobs", 21}})).error("param"), "top_logprobs");
}

TEST(ResponsesTest, OneThatWasCutBeforeAnythingShowedHasNoItem) {
  TestServer server({}, {.pieces = {}, .reason = wire::FinishReason::kLength});
  const Json cut = Post(server, kResponses, Ask()).json();
  EXPECT_EQ(cut["status"], "incomplete");
  EXPECT_EQ(cut["output"], Json::array());
}

TEST(ResponsesTest, TheStoreKeepsTheLatestWithinItsBounds) {
  openai::ResponseStore store;
  const auto add = [&](uint64_t key, const std::string& id, const std::string& text) {
    store.Add(key, id, {.messages = {{.role = "user", .content = text}}});
  };
  for (size_t i = 0; i <= openai::kMaxStoredResponses; ++i) add(0, std::to_string(i), "a");
  EXPECT_EQ(store.Find(0, "0"), nullptr);
  EXPECT_NE(store.Find(0, "1"), nullptr);
  const std::string large(openai::kMaxStoredBytes / 2, 'a');
  add(0, "x", large);
  EXPECT_NE(store.Find(0, "x"), nullptr);
  add(0, "y", large);
  EXPECT_EQ(store.Find(0, "x"), nullptr);
  EXPECT_EQ(store.Find(0, "1"), nullptr);
  add(0, "z", large + large);  // too large for any store
  EXPECT_EQ(store.Find(0, "z"), nullptr);
  add(7, "w", "a");
  EXPECT_EQ(store.Find(0, "w"), nullptr) << "another's";
  EXPECT_EQ(store.Find(8, "w"), nullptr);
  EXPECT_NE(store.Find(7, "w"), nullptr);
  EXPECT_FALSE(store.Remove(8, "w"));
  EXPECT_TRUE(store.Remove(7, "w"));
  EXPECT_EQ(store.Find(7, "w"), nullptr);
  // What lists show counts, too.
  store.Add(0, "i", {.items = {{.id = "a", .json = large + large}}});
  EXPECT_EQ(store.Find(0, "i"), nullptr);
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
