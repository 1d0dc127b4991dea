// What is made from the tree of commands: usage errors, completions, manual pages.
#include "app/commands.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "app/command_tree.h"
#include "app/completions.h"
#include "app/exit_codes.h"
#include "app/man_pages.h"
#include "app/usage.h"

namespace exo::app {
namespace {

// What is said of a command line that is wrong, or is a question for help.
Usage UsageOf(const std::string& line) {
  Commands commands;
  try {
    commands.app.parse(line, false);
  } catch (const CLI::ParseError& error) {
    return ExplainParse(commands.app, error);
  }
  return {};
}

TEST(UsageTest, NamesTheMistakeWhatWasMeantAndWhereHelpIs) {
  const std::pair<const char*, const char*> kMistakes[] = {
      {"modles",
       "there is no command modles; did you mean models?; exo --help shows how it is used"},
      {"lis", "there is no command lis; did you mean list?; exo --help shows how it is used"},
      {"key ad", "there is no command ad; did you mean add?; exo key --help shows how it is used"},
      {"run", "exo run: MODEL is required; exo run --help shows how it is used"},
      {"show a b", "exo show does not take b; exo show --help shows how it is used"},
      {"ps --jason",
       "exo ps does not take --jason; did you mean --json?; exo ps --help shows how it is used"}};
  for (const auto& [line, words] : kMistakes) {
    const Usage usage = UsageOf(line);
    EXPECT_TRUE(usage.wrong) << line;
    EXPECT_EQ(usage.text, words) << line;
  }
  EXPECT_FALSE(UsageOf("run --help").wrong);
  EXPECT_NE(UsageOf("--help").text.find("Start and ask"), std::string::npos);
}

TEST(CommandTreeTest, DescribesArgumentsAliasesChoicesAndKinds) {
  const Commands commands;
  const auto all = DescribeCommands(commands.app);
  const auto named = [&](const std::string& name) {
    return *std::ranges::find(all, name, &CommandInfo::Name);
  };
  EXPECT_EQ(named("exo models").aliases, (std::vector<std::string>{"list", "ls"}));
  const CommandInfo run = named("exo run");
  ASSERT_EQ(run.arguments.size(), 2u);
  EXPECT_TRUE(run.arguments[0].required);
  EXPECT_EQ(KindOf(run.arguments[0]), ValueKind::kModel);
  const auto split =
      std::ranges::find(run.options, std::vector<std::string>{"--split"}, &OptionInfo::names);
  EXPECT_EQ(split->choices, (std::vector<std::string>{"auto", "layer", "tensor", "hybrid"}));
  EXPECT_TRUE(split->takes_value);
  EXPECT_EQ(named("exo key add").path.size(), 2u);
}

// What serves, or prints a text of a form of its own, has no other one.
TEST(CommandTreeTest, EveryCommandThatAnswersDoesSoInJson) {
  const std::set<std::string> without = {"exo up", "exo mcp", "exo completions", "exo man",
                                         "exo help"};
  const Commands commands;
  const auto all = DescribeCommands(commands.app);
  for (const CommandInfo& command : all) {
    const bool is_parent = std::ranges::any_of(all, [&](const CommandInfo& one) {
      return one.path.size() > command.path.size() && one.Name().starts_with(command.Name() + " ");
    });
    const bool has_json = std::ranges::any_of(command.options, [](const OptionInfo& option) {
      return std::ranges::find(option.names, "--json") != option.names.end();
    });
    if (!is_parent) EXPECT_NE(has_json, without.contains(command.Name())) << command.Name();
  }
}

TEST(CompletionsTest, EveryCommandIsInEveryScript) {
  const Commands commands;
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const auto script = CompletionScript(commands.app, shell);
    ASSERT_TRUE(script) << shell;
    for (const CommandInfo& command : DescribeCommands(commands.app)) {
      if (command.path.empty()) continue;
      EXPECT_NE(script->find(command.path.back()), std::string::npos) << shell << command.Name();
    }
    EXPECT_NE(script->find("exo models --names"), std::string::npos) << shell;
  }
  EXPECT_FALSE(CompletionScript(commands.app, "csh"));
}

TEST(ManPagesTest, EveryCommandHasAPageWithItsOptionsAndExitCodes) {
  const Commands commands;
  const auto pages = ManPages(commands.app);
  const auto all = DescribeCommands(commands.app);
  EXPECT_EQ(pages.size(), all.size());
  const std::string run = pages.at("exo-run.1");
  EXPECT_NE(run.find("\\fB\\-\\-max\\-tokens\\fR \\fIVALUE\\fR"), std::string::npos) << run;
  EXPECT_NE(run.find("\\fIauto|layer|tensor|hybrid\\fR"), std::string::npos);
  for (const auto& [name, text] : pages) {
    EXPECT_TRUE(text.starts_with(".TH exo")) << name;
    EXPECT_NE(text.find(".SH EXIT STATUS"), std::string::npos) << name;
    // No line may be taken for a request that there is none of.
    std::istringstream lines(text);
    const std::set<std::string> requests = {".TH", ".SH", ".TP", ".B", ".BR"};
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with('.')) {
        EXPECT_TRUE(requests.contains(line.substr(0, line.find(' ')))) << line;
      }
    }
  }
}

// One table: the code's is in the manual, and docs/cli.md says the same.
TEST(ExitCodesTest, AreTheOnesOfTheDocument) {
  std::ifstream file(std::string(EXO_SOURCE_DIR) + "/docs/cli.md");
  std::stringstream text;
  text << file.rdbuf();
  for (const ExitMeaning& one : kExitMeanings) {
    const std::string row = fmt::format("\n| {} | {} |\n", one.code, one.meaning);
    EXPECT_NE(text.str().find(row), std::string::npos) << row;
  }
}

}  // namespace
}  // namespace exo::app
