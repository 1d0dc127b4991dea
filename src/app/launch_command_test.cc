#include "app/launch_command.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "sys/files.h"

namespace exo::app {
namespace {

using nlohmann::json;

std::map<std::string, std::string> VariablesOf(const LaunchPlan& plan) {
  return {plan.variables.begin(), plan.variables.end()};
}

TEST(LaunchTest, ClaudeGetsEveryModelNameAndAWindowBelowTheRealOne) {
  const auto plan = PlanLaunch("claude", {.name = "qwen3:8b", .context = 65'536}, 52415);
  ASSERT_TRUE(plan);
  auto variables = VariablesOf(*plan);
  EXPECT_EQ(variables["ANTHROPIC_BASE_URL"], "http://localhost:52415");
  for (const char* name : {"ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL",
                           "CLAUDE_CODE_SUBAGENT_MODEL", "ANTHROPIC_DEFAULT_OPUS_MODEL"})
    EXPECT_EQ(variables[name], "qwen3:8b") << name;
  EXPECT_EQ(variables["CLAUDE_CODE_AUTO_COMPACT_WINDOW"], "58983");
  EXPECT_EQ(variables["CLAUDE_CODE_ATTRIBUTION_HEADER"], "0");
  EXPECT_EQ(plan->note, "");
  EXPECT_EQ(plan->settings["env"]["ANTHROPIC_MODEL"], "qwen3:8b");
}

// The page's recipe is held to the same file (web/src/views/integrations/programs.test.ts).
TEST(LaunchTest, ClaudeIsStartedAsThePageSays) {
  const auto plan = PlanLaunch("claude", {.name = "qwen3:8b", .context = 65'536}, 52415);
  ASSERT_TRUE(plan);
  const auto page = sys::ReadPlainFile(
      std::string(EXO_SOURCE_DIR) + "/web/src/views/integrations/claude.txt", 4096);
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_EQ(LaunchText(*plan, {}), *page);
}

TEST(LaunchTest, CodexIsToldByOptionsAndASmallContextIsWarnedOf) {
  const auto plan = PlanLaunch("codex", {.name = "a\"b", .context = 4096}, 7);
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->variables.empty());
  EXPECT_EQ(plan->arguments.size() % 2, 0u);
  EXPECT_EQ(std::ranges::count(plan->arguments, "-c"),
            static_cast<std::ptrdiff_t>(plan->arguments.size() / 2));
  EXPECT_NE(std::ranges::find(plan->arguments, R"(model="a\"b")"), plan->arguments.end());
  EXPECT_NE(plan->arguments.back().find("base_url=\"http://localhost:7/v1\""), std::string::npos);
  EXPECT_NE(plan->note.find("4096 tokens"), std::string::npos);
}

TEST(LaunchTest, OpencodeGetsItsWholeConfigurationInAVariable) {
  const auto plan = PlanLaunch("opencode", {.name = "m", .context = 40'000}, 7);
  ASSERT_TRUE(plan);
  const json config = json::parse(VariablesOf(*plan)["OPENCODE_CONFIG_CONTENT"]);
  EXPECT_EQ(config["model"], "exo/m");
  EXPECT_EQ(config["provider"]["exo"]["models"]["m"]["limit"]["context"], 40'000);
}

TEST(LaunchTest, AToolThatIsNotKnownIsNamedWithTheNearest) {
  const auto plan = PlanLaunch("cladue", {}, 1);
  ASSERT_FALSE(plan);
  EXPECT_NE(plan.error().message.find("did you mean claude?"), std::string::npos);
}

TEST(LaunchTest, SettingsOfOthersAreMergedAndWhatIsNotOfTheirKindIsLeftAlone) {
  const json added = {{"env", {{"A", "1"}}}};
  EXPECT_EQ(
      *MergeSettings("s.json", R"({"theme":"dark","env":{"B":"2"}})", added),
      "{\n  \"theme\": \"dark\",\n  \"env\": {\n    \"B\": \"2\",\n    \"A\": \"1\"\n  }\n}\n");
  EXPECT_EQ(*MergeSettings("s.json", "", added), "{\n  \"env\": {\n    \"A\": \"1\"\n  }\n}\n");
  EXPECT_EQ(MergeSettings("s.json", "// mine\n{}", added).error().code, ErrorCode::kCorrupt);
  const auto toml = MergeSettings("c.toml", "model = 'old'\n[tui]\nx = true\n",
                                  {{"model", "new"}, {"model_providers", {{"exo", {{"n", 3}}}}}});
  ASSERT_TRUE(toml);
  EXPECT_NE(toml->find("model = 'new'"), std::string::npos) << *toml;
  EXPECT_NE(toml->find("[model_providers.exo]"), std::string::npos) << *toml;
  EXPECT_NE(toml->find("x = true"), std::string::npos) << *toml;
  EXPECT_LT(toml->find("model = "), toml->find('[')) << *toml;
  EXPECT_EQ(MergeSettings("c.toml", "= 3", added).error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace exo::app
