// Created models: from Ollama's request to what requests of every dialect get of them.
#include <gtest/gtest.h>

#include "service/harness.h"
#include "service/ollama/modelfile.h"

namespace exo::service::ollama {
namespace {

const Json kPoet = {{"model", "poet:latest"},
                    {"from", "tiny"},
                    {"system", "Rhyme."},
                    {"parameters", {{"temperature", 0.25}, {"stop", {"END"}}, {"num_predict", 1}}},
                    {"messages", {{{"role", "user"}, {"content", "before"}}}},
                    {"template", "{{ messages[0]['content'] }}"},
                    {"license", {"MIT", "and more"}},
                    {"stream", false}};

std::string ErrorOf(const TestServer& server, const char* path, Json body, int status = 400) {
  const Answered answer = Post(server, path, body);
  EXPECT_EQ(answer.status, status) << answer.body;
  return answer.json()["error"].is_string() ? answer.json()["error"].get<std::string>() : "";
}

TEST(CreateTest, ACreatedModelAnswersInEveryDialectWithItsDefaults) {
  TestServer server;
  EXPECT_EQ(Post(server, "/api/create", kPoet).json(), Json({{"status", "success"}}));
  const Json chat = {{"model", "poet"},
                     {"stream", false},
                     {"max_tokens", 5},
                     {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  for (const char* path : {"/api/chat", kChat, "/v1/messages"}) {
    const Answered answer = Post(server, path, chat);
    ASSERT_EQ(answer.status, 200) << path << answer.body;
    EXPECT_EQ(answer.json()["model"], "poet");
    const node::GenerateRequest asked = server.last_request();
    EXPECT_EQ(asked.sampler.temperature, 0.25f) << path;
    EXPECT_EQ(asked.stop, std::vector<std::string>{"END"});
    EXPECT_EQ(asked.chat.chat_template, kPoet["template"].get<std::string>());
    ASSERT_EQ(asked.messages.size(), 3u) << path;
    EXPECT_EQ(asked.messages[0].role, "system");
    EXPECT_EQ(asked.messages[0].content, "Rhyme.");
    EXPECT_EQ(asked.messages[1].content, "before");
  }
  const Json responses = {{"model", "poet"}, {"input", "Hi"}};
  EXPECT_EQ(Post(server, "/v1/responses", responses).status, 200);
  EXPECT_EQ(server.last_request().max_tokens, 1u);
  EXPECT_EQ(Post(server, "/completion", {{"model", "poet"}, {"prompt", "a"}}).status, 200);
  EXPECT_EQ(server.last_request().sampler.temperature, 0.25f);
  EXPECT_EQ(Post(server, "/v1/completions", {{"model", "poet"}, {"prompt", "a"}}).status, 200);
  EXPECT_EQ(server.last_request().max_tokens, 1u);
}

TEST(CreateTest, WhatARequestSaysItselfCounts) {
  TestServer server;
  Post(server, "/api/create", kPoet);
  Json chat = {{"model", "poet"},
               {"messages",
                {{{"role", "system"}, {"content", "Own."}}, {{"role", "user"}, {"content", "Hi"}}}},
               {"temperature", 0.75},
               {"max_completion_tokens", 7},
               {"stop", "X"}};
  EXPECT_EQ(Post(server, kChat, chat).status, 200);
  const node::GenerateRequest asked = server.last_request();
  EXPECT_EQ(asked.sampler.temperature, 0.75f);
  EXPECT_EQ(asked.max_tokens, 7u);
  EXPECT_EQ(asked.stop, std::vector<std::string>{"X"});
  EXPECT_EQ(asked.messages[0].content, "Own.");
  EXPECT_EQ(asked.messages[1].content, "before");
  chat = {{"model", "poet"},
          {"stream", false},
          {"options", {{"temperature", 0.5}}},
          {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  EXPECT_EQ(Post(server, "/api/chat", chat).status, 200);
  EXPECT_EQ(server.last_request().sampler.temperature, 0.5f);
  EXPECT_EQ(server.last_request().sampler.top_k, 40u);  // Ollama's own
}

TEST(CreateTest, ItIsListedShownCopiedAndDeleted) {
  TestServer server;
  Json body = kPoet;
  body.erase("stream");
  const Answered created = Post(server, "/api/create", body);
  EXPECT_TRUE(created.has("content-type: application/x-ndjson"));
  EXPECT_TRUE(created.body.ends_with("{\"status\":\"success\"}\n")) << created.body;
  EXPECT_EQ(Post(server, "/api/copy", {{"source", "poet"}, {"destination", "bard"}}).status, 200);
  EXPECT_EQ(Post(server, "/api/copy", {{"source", "tiny"}, {"destination", "small"}}).status, 200);
  const Json tags = Call(server, "GET", "/api/tags").json();
  size_t found = 0;
  for (const Json& model : tags["models"])
    found += model["name"] == "bard" && model["details"]["parent_model"] == "tiny" ? 1 : 0;
  EXPECT_EQ(found, 1u) << tags.dump();
  EXPECT_EQ(Call(server, "GET", "/v1/models/bard").json()["exo"]["base"], "tiny");
  const Json shown = Post(server, "/api/show", {{"model", "bard"}}).json();
  EXPECT_EQ(shown["system"], "Rhyme.");
  EXPECT_EQ(shown["license"], "MIT\nand more");
  EXPECT_EQ(shown["template"], kPoet["template"]);
  EXPECT_NE(shown["parameters"].get<std::string>().find("temperature"), std::string::npos);
  EXPECT_EQ(shown["messages"][0]["content"], "before");
  // What is shown makes the same again.
  const Json again = {{"name", "again"}, {"modelfile", shown["modelfile"]}, {"stream", false}};
  EXPECT_EQ(Post(server, "/api/create", again).status, 200) << shown["modelfile"];
  EXPECT_EQ(Post(server, "/api/show", {{"model", "again"}}).json()["modelfile"],
            shown["modelfile"]);
  EXPECT_EQ(Call(server, "DELETE", "/api/delete", R"({"model":"bard"})").status, 200);
  EXPECT_EQ(Call(server, "DELETE", "/api/delete", R"({"model":"bard"})").status, 404);
  EXPECT_EQ(Post(server, "/api/show", {{"model", "bard"}}).status, 404);
}

TEST(CreateTest, OneMadeFromAnotherKeepsWhatItDoesNotSay) {
  TestServer server;
  Post(server, "/api/create", kPoet);
  const Json child = {{"model", "child"},
                      {"from", "poet"},
                      {"system", "Shout."},
                      {"parameters", {{"top_k", 0}}},
                      {"stream", false}};
  EXPECT_EQ(Post(server, "/api/create", child).status, 200);
  EXPECT_EQ(Call(server, "GET", "/v1/models/child").json()["exo"]["base"], "tiny");
  Post(server, "/api/generate", {{"model", "child"}, {"prompt", "x"}, {"stream", false}});
  EXPECT_EQ(server.last_request().messages[0].content, "Shout.");
  EXPECT_EQ(server.last_request().sampler.temperature, 0.25f);
  EXPECT_EQ(server.last_request().sampler.top_k, 0u);
}

TEST(CreateTest, AnAdapterIsNamedWithOrWithoutTheEndOfItsFile) {
  TestServer server;
  for (const char* name : {"style", "style.gguf"}) {
    const Json body = {
        {"model", "poet"}, {"from", "tiny"}, {"adapters", {name}}, {"stream", false}};
    ASSERT_EQ(Post(server, "/api/create", body).status, 200) << name;
    Post(server, "/api/generate", {{"model", "poet"}, {"prompt", "x"}, {"stream", false}});
    EXPECT_EQ(server.last_request().load_adapters,
              (std::vector<node::AdapterChoice>{{.file = "style"}}))
        << name;
  }
}

TEST(CreateTest, MistakesAreNamed) {
  TestServer server;
  const std::vector<std::pair<Json, const char*>> cases = {
      {{{"from", nullptr}}, "'from'"},
      {{{"quantize", "q4_K_M"}}, "'quantize'"},
      {{{"files", {{"a.gguf", "sha256:1"}}}}, "'files'"},
      {{{"adapters", {{"a.gguf", "sha256:1"}}}}, "'adapters'"},
      {{{"adapters", {"/etc/passwd"}}}, "/etc/passwd"},
      {{{"adapters", 5}}, "'adapters'"},
      {{{"template", "{{ .Prompt }}"}}, "Go template"},
      {{{"template", "{{- if .System }}x{{ end }}"}}, "Go template"},
      {{{"template", "{% for %}"}}, "'template'"},
      {{{"parameters", {{"temperature", 9}}}}, "'temperature'"},
      {{{"parameters", {{"wings", 2}}}}, "wings"},
      {{{"parameters", {{"num_ctx", "x"}}}}, "'num_ctx'"},
      {{{"parameters", 5}}, "'parameters'"},
      {{{"messages", {{{"role", "user"}}}}}, "'content'"},
      {{{"messages", {{{"role", "king"}, {"content", "x"}}}}}, "king"},
      {{{"license", 5}}, "'license'"},
      {{{"system", 5}}, "'system'"},
      {{{"modelfile", "FROM tiny\nWINGS 2"}}, "line 2"},
      {{{"model", "hub/tiny"}}, "hub/tiny"}};
  for (const auto& [more, word] : cases) {
    Json body = {{"model", "new"}, {"from", "tiny"}};
    body.update(more);
    EXPECT_NE(ErrorOf(server, "/api/create", body).find(word), std::string::npos) << body;
  }
  EXPECT_NE(ErrorOf(server, "/api/create", {{"model", "new"}, {"from", "nobody"}}, 404), "");
  EXPECT_NE(ErrorOf(server, "/api/copy", {{"source", "nobody"}, {"destination", "x"}}, 404), "");
  EXPECT_NE(ErrorOf(server, "/api/copy", {{"source", "tiny"}}), "");
}

TEST(ModelfileTest, EveryInstructionIsRead) {
  const auto file = ParseModelfile(
      "# a comment\n"
      "from tiny\r\n"
      "PARAMETER temperature 0.5\n"
      "PARAMETER stop \"a b\"\n"
      "PARAMETER stop END\n"
      "SYSTEM \"\"\"two\n  lines\"\"\"\n"
      "\n"
      "TEMPLATE {{ messages }}\n"
      "ADAPTER style\n"
      "MESSAGE user Is it day?\n"
      "MESSAGE assistant \"\"\"yes\"\"\"\n"
      "LICENSE one\nLICENSE two");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->from, "tiny");
  EXPECT_EQ(file->parameters, Json({{"temperature", 0.5}, {"stop", {"a b", "END"}}}));
  EXPECT_EQ(file->system, "two\n  lines");
  EXPECT_EQ(file->chat_template, "{{ messages }}");
  EXPECT_EQ(file->adapters, std::vector<std::string>{"style"});
  ASSERT_EQ(file->messages.size(), 2u);
  EXPECT_EQ(file->messages[0].content, "Is it day?");
  EXPECT_EQ(file->messages[1].content, "yes");
  EXPECT_EQ(file->license, "one\ntwo");
  for (const char* bad : {"WINGS", "PARAMETER", "PARAMETER x", "SYSTEM \"\"\"no end", "FROM a\n:"})
    EXPECT_FALSE(ParseModelfile(bad)) << bad;
}

}  // namespace
}  // namespace exo::service::ollama
