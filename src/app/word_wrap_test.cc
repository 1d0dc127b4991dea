#include "app/word_wrap.h"

#include <gtest/gtest.h>

namespace exo::app {
namespace {

// The same in one piece and byte by byte.
std::string Wrap(const std::string& text, size_t columns) {
  WordWrap whole(columns), pieces(columns);
  std::string bytewise;
  for (const char c : text) bytewise += pieces.Add(std::string(1, c));
  bytewise += pieces.End();
  const std::string once = whole.Add(text) + whole.End();
  EXPECT_EQ(once, bytewise);
  return once;
}

TEST(WordWrapTest, BreaksBetweenWordsAndKeepsLineEnds) {
  EXPECT_EQ(Wrap("one two three four", 9), "one two\nthree\nfour");
  EXPECT_EQ(Wrap("one two\n\n  three", 80), "one two\n\n  three");
  EXPECT_EQ(Wrap("caf\u00e9 caf\u00e9", 9), "caf\u00e9 caf\u00e9");
  EXPECT_EQ(Wrap("caf\u00e9 caf\u00e9", 8), "caf\u00e9\ncaf\u00e9");
  EXPECT_EQ(Wrap("averylongword x", 5), "averylongword\nx");
  EXPECT_EQ(Wrap("one two three", 0), "one two three");
}

TEST(WordWrapTest, LeavesCodeAndTablesAsTheyAre) {
  EXPECT_EQ(Wrap("a b c d\n```\nint a = 1 + 2;\n```\na b c d", 5),
            "a b c\nd\n```\nint a = 1 + 2;\n```\na b c\nd");
  EXPECT_EQ(Wrap("| a | b | c |", 5), "| a | b | c |");
}

TEST(WordWrapTest, HoldsBackOnlyTheWordThatMayGoOn) {
  WordWrap wrap(20);
  EXPECT_EQ(wrap.Add("Hello wor"), "Hello");
  EXPECT_EQ(wrap.Add("ld, "), " world,");
  EXPECT_EQ(wrap.End(), " ");
}

}  // namespace
}  // namespace exo::app
