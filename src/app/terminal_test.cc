#include "app/terminal.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "app/output.h"

namespace exo::app {
namespace {

TEST(TerminalTest, TablesEscapeControlCharactersAndAlignByCharacters) {
  EXPECT_EQ(Table({{"NAME", "X"}, {"a\x1b[2Jb\nc", "1"}, {"caf\u00e9", "2"}}),
            "NAME          X\n"
            "a\\x1b[2Jb\\nc  1\n"
            "caf\u00e9          2\n");
}

TEST(TerminalTest, ALineIsCutToItsColumnsByCharacters) {
  EXPECT_EQ(Fitted("caf\u00e9s", 10), "caf\u00e9s");
  EXPECT_EQ(Fitted("caf\u00e9s", 5), "caf\u00e9");  // the last column stays free
  EXPECT_EQ(Fitted("caf\u00e9s", 4), "caf");
  EXPECT_EQ(Fitted("a", 0), "a");  // no terminal
}

TEST(OutputTest, JsonOfBytesThatAreNotUtf8HasReplacementCharacters) {
  EXPECT_EQ(ToText({{"file", "caf\xE9"}}), "{\"file\":\"caf\uFFFD\"}");
}

}  // namespace
}  // namespace exo::app
