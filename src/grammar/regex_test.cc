#include "grammar/regex.h"

#include <gtest/gtest.h>

#include <regex>

#include "grammar/grammar.h"
#include "grammar/test_texts.h"

namespace exo::grammar {
namespace {

const std::vector<std::string> kPatterns = {
    "a",           "^a",       "a$",           "^a$",      "^(a|b)*c$",
    "a{2}",        "^a{2,3}$", "^a{2,}b?$",    "[^ab]",    "^[a-c]+$",
    "^(?:ab|c)?$", "b.c",      "^$",           "^|a$",     "(^a|b$)",
    "a(b|^c)d",    "x*",       "^[a-c]{3,9}$", "\\d",      "^\\w+$",
    "^(a*b*){2}$", "[abc]\\.", "^a|^b",        "(a|b$)c*", "^(a{1,2}){2,3}$",
    "^.{2,12}$"};

TEST(RegexTest, MatchesWhatTheStandardLibraryMatches) {
  Rng rng(3);
  for (const std::string& pattern : kPatterns) {
    const auto parsed = ParseRegex(pattern);
    ASSERT_TRUE(parsed) << pattern << parsed.error().message;
    const CharDfa part = ToDfa(*parsed, Match::kPart).value();
    const CharDfa all = ToDfa(*parsed, Match::kAll).value();
    const auto automaton = Compile(WholeAnswer(wire::GrammarKind::kRegex, pattern)).value();
    const auto json =
        Compile(WholeAnswer(wire::GrammarKind::kJsonSchema,
                            "{\"type\":\"string\",\"pattern\":\"" +
                                std::regex_replace(pattern, std::regex("\\\\"), "\\\\") + "\"}"));
    ASSERT_TRUE(json) << json.error().message;
    const std::regex oracle(pattern);
    for (int i = 0; i < 400; ++i) {
      std::string text;
      for (size_t n = rng.Below(8); text.size() < n;) text += "abcdx.0"[rng.Below(7)];
      const bool found = std::regex_search(text, oracle), whole = std::regex_match(text, oracle);
      EXPECT_EQ(part.Accepts(text), found) << pattern << " in " << text;
      EXPECT_EQ(all.Accepts(text), whole) << pattern << " is " << text;
      EXPECT_EQ(Accepts(*automaton, text), whole) << pattern << " is " << text;
      EXPECT_EQ(Accepts(**json, "\"" + text + "\""), found) << pattern << " in " << text;
    }
  }
}

TEST(RegexTest, DfasFollowTheRulesOfSets) {
  Rng rng(4);
  const auto dfa = [](const std::string& pattern) {
    return ToDfa(ParseRegex(pattern).value(), Match::kPart).value();
  };
  for (size_t i = 0; i + 1 < kPatterns.size(); ++i) {
    const CharDfa a = dfa(kPatterns[i]), b = dfa(kPatterns[i + 1]);
    const CharDfa both = And(a, b).value(), any = Or(a, b).value(), none = Not(a);
    for (int k = 0; k < 100; ++k) {
      std::string text;
      for (size_t n = rng.Below(7); text.size() < n;) text += "abcd."[rng.Below(5)];
      const bool x = a.Accepts(text), y = b.Accepts(text);
      EXPECT_EQ(both.Accepts(text), x && y) << text;
      EXPECT_EQ(any.Accepts(text), x || y) << text;
      EXPECT_EQ(none.Accepts(text), !x) << text;
    }
  }
  EXPECT_TRUE(And(dfa("^a"), dfa("^b"))->Empty());
  EXPECT_FALSE(And(dfa("^a"), dfa("b$"))->Empty());
  const CharDfa three = CharDfa::OfLength(3, 5).value();
  EXPECT_FALSE(three.Accepts("\xC3\xA9\xC3\xA9"));
  EXPECT_TRUE(three.Accepts("\xC3\xA9\xC3\xA9\xC3\xA9"));
  EXPECT_FALSE(three.Accepts("abcdef"));
}

TEST(RegexTest, UnicodeAndEscapes) {
  const auto matches = [](const std::string& pattern, std::string_view text) {
    return ToDfa(ParseRegex(pattern).value(), Match::kAll)->Accepts(text);
  };
  EXPECT_TRUE(matches("\\u00e9[\\u{1F600}-\\u{1F64F}]", "\xC3\xA9\xF0\x9F\x98\x80"));
  EXPECT_TRUE(matches("\\uD83D\\uDE00", "\xF0\x9F\x98\x80"));
  EXPECT_TRUE(matches("[^a]", "\xE2\x82\xAC"));
  EXPECT_TRUE(matches("\\x41\\cA\\t\\/", "A\x01\t/"));
  EXPECT_FALSE(matches(".", "\n"));
  EXPECT_TRUE(matches("(?<year>\\d{4})", "1999"));
}

TEST(RegexTest, WhatIsWrongOrNotDoneIsNamed) {
  const std::vector<std::pair<std::string, std::string>> bad = {{"(a", "'('"},
                                                                {"a)", "')'"},
                                                                {"[a", "'['"},
                                                                {"*a", "quantifier"},
                                                                {"a{3,1}", "wrong"},
                                                                {"a**", "quantifier"},
                                                                {"\\a", "escape"},
                                                                {"[b-a]", "wrong"},
                                                                {"(?=a)", "look-around"},
                                                                {"(?<!a)b", "look-around"},
                                                                {"(a)\\1", "back reference"},
                                                                {"\\bword", "word boundary"},
                                                                {"\\p{L}", "Unicode property"},
                                                                {"a\\", "'\\'"},
                                                                {"\xFF", "UTF-8"},
                                                                {"a{200000}", "more than"}};
  for (const auto& [pattern, word] : bad) {
    const auto parsed = ParseRegex(pattern);
    ASSERT_FALSE(parsed) << pattern;
    EXPECT_NE(parsed.error().message.find(word), std::string::npos) << parsed.error().message;
  }
  // What would take forever or everything ends with an error in little time.
  for (const char* pattern :
       {"^(a|b)*a(a|b){20}$", "((a{1000}){1000}){1000}", "(.*a){30}.{500}b"}) {
    const auto parsed = ParseRegex(pattern);
    ASSERT_TRUE(parsed);
    EXPECT_FALSE(ToDfa(*parsed, Match::kPart)) << pattern;
  }
}

}  // namespace
}  // namespace exo::grammar
