// Ollama's API over a scripted node: shapes that its clients read.
#include <gtest/gtest.h>

#include <sstream>

#include "service/harness.h"

namespace exo::service {
namespace {

Json Ask(Json more = Json::object()) {
  Json body = {{"model", "tiny:latest"},
               {"stream", false},
               {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  body.update(more);
  return body;
}

std::vector<Json> Lines(const Answered& answer) {
  std::vector<Json> lines;
  std::istringstream text(answer.body);
  for (std::string line; std::getline(text, line);)
    lines.push_back(ParseJson(line).value_or(Json("no JSON: " + line)));
  return lines;
}

TEST(OllamaTest, StreamsALinePerPiece) {
  TestServer server({}, {.extra = [](node::GenerateSink& sink) {
                      sink.OnDelta({.what = node::ReasoningDelta{"hm"}});
                      sink.OnDelta({.what = node::ToolCallDelta{0, "c1", "get", "{\"a\":"}});
                      sink.OnDelta({.what = node::ToolCallDelta{0, "", "", "1}"}});
                    }});
  Json body = Ask();
  body.erase("stream");  // streaming is the default
  const Answered answer = Post(server, "/api/chat", body);
  EXPECT_TRUE(answer.has("content-type: application/x-ndjson"));
  const std::vector<Json> lines = Lines(answer);
  ASSERT_EQ(lines.size(), 4u) << answer.body;
  EXPECT_EQ(lines[0]["message"]["thinking"], "hm");
  EXPECT_EQ(lines[1]["message"]["content"], "Hel");
  EXPECT_EQ(lines[2]["message"]["content"], "lo");
  EXPECT_EQ(lines[2]["done"], false);
  const Json& last = lines[3];
  EXPECT_EQ(last["done"], true);
  EXPECT_EQ(last["done_reason"], "stop");
  EXPECT_EQ(last["message"]["tool_calls"][0]["function"]["arguments"], Json({{"a", 1}}));
  EXPECT_EQ(last["prompt_eval_count"], 7);
  EXPECT_EQ(last["prompt_eval_duration"], 10'000'000);  // 7 tokens at 700 a second
  EXPECT_EQ(last["eval_duration"], 20'000'000);         // the second of two, at 50 a second
  EXPECT_EQ(last["load_duration"], 2'500'000);          // of the 12.5 ms to the first token
}

TEST(OllamaTest, AContextIsWhatAConversationWas) {
  TestServer server;
  Json body = {{"model", "tiny"}, {"prompt", "a"}, {"stream", false}};
  const Json first = Post(server, "/api/generate", body).json();
  EXPECT_EQ(first["context"], Json::array({1, 2, 3, 4, 5, 6, 7, 0, 1})) << "prompt and answer";
  body["context"] = first["context"];
  body["stream"] = true;
  const auto lines = Lines(Post(server, "/api/generate", body));
  EXPECT_TRUE(lines.back().contains("context"));
  EXPECT_FALSE(lines.front().contains("context"));
  EXPECT_EQ(server.last_request().before, first["context"].get<std::vector<TokenId>>());
  EXPECT_EQ(server.last_request().messages.size(), 1u);
  body.update({{"context", Json::array()}, {"raw", true}, {"stream", false}});
  EXPECT_FALSE(Post(server, "/api/generate", body).json().contains("context"));
  EXPECT_FALSE(Post(server, "/api/chat", Ask()).json().contains("context"));
}

TEST(OllamaTest, OptionsAndMessagesReachTheNode) {
  TestServer server;
  const Json body = Ask(Json::parse(R"({
    "options": {"temperature": 0.5, "num_predict": 9, "top_k": 3, "seed": 4, "stop": ["x"],
                "repeat_penalty": 1.5, "num_ctx": 4096},
    "think": "low", "keep_alive": "5m",
    "tools": [{"type":"function","function":{"name":"get","parameters":{"type":"object"}}}],
    "messages": [{"role":"user","content":"a"},
      {"role":"assistant","thinking":"t",
       "tool_calls":[{"function":{"name":"get","arguments":{"k":1}}}]},
      {"role":"tool","tool_name":"get","content":"r"}]})"));
  const Answered answer = Post(server, "/api/chat", body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json()["model"], "tiny");
  const node::GenerateRequest asked = server.last_request();
  EXPECT_EQ(asked.model, "tiny");
  EXPECT_EQ(asked.keep_ms, 300'000u);
  EXPECT_EQ(asked.sampler.temperature, 0.5f);
  EXPECT_EQ(asked.sampler.top_k, 3u);
  EXPECT_EQ(asked.sampler.top_p, 0.9f);
  EXPECT_EQ(asked.sampler.repeat_penalty, 1.5f);
  EXPECT_EQ(asked.sampler.seed, 4u);
  EXPECT_EQ(asked.max_tokens, 9u);
  EXPECT_EQ(asked.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(asked.chat.tools.size(), 1u);
  EXPECT_EQ(asked.chat.variables.size(), 2u);
  ASSERT_EQ(asked.messages.size(), 3u);
  EXPECT_EQ(asked.messages[1].tool_calls.at(0).name, "get");
  EXPECT_EQ(asked.messages[2].name, "get");
}

TEST(OllamaTest, GenerateIsAChatUnlessRaw) {
  TestServer server;
  Json answer = Post(server, "/api/generate",
                     {{"model", "tiny"}, {"prompt", "p"}, {"system", "s"}, {"stream", false}})
                    .json();
  EXPECT_EQ(answer["response"], "Hello");
  EXPECT_EQ(server.last_request().messages.size(), 2u);
  Post(server, "/api/generate", {{"model", "tiny"}, {"prompt", "p"}, {"raw", true}});
  EXPECT_EQ(server.last_request().prompt, "p");
  EXPECT_TRUE(server.last_request().special);
  Post(server, "/api/generate", {{"model", "tiny"}, {"prompt", "p"}, {"suffix", "q"}});
  EXPECT_EQ(server.last_request().suffix, "q");
  answer = Post(server, "/api/generate", {{"model", "tiny"}}).json();
  EXPECT_EQ(answer["done_reason"], "load");
  answer = Post(server, "/api/chat", {{"model", "tiny"}, {"keep_alive", 0}}).json();
  EXPECT_EQ(answer["done_reason"], "unload");
  EXPECT_EQ(server.unloads_when_idle(), 1) << "others' answers go on";
}

TEST(OllamaTest, KeepAliveIsATimeASecondsCountOrNothing) {
  TestServer server;
  const auto kept = [&](const Json& value) {
    const auto answer =
        Post(server, "/api/generate", {{"model", "tiny"}, {"prompt", "p"}, {"keep_alive", value}});
    EXPECT_EQ(answer.status, 200) << answer.body;
    return server.last_request().keep_ms;
  };
  EXPECT_EQ(kept(90), 90'000u);
  EXPECT_EQ(kept("1h30m"), 5'400'000u);
  EXPECT_EQ(kept(0), wire::kKeepUntilIdle);
  EXPECT_EQ(kept("0s"), wire::kKeepUntilIdle);
  EXPECT_EQ(kept(-1), 0u) << "until the memory is needed";
  EXPECT_EQ(kept(Json()), std::nullopt);
  for (const Json& bad : {Json("soon"), Json(true), Json(Json::object()), Json("5 m"), Json("")}) {
    const auto answer =
        Post(server, "/api/generate", {{"model", "tiny"}, {"prompt", "p"}, {"keep_alive", bad}});
    EXPECT_EQ(answer.status, 400) << bad;
    EXPECT_NE(answer.body.find("keep_alive"), std::string::npos) << answer.body;
  }
}

TEST(OllamaTest, ModelsAreDescribed) {
  TestServer server;
  const Json tags = Call(server, "GET", "/api/tags").json();
  EXPECT_EQ(tags["models"][0]["name"], "tiny");
  EXPECT_EQ(tags["models"][0]["modified_at"], "2023-11-14T22:13:20Z");
  const Json show = Post(server, "/api/show", {{"name", "tiny"}}).json();
  EXPECT_EQ(show["model_info"]["llama.context_length"], 512);
  EXPECT_EQ(show["capabilities"], Json::array({"completion", "tools"}));
  EXPECT_EQ(show["details"]["parameter_size"], "7.6M");
  EXPECT_EQ(show["details"]["quantization_level"], "Q8_0");
  const Json running = Call(server, "GET", "/api/ps").json();
  EXPECT_EQ(running["models"][0]["size"], 160);
  EXPECT_EQ(running["models"][0]["context_length"], 512);
  EXPECT_EQ(Call(server, "DELETE", "/api/delete", R"({"model":"hub/tiny"})").status, 200);
  EXPECT_EQ(Call(server, "DELETE", "/api/delete", R"({"model":"x"})").status, 404);
}

TEST(OllamaTest, ErrorsAreATextAndNameTheField) {
  TestServer server;
  const auto text_of = [&](const char* path, const Json& body, int status) {
    const Answered answer = Post(server, path, body);
    EXPECT_EQ(answer.status, status) << answer.body;
    return answer.json()["error"].is_string() ? answer.json()["error"].get<std::string>() : "";
  };
  for (const auto& [field, value] : std::vector<std::pair<std::string, Json>>{
           {"format", "xml"},
           {"format", {{"contains", 3}, {"type", "array"}}},
           {"options", 3},
           {"think", 3},
           {"num_predict", {{"x", 1}}},
           {"messages", {{{"role", "user"}, {"images", {"aa"}}}}}}) {
    Json body =
        field == "num_predict" ? Ask({{"options", {{"num_predict", 0}}}}) : Ask({{field, value}});
    const std::string text = text_of("/api/chat", body, 400);
    EXPECT_NE(text.find(field == "messages" ? "images" : field), std::string::npos) << text;
  }
  for (const auto& [field, value] : std::vector<std::pair<std::string, Json>>{
           {"template", "x"}, {"context", "x"}, {"context", {-1}}, {"context", {1, "x"}}}) {
    const Json body = {{"model", "tiny"}, {"prompt", "a"}, {field, value}};
    EXPECT_NE(text_of("/api/generate", body, 400).find(field), std::string::npos);
  }
  for (const char* field : {"raw", "suffix"}) {
    Json body = {{"model", "tiny"}, {"prompt", "a"}, {"context", {1}}, {"raw", true}};
    if (field == std::string("suffix")) body["suffix"] = "x";
    EXPECT_NE(text_of("/api/generate", body, 400).find(field), std::string::npos);
  }
  EXPECT_EQ(Call(server, "HEAD", "/api/blobs/sha256:a").status, 400);
  for (const char* path : {"/api/push", "/api/blobs/a"})
    EXPECT_NE(text_of(path, {{"model", "tiny"}}, 400).find("not supported"), std::string::npos);
  EXPECT_NE(text_of("/api/chat", Ask({{"model", "nobody"}}), 404), "");
  server.Set({.refusal = node::GenerateError{{ErrorCode::kOverloaded, "full"},
                                             node::Refusal::kQueueFull}});
  EXPECT_EQ(text_of("/api/chat", Ask(), 503), "full");
  server.Set({.loss = node::GenerateError{{ErrorCode::kDisconnected, "gone"}}});
  EXPECT_EQ(Lines(Post(server, "/api/chat", Ask({{"stream", true}}))).back()["error"], "gone");
}

}  // namespace
}  // namespace exo::service
