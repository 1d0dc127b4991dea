#include "app/commented_list.h"

#include <gtest/gtest.h>

#include "app/settings_file.h"

namespace exo::app {
namespace {

std::string Changed(const std::string& text, const std::string& value) {
  const auto changed = ChangeSettingsFile(text, "exo.toml", "peers", value);
  return changed ? *changed : changed.error().message;
}

constexpr const char* kFile =
    "# top\n"
    "peers = [  # all of them\n"
    "    # in the cellar\n"
    "    \"nas:1\",   # häl#f \"broken\"\n"
    "    'shelf:2', # new\n"
    "    # in the kitchen\n"
    "    \"desk:3\"\n"
    "    # no more\n"
    "]  # end\n"
    "port = 5\n";

TEST(CommentedListTest, ValuesThatStayKeepTheirComments) {
  EXPECT_EQ(Changed(kFile, R"(["nas:1", "desk:3", "phone:4"])"),
            "# top\n"
            "peers = [  # all of them\n"
            "  # in the cellar\n"
            "  \"nas:1\",  # häl#f \"broken\"\n"
            "  # in the kitchen\n"
            "  \"desk:3\",\n"
            "  # no more\n"
            "  \"phone:4\",\n"
            "]  # end\n"
            "port = 5\n");
  const std::string first = Changed(kFile, R"(["phone:4", "shelf:2"])");
  EXPECT_NE(first.find("  \"phone:4\",\n  \"shelf:2\",  # new\n"), std::string::npos) << first;
  EXPECT_EQ(first.find("broken"), std::string::npos) << first;
  const std::string none = Changed(kFile, "[]");
  EXPECT_NE(none.find("  # in the kitchen\n  # no more\n]  # end\n"), std::string::npos) << none;
}

TEST(CommentedListTest, AListWithoutCommentsIsWrittenAsOneLine) {
  EXPECT_EQ(Changed("peers = [\n 'a#b:1',\n 'b:2',\n]  # mine\n", R"(["b:2"])"),
            "peers = [\"b:2\"]  # mine\n");
  EXPECT_EQ(Changed("peers = [  # none yet\n]\n", R"(["a:1"])"),
            "peers = [  # none yet\n  \"a:1\",\n]\n");
  EXPECT_EQ(Changed("peers = ['a:1', # x\n]\n", R"("a:1")"), "peers = \"a:1\"\n");
}

}  // namespace
}  // namespace exo::app
