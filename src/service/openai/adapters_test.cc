// "lora" of a request, and the adapters of a loaded model.
#include <gtest/gtest.h>

#include "service/openai/models.h"
#include "service/openai/parse_request.h"

namespace exo::service::openai {
namespace {

Parsed<CompletionCall> Parse(const std::string& lora) {
  grammar::Cache grammars;
  return ParseCompletionRequest(R"({"model": "tiny", "prompt": "x", "lora": )" + lora + "}",
                                grammars);
}

TEST(AdaptersTest, ARequestNamesThemByIdAndScale) {
  const auto call = Parse(R"([{"id": 3, "scale": -0.5}, {"id": 1}])");
  ASSERT_TRUE(call) << call.error().message;
  EXPECT_EQ(*call->requests[0].adapters, (std::vector<wire::AdapterUse>{{1, 1}, {3, -0.5f}}));
  EXPECT_TRUE(Parse("[]")->requests[0].adapters->empty());
  EXPECT_FALSE(Parse("null")->requests[0].adapters) << "as the model was loaded";
}

TEST(AdaptersTest, WhatNamesNoneIsRefused) {
  for (const char* lora :
       {"3", R"({"id": 0})", "[0]", "[{}]", R"([{"id": -1}])", R"([{"id": 16}])",
        R"([{"id": 0.5}])", R"([{"id": 0, "scale": "1"}])", R"([{"id": 0, "scale": 1e9}])",
        R"([{"id": 0}, {"id": 0, "scale": 2}])"}) {
    const auto call = Parse(lora);
    ASSERT_FALSE(call) << lora;
    EXPECT_EQ(call.error().status, 400);
    EXPECT_EQ(call.error().param, "lora") << lora;
  }
}

TEST(AdaptersTest, TheModelListHasThoseOfALoadedModel) {
  node::ModelView view{.name = "tiny"};
  EXPECT_TRUE(ModelJson(view)["exo"]["adapters"].empty());
  view.adapters = {{.name = "polite", .scale = 0.5f}, {.name = "brief", .scale = 0}};
  const Json adapters = ModelJson(view)["exo"]["adapters"];
  ASSERT_EQ(adapters.size(), 2u);
  EXPECT_EQ(adapters[1]["id"], 1);
  EXPECT_EQ(adapters[1]["name"], "brief");
  EXPECT_EQ(adapters[0]["scale"], 0.5);
}

}  // namespace
}  // namespace exo::service::openai
