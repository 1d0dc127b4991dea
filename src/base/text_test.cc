#include "base/text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace exo {
namespace {

TEST(TextTest, LeavesWellFormedTextAlone) {
  for (const std::string_view text : {"", "exo", "caf\u00e9", "\u4f60\u597d", "\U0001F600"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
    EXPECT_EQ(ToUtf8(text), text);
    EXPECT_EQ(Printable(text), text);
  }
}

TEST(TextTest, ReplacesEachIllFormedSequenceOnce) {
  EXPECT_EQ(ToUtf8("caf\xE9"), "caf\uFFFD");
  EXPECT_EQ(ToUtf8("\xE9 b"), "\uFFFD b");
  EXPECT_EQ(ToUtf8("\xF0\x9F\x98 x"), "\uFFFD x");                    // cut
  EXPECT_EQ(ToUtf8("\xC0\xAF"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(ToUtf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // surrogate
  EXPECT_EQ(ToUtf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond U+10FFFF
  EXPECT_EQ(ToUtf8("a\x80z"), "a\uFFFDz");
  for (const std::string_view bytes : {"\xE9", "\xC0\xAF", "\xED\xA0\x80", "ok\xFF"}) {
    EXPECT_FALSE(IsUtf8(bytes));
    EXPECT_TRUE(IsUtf8(ToUtf8(bytes)));
  }
}

TEST(TextTest, PrintableShowsControlCharactersInsteadOfSendingThem) {
  EXPECT_EQ(Printable("a\nb\x1b[31mc\x7f"), "a\\nb\\x1b[31mc\\x7f");
  EXPECT_EQ(Printable(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(Printable("\u009b31m"), "\\x9b31m");            // C1 CSI in UTF-8
  EXPECT_EQ(Printable("\x9b"), "\uFFFD");                   // and as a bare byte
  EXPECT_EQ(Printable("gpj.\u202eexe"), "gpj.\\u202eexe");  // bidirectional override
  EXPECT_EQ(Printable("a\nb\tc\r", "\n\t"), "a\nb\tc\\r");
}

TEST(TextTest, FindsTheWordThatWasMeant) {
  const std::vector<std::string> words = {"up", "run", "models", "devices"};
  EXPECT_EQ(Nearest("model", words), "models");
  EXPECT_EQ(Nearest("deivces", words), "devices");
  EXPECT_EQ(Nearest("rnu", words), "run");
  EXPECT_EQ(Nearest("quantize", words), "");
  EXPECT_EQ(Nearest(std::string(100000, 'x'), words), "");
}

}  // namespace
}  // namespace exo
