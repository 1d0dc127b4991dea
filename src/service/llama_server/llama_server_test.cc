// llama-server's routes over a scripted node.
#include <gtest/gtest.h>

#include "service/harness.h"

namespace exo::service {
namespace {

TEST(LlamaServerTest, CompletesWithItsNames) {
  TestServer server;
  const Json body = {{"prompt", "Once"}, {"n_predict", 9}, {"seed", -1}};
  const Json json = Post(server, "/completion", body).json();
  EXPECT_EQ(json["content"], "Hello");
  EXPECT_EQ(json["stop_type"], "eos");
  EXPECT_EQ(json["tokens_evaluated"], 7);
  EXPECT_EQ(json["timings"]["predicted_n"], 2);
  EXPECT_EQ(json["model"], "tiny");  // named by nobody: the first
  const node::GenerateRequest asked = server.last_request();
  EXPECT_EQ(asked.prompt, "Once");
  EXPECT_EQ(asked.max_tokens, 9u);
  EXPECT_FALSE(asked.has_seed);
  EXPECT_EQ(asked.sampler.top_k, 40u);
  const std::vector<Json> events =
      Post(server, "/completions", {{"prompt", "a"}, {"stream", true}}).events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0]["content"], "Hel");
  EXPECT_EQ(events[2]["stop"], true);
  const Json cut = Post(server, "/completion", {{"prompt", "a"}, {"stop", {"lo"}}}).json();
  EXPECT_EQ(cut["stop_type"], "word");
  EXPECT_EQ(cut["stopping_word"], "lo");
}

TEST(LlamaServerTest, FillsIn) {
  TestServer server;
  const Json body = {{"input_prefix", "int a ="}, {"input_suffix", ";"}};
  EXPECT_EQ(Post(server, "/infill", body).json()["content"], "Hello");
  EXPECT_EQ(server.last_request().prompt, "int a =");
  EXPECT_EQ(server.last_request().suffix, ";");
  EXPECT_EQ(Post(server, "/infill", {{"prompt", "a"}}).status, 400);
}

TEST(LlamaServerTest, AnswersHaveAForm) {
  TestServer server;
  for (const char* path : {"/completion", "/infill"}) {
    Json body = {{"prompt", "a"}, {"grammar", "root ::= \"a\""}};
    if (path == std::string("/infill"))
      body = {{"input_prefix", "a"}, {"grammar", body["grammar"]}};
    ASSERT_EQ(Post(server, path, body).status, 200) << path;
    EXPECT_EQ(server.last_request().sampler.grammar.parts.size(), 1u) << path;
    body["grammar"] = "root ::= nothing";
    EXPECT_EQ(Post(server, path, body).status, 400) << path;
    body["grammar"] = "";
    body["json_schema"] = {{"type", "integer"}};
    ASSERT_EQ(Post(server, path, body).status, 200) << path;
    EXPECT_EQ(server.last_request().sampler.grammar.parts.size(), 1u) << path;
  }
}

TEST(LlamaServerTest, SamplersMayBeLetters) {
  TestServer server;
  using enum wire::SamplerStep;
  ASSERT_EQ(Post(server, "/completion", {{"prompt", "a"}, {"samplers", "edskypmxt"}}).status, 200);
  EXPECT_EQ(server.last_request().sampler.order,
            (std::vector<wire::SamplerStep>{kPenalties, kDry, kTopNSigma, kTopK, kTypicalP, kTopP,
                                            kMinP, kXtc, kTemperature}));
  const Answered refused = Post(server, "/completion", {{"prompt", "a"}, {"samplers", "eq"}});
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("is \\\"q\\\""), std::string::npos) << refused.body;
}

TEST(LlamaServerTest, NoTokensComputeThePromptAlone) {
  TestServer server;
  Json body = {{"prompt", "a"}, {"n_predict", 0}};
  const Json json = Post(server, "/completion", body).json();
  EXPECT_EQ(json["content"], "");
  EXPECT_EQ(json["tokens"], Json::array());
  EXPECT_EQ(json["stop_type"], "limit");
  EXPECT_EQ(json["tokens_predicted"], 0);
  EXPECT_EQ(json["tokens_evaluated"], 7);
  EXPECT_EQ(server.last_request().max_tokens, 1u);
  body["stream"] = true;
  EXPECT_EQ(Post(server, "/completion", body).events().size(), 1u);
}

TEST(LlamaServerTest, TokensAndTemplates) {
  TestServer server;
  EXPECT_EQ(Post(server, "/tokenize", {{"content", "AB"}}).body, R"({"tokens":[65,66]})");
  EXPECT_TRUE(server.last_request().no_bos);
  Post(server, "/tokenize", {{"content", "AB"}, {"add_special", true}});
  EXPECT_FALSE(server.last_request().no_bos);
  EXPECT_EQ(Post(server, "/detokenize", {{"tokens", {65, 66}}}).body, R"({"content":"AB"})");
  const Json chat = {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  EXPECT_EQ(Post(server, "/apply-template", chat).body, R"({"prompt":"<user>Hi"})");
}

TEST(LlamaServerTest, TellsAboutItself) {
  TestServer server;
  const Json props = Call(server, "GET", "/props").json();
  EXPECT_EQ(props["default_generation_settings"]["n_ctx"], 512);
  EXPECT_EQ(props["chat_template"], "{{ messages }}");
  const Json slots = Call(server, "GET", "/slots").json();
  ASSERT_EQ(slots.size(), 2u);
  EXPECT_EQ(slots[0]["is_processing"], true);
  EXPECT_EQ(slots[1]["is_processing"], false);
  EXPECT_NE(Call(server, "GET", "/metrics").body.find("llamacpp:tokens_predicted_total 1234"),
            std::string::npos);
}

TEST(LlamaServerTest, WhatIsWrongIsNamed) {
  TestServer server;
  for (const auto& [path, body] : std::vector<std::pair<const char*, Json>>{
           {"/completion", Json::object()},
           {"/completion", {{"prompt", {"a", "b"}}}},
           {"/completion", {{"prompt", "a"}, {"n_probs", 99}}},
           {"/completion", {{"prompt", "a"}, {"ignore_eos", true}}},
           {"/completion", {{"prompt", "a"}, {"dynatemp_range", 0.5}}},
           {"/completion", {{"prompt", "a"}, {"t_max_predict_ms", "long"}}},
           {"/completion", {{"prompt", "a"}, {"response_fields", {"content"}}}},
           {"/tokenize", {{"content", 3}}},
           {"/tokenize", {{"content", "a"}, {"with_pieces", true}}},
           {"/detokenize", {{"tokens", {-1}}}},
           {"/apply-template", {{"messages", 3}}}}) {
    const Answered answer = Post(server, path, body);
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(answer.json()["error"]["code"], 400);
  }
  EXPECT_EQ(Post(server, "/tokenize", {{"content", "a"}, {"model", "nobody"}}).status, 404);
  const Json off = {{"prompt", "a"}, {"dynatemp_range", 0}, {"t_max_predict_ms", -1}};
  EXPECT_EQ(Post(server, "/completion", off).status, 200);
}

}  // namespace
}  // namespace exo::service
