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

TEST(OutputTest, JsonOfBytesThatAreNotUtf8HasReplacementCharacters) {
  EXPECT_EQ(ToText({{"file", "caf\xE9"}}), "{\"file\":\"caf\uFFFD\"}");
}

}  // namespace
}  // namespace exo::app
