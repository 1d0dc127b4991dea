// What the list of models tells.
#include "service/openai/models.h"

#include <gtest/gtest.h>

namespace exo::service::openai {
namespace {

TEST(ModelsTest, TheListHasThoseOfALoadedModel) {
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
