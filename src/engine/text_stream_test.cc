#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace exo::engine {
namespace {

std::string All(TextStream stream, const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += stream.Push(piece);
  return text + stream.Finish();
}

TEST(TextStreamTest, HoldsBackAnUnfinishedCharacter) {
  TextStream stream;
  EXPECT_EQ(stream.Push("a\xF0\x9F"), "a");
  EXPECT_EQ(stream.Push("\x98"), "");
  EXPECT_EQ(stream.Push("\x80!"), "\xF0\x9F\x98\x80!");
  EXPECT_EQ(stream.Push("\xE2\x82"), "");
  EXPECT_EQ(stream.Finish(), "\xEF\xBF\xBD");
}

TEST(TextStreamTest, ReplacesWhatIsNoUtf8) {
  EXPECT_EQ(All(TextStream(), {"a\xFF"}), "a\xEF\xBF\xBD");
  EXPECT_EQ(All(TextStream(), {"\xC0\x80"}), "\xEF\xBF\xBD\xEF\xBF\xBD");  // overlong
  EXPECT_EQ(All(TextStream(), {"\xED\xA0\x80"}),
            "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");                 // surrogate
  EXPECT_EQ(All(TextStream(), {"\xE2\x82", "x"}), "\xEF\xBF\xBDx");  // proven by the next byte
  EXPECT_EQ(All(TextStream(), {std::string("\0b", 2)}), std::string("\0b", 2));
}

TEST(TextStreamTest, StopsAcrossTokensAndNeverShowsTheStop) {
  TextStream stream({"\n\nUser:"});
  EXPECT_EQ(stream.Push("Hi\n"), "Hi");
  EXPECT_EQ(stream.Push("\nUs"), "");
  EXPECT_EQ(stream.Push("er: more"), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.Push("x"), "");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(TextStreamTest, GivesBackWhatOnlyLookedLikeAStop) {
  TextStream stream({"STOP", "\xE2\x82\xAC\xE2\x82\xAC"});
  EXPECT_EQ(stream.Push("a ST"), "a ");
  EXPECT_EQ(stream.Push("AR"), "STAR");
  EXPECT_EQ(stream.Push("\xE2\x82\xAC"), "");
  EXPECT_EQ(stream.Finish(), "\xE2\x82\xAC");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStreamTest, TheStopThatEndsFirstCountsHoweverTheTextIsCut) {
  EXPECT_EQ(All(TextStream({"abc", "b"}), {"xabc"}), "xa");
  EXPECT_EQ(All(TextStream({"abc", "b"}), {"x", "a", "b", "c"}), "xa");
  EXPECT_EQ(All(TextStream({"abc", "bc"}), {"xabc"}), "x");
  EXPECT_EQ(All(TextStream({"", "aab"}), {"a", "a", "a", "b"}), "a");
}

TEST(TextStreamTest, EverySplitGivesTheSameText) {
  const std::vector<std::string> alphabet = {
      "a",        "b",    "aba",          "\n", "\xC3\xA9", "\xF0\x9F\x98\x80",
      "\xE2\x82", "\xFF", "\xED\xA0\x80", "ab"};
  Rng rng(2024);
  for (int round = 0; round < 3000; ++round) {
    std::string bytes;
    for (uint64_t i = rng.Below(14); i > 0; --i) bytes += alphabet[rng.Below(alphabet.size())];
    std::vector<std::string> stops;
    for (uint64_t i = rng.Below(4); i > 0; --i) {
      std::string stop;
      for (uint64_t j = 1 + rng.Below(3); j > 0; --j) stop += alphabet[rng.Below(6)];
      stops.push_back(stop);
    }
    const std::string whole = All(TextStream(stops), {bytes});
    for (const std::string& stop : stops) EXPECT_EQ(whole.find(stop), std::string::npos) << round;
    for (int split = 0; split < 4; ++split) {
      std::vector<std::string> pieces;
      for (size_t at = 0; at < bytes.size();) {
        const size_t n = split == 0 ? 1 : 1 + rng.Below(5);
        pieces.push_back(bytes.substr(at, n));
        at += n;
      }
      TextStream stream(stops);
      std::string text;
      for (const std::string& piece : pieces) {
        const std::string part = stream.Push(piece);
        std::string check;  // each part alone is whole characters
        Utf8Stream decoder;
        decoder.Push(part, check);
        decoder.Finish(check);
        EXPECT_EQ(check, part);
        text += part;
      }
      EXPECT_EQ(text + stream.Finish(), whole) << round;
    }
  }
}

}  // namespace
}  // namespace exo::engine
