// "lora" of a request, in every dialect.
#include "service/adapter_fields.h"

#include <gtest/gtest.h>

#include "service/harness.h"

namespace exo::service {
namespace {

Parsed<std::optional<std::vector<wire::AdapterUse>>> Parse(const std::string& lora) {
  node::GenerateRequest request;
  TRY(ReadAdapters({{"lora", Json::parse(lora)}}, request));
  return request.adapters;
}

TEST(AdapterFieldsTest, ARequestNamesThemByIdAndScale) {
  const auto uses = Parse(R"([{"id": 3, "scale": -0.5}, {"id": 1}])");
  ASSERT_TRUE(uses) << uses.error().message;
  EXPECT_EQ(**uses, (std::vector<wire::AdapterUse>{{1, 1}, {3, -0.5f}}));
  EXPECT_TRUE((*Parse("[]"))->empty());
  EXPECT_FALSE(*Parse("null")) << "as the model was loaded";
}

TEST(AdapterFieldsTest, WhatNamesNoneIsRefused) {
  for (const char* lora :
       {"3", R"({"id": 0})", "[0]", "[{}]", R"([{"id": -1}])", R"([{"id": 16}])",
        R"([{"id": 0.5}])", R"([{"id": 0, "scale": "1"}])", R"([{"id": 0, "scale": 1e9}])",
        R"([{"id": 0}, {"id": 0, "scale": 2}])"}) {
    const auto uses = Parse(lora);
    ASSERT_FALSE(uses) << lora;
    EXPECT_EQ(uses.error().status, 400);
    EXPECT_EQ(uses.error().param, "lora") << lora;
  }
}

TEST(AdapterFieldsTest, EveryDialectReadsThem) {
  TestServer server;
  const Json chat = {{"model", "tiny"},
                     {"max_tokens", 1},
                     {"stream", false},
                     {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  const Json text = {{"model", "tiny"}, {"prompt", "Hi"}, {"stream", false}};
  for (auto [path, body] : std::vector<std::pair<const char*, Json>>{
           {kChat, chat},
           {"/v1/completions", text},
           {"/v1/responses", {{"model", "tiny"}, {"input", "Hi"}}},
           {"/v1/messages", chat},
           {"/api/chat", chat},
           {"/api/generate", text},
           {"/completion", text},
           {"/infill", {{"input_prefix", "a"}}}}) {
    body["lora"] = {{{"id", 1}, {"scale", 0.5}}};
    ASSERT_EQ(Post(server, path, body).status, 200) << path;
    EXPECT_EQ(server.last_request().adapters, (std::vector<wire::AdapterUse>{{1, 0.5f}})) << path;
    body["lora"] = 3;
    const Answered refused = Post(server, path, body);
    EXPECT_EQ(refused.status, 400) << path;
    EXPECT_NE(refused.body.find("'lora'"), std::string::npos) << refused.body;
  }
}

}  // namespace
}  // namespace exo::service
