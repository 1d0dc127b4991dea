// Embeddings and scores in every dialect, over a node that reads a text as its length.
#include <gtest/gtest.h>

#include <cmath>

#include "service/harness.h"
#include "service/prompts.h"
#include "service/readouts.h"

namespace exo::service {
namespace {

constexpr const char* kEmbeddings = "/v1/embeddings";

TEST(EmbeddingsTest, EachTextHasItsVectorInItsPlace) {
  TestServer server;
  const Answered answer =
      Post(server, kEmbeddings, {{"model", "tiny"}, {"input", {"a", "bcd", {5, 6}}}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json json = answer.json();
  EXPECT_EQ(json["object"], "list");
  EXPECT_EQ(json["model"], "tiny");
  ASSERT_EQ(json["data"].size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(json["data"][i]["object"], "embedding");
    EXPECT_EQ(json["data"][i]["index"], i);
    EXPECT_EQ(json["data"][i]["embedding"], Json::array({std::array{1, 3, 2}[i], -0.5}));
  }
  EXPECT_EQ(json["usage"], Json({{"prompt_tokens", 21}, {"total_tokens", 21}}));
  EXPECT_TRUE(WaitUntil([&] { return server.alive() == 0; }));
}

TEST(EmbeddingsTest, OneTextOrTokens) {
  TestServer server;
  for (const Json& input : {Json("four"), Json({1, 2, 3, 4})}) {
    const Answered answer = Post(server, kEmbeddings, {{"model", "tiny"}, {"input", input}});
    ASSERT_EQ(answer.json()["data"].size(), 1u) << answer.body;
    EXPECT_EQ(answer.json()["data"][0]["embedding"][0], 4);
  }
  EXPECT_EQ(server.last_request().prompt_ids, (std::vector<TokenId>{1, 2, 3, 4}));
}

// What the official client asks for unless told otherwise.
TEST(EmbeddingsTest, Base64IsLittleEndianBinary32) {
  TestServer server;
  const Answered answer =
      Post(server, kEmbeddings, {{"model", "tiny"}, {"input", "a"}, {"encoding_format", "base64"}});
  EXPECT_EQ(answer.json()["data"][0]["embedding"], "AACAPwAAAL8=") << answer.body;
}

TEST(EmbeddingsTest, ManyTextsAreInWorkAFewAtATime) {
  TestServer server({}, {.delay = std::chrono::milliseconds(2)});
  Json texts = Json::array();
  for (size_t i = 1; i <= 200; ++i) texts.push_back(std::string(i, 'x'));
  const Answered answer = Post(server, kEmbeddings, {{"model", "tiny"}, {"input", texts}});
  ASSERT_EQ(answer.json()["data"].size(), 200u) << answer.body;
  for (size_t i = 0; i < 200; ++i) EXPECT_EQ(answer.json()["data"][i]["embedding"][0], i + 1);
}

TEST(EmbeddingsTest, AClientThatGoesAwayCancelsAll) {
  TestServer server({}, {.prefill = std::chrono::seconds(60)});
  TestClient client(server.port());
  client.Write(RequestText("POST", kEmbeddings, R"({"model":"tiny","input":["a","b"]})"));
  ASSERT_TRUE(WaitUntil([&] { return server.alive() == 2; }));
  client.Close();
  EXPECT_TRUE(WaitUntil([&] { return server.alive() == 0; }));
}

TEST(EmbeddingsTest, TheFirstErrorIsTheAnswer) {
  TestServer server({}, {.refusal = node::GenerateError{{ErrorCode::kNotFound, "no such model"},
                                                        node::Refusal::kUnknownModel}});
  const Answered answer = Post(server, kEmbeddings, {{"model", "tiny"}, {"input", {"a", "b"}}});
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.error("code"), "model_not_found") << answer.body;
}

TEST(EmbeddingsTest, AFullQueueSaysOnceWhenToTryAgain) {
  TestServer server({}, {.refusal = node::GenerateError{{ErrorCode::kOverloaded, "full"},
                                                        node::Refusal::kQueueFull}});
  for (const char* path : {kEmbeddings, "/embedding"}) {
    const Answered answer = Post(server, path, {{"model", "tiny"}, {"input", "a"}});
    EXPECT_EQ(answer.status, 429) << answer.body;
    EXPECT_EQ(answer.error("type"), "rate_limit_error") << answer.body;
    const size_t first = answer.headers.find("retry-after");
    ASSERT_NE(first, std::string::npos) << answer.headers;
    EXPECT_EQ(answer.headers.find("retry-after", first + 1), std::string::npos) << answer.headers;
  }
}

TEST(EmbeddingsTest, WhatIsWrongIsNamed) {
  TestServer server;
  for (const auto& [field, value] : std::vector<std::pair<std::string, Json>>{
           {"input", nullptr},
           {"input", ""},
           {"input", Json::array()},
           {"input", {"a", ""}},
           {"input", {1, -1}},
           {"input", {1, 2.5}},
           {"input", {"a", 7}},
           {"input", {{"text", "a"}}},
           {"input", Json(std::vector<std::string>(kMaxTexts + 1, "a"))},
           {"encoding_format", "hex"},
           {"encoding_format", 5},
           {"user", 5},
           {"dimensions", 0},
           {"dimensions", 1.5},
           {"dimensions", 3},  // more than there are
           {"model", ""}}) {
    Json body = {{"model", "tiny"}, {"input", "a"}};
    body[field] = value;
    const Answered answer = Post(server, kEmbeddings, body);
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(answer.error("param"), field) << answer.body;
    EXPECT_NE(answer.error("code"), "") << answer.body;
  }
}

TEST(EmbeddingsTest, OllamaAndLlamaServerHaveTheirOwnForms) {
  TestServer server;
  const Json many =
      Post(server, "/api/embed", {{"model", "tiny:latest"}, {"input", {"a", "bc"}}}).json();
  EXPECT_EQ(many["model"], "tiny");
  EXPECT_EQ(many["embeddings"], Json::parse("[[1,-0.5],[2,-0.5]]"));
  EXPECT_EQ(many["prompt_eval_count"], 14);
  EXPECT_TRUE(many["total_duration"].is_number_integer());
  EXPECT_TRUE(server.last_request().readout->truncate);
  EXPECT_EQ(Post(server, "/api/embed", {{"model", "tiny"}}).json()["embeddings"], Json::array());
  for (const char* path : {"/api/embed", "/api/embeddings"}) {
    const Answered answer = Post(server, path, {{"model", "tiny"}, {"options", 5}});
    EXPECT_EQ(answer.status, 400) << path;
    EXPECT_NE(answer.body.find("'options'"), std::string::npos) << answer.body;
  }
  EXPECT_EQ(Post(server, "/api/embeddings", {{"model", "tiny"}, {"prompt", "abc"}}).json(),
            Json({{"embedding", {3, -5}}}));
  EXPECT_EQ(Post(server, "/embedding", {{"content", "abc"}}).json(),
            Json::parse(R"([{"index":0,"embedding":[[3,-0.5]]}])"));
  EXPECT_EQ(Post(server, "/embeddings", {{"input", {"a", "b"}}, {"embd_normalize", -1}}).json(),
            Json::parse(R"([{"index":0,"embedding":[[1,-5]]},{"index":1,"embedding":[[1,-5]]}])"));
}

TEST(EmbeddingsTest, WithoutATextAModelThatIsNotThereIs404) {
  TestServer server({}, {.admin_fails = true});
  for (const char* path : {"/api/embed", "/api/embeddings"})
    EXPECT_EQ(Post(server, path, {{"model", "nobody"}}).status, 404) << path;
}

TEST(EmbeddingsTest, DocumentsAreRankedByTheirScores) {
  TestServer server;
  const Json body = {{"model", "tiny"}, {"query", "q"}, {"documents", {"a", "bcde", "fg"}}};
  const Json ranked = Post(server, "/v1/rerank", body).json();
  ASSERT_EQ(ranked["results"].size(), 3u) << ranked.dump();
  EXPECT_EQ(ranked["results"][0]["index"], 1);
  EXPECT_NEAR(ranked["results"][0]["relevance_score"], 1 / (1 + std::exp(-2.0)), 1e-12);
  EXPECT_EQ(ranked["results"][1]["index"], 2);
  EXPECT_EQ(ranked["results"][1]["relevance_score"], 0.5);
  EXPECT_EQ(ranked["results"][2]["index"], 0);
  EXPECT_EQ(server.last_request().pair->query, "q");
  EXPECT_EQ(server.last_request().readout->texts, (std::vector<std::string>{"yes", "no"}));
  Json top = body;
  top["top_n"] = 1;
  top["return_documents"] = true;
  const Json best = Post(server, "/reranking", top).json();
  ASSERT_EQ(best["results"].size(), 1u);
  EXPECT_EQ(best["results"][0]["document"]["text"], "bcde");
  const Json plain = Post(server, "/rerank", {{"query", "q"}, {"texts", {"a", "bc"}}}).json();
  EXPECT_EQ(plain[0]["index"], 1) << plain.dump();
  EXPECT_EQ(plain[0]["score"], 0.5);
}

TEST(EmbeddingsTest, PairsAreScored) {
  TestServer server;
  const Json scored =
      Post(server, "/v1/score", {{"model", "tiny"}, {"text_1", "q"}, {"text_2", {"ab", "abcd"}}})
          .json();
  ASSERT_EQ(scored["data"].size(), 2u) << scored.dump();
  EXPECT_EQ(scored["data"][0]["score"], 0.5);
  EXPECT_GT(scored["data"][1]["score"], 0.8);
  EXPECT_EQ(
      Post(server, "/v1/score", {{"model", "tiny"}, {"text_1", {"a", "b"}}, {"text_2", {"c"}}})
          .status,
      400);
  EXPECT_EQ(Post(server, "/v1/rerank", {{"model", "tiny"}, {"query", "q"}}).error("param"),
            "documents");
}

}  // namespace
}  // namespace exo::service
