// How requests name their model, over a scripted node.
#include "service/request_fields.h"

#include <gtest/gtest.h>

#include "service/harness.h"

namespace exo::service {
namespace {

TEST(RequestFieldsTest, TheTagLatestMeansTheModelOfThatName) {
  EXPECT_EQ(WithoutTag("hub/tiny:latest"), "hub/tiny");
  EXPECT_EQ(WithoutTag("tiny:8b"), "tiny:8b");
  EXPECT_EQ(WithoutTag(":latest"), ":latest");
  TestServer server;
  const Json chat = {{"model", "tiny:latest"},
                     {"max_tokens", 1},
                     {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  const Json text = {{"model", "tiny:latest"}, {"prompt", "Hi"}};
  const Json input = {{"model", "tiny:latest"}, {"input", "Hi"}};
  for (const auto& [path, body] :
       std::vector<std::pair<const char*, Json>>{{kChat, chat},
                                                 {"/v1/completions", text},
                                                 {"/v1/responses", input},
                                                 {"/v1/embeddings", input},
                                                 {"/v1/messages", chat},
                                                 {"/api/chat", chat},
                                                 {"/completion", text}}) {
    const Answered answer = Post(server, path, body);
    EXPECT_EQ(answer.status, 200) << path << answer.body;
    EXPECT_EQ(server.last_request().model, "tiny") << path;
  }
  EXPECT_EQ(Call(server, "GET", "/v1/models/tiny:latest").json()["id"], "tiny");
  EXPECT_EQ(Call(server, "GET", "/v1/models/tiny:8b").status, 404);
}

TEST(RequestFieldsTest, AWireIsNamed) {
  const auto read = [](const Json& body) { return ReadCodec(body).value(); };
  EXPECT_FALSE(read(Json::object()).has_value());
  EXPECT_EQ(read({{"wire", "f32"}}), std::optional(wire::Codec::kF32));
  EXPECT_EQ(read({{"wire", "int4"}}), std::optional(wire::Codec::kInt4));
  for (const Json& body : {Json{{"wire", "q8"}}, Json{{"wire", 8}}, Json{{"wire", true}}}) {
    const auto refused = ReadCodec(body);
    ASSERT_FALSE(refused) << body;
    EXPECT_EQ(refused.error().param, "wire");
  }
}

TEST(RequestFieldsTest, ASplitIsNamedOrSpread) {
  EXPECT_EQ(ReadSplit(Json::object()), wire::Split::kAuto);
  EXPECT_EQ(ReadSplit({{"split", "auto"}}), wire::Split::kAuto);
  EXPECT_EQ(ReadSplit({{"split", "tensor"}, {"spread", false}}), wire::Split::kTensor);
  EXPECT_EQ(ReadSplit({{"split", "layer"}}), wire::Split::kLayer);
  EXPECT_EQ(ReadSplit({{"split", "hybrid"}}), wire::Split::kHybrid);
  EXPECT_EQ(ReadSplit({{"spread", true}}), wire::Split::kLayer);
  for (const Json& body : {Json{{"split", "rows"}}, Json{{"split", true}},
                           Json{{"split", "layer"}, {"spread", true}}}) {
    const auto read = ReadSplit(body);
    ASSERT_FALSE(read) << body;
    EXPECT_EQ(read.error().param, "split") << body;
  }
}

TEST(RequestFieldsTest, AUseIsNamed) {
  EXPECT_EQ(ReadUse(Json::object()), wire::Use::kAuto);
  EXPECT_EQ(ReadUse({{"for", "latency"}}), wire::Use::kLatency);
  EXPECT_EQ(ReadUse({{"for", "throughput"}}), wire::Use::kThroughput);
  for (const Json& body : {Json{{"for", "speed"}}, Json{{"for", 1}}, Json{{"for", ""}}}) {
    const auto read = ReadUse(body);
    ASSERT_FALSE(read) << body;
    EXPECT_EQ(read.error().param, "for") << body;
  }
}

}  // namespace
}  // namespace exo::service
