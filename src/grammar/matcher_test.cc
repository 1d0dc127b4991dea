// Masks against what they stand for: every token tried byte by byte.
#include "grammar/matcher.h"

#include <gtest/gtest.h>

#include <set>

#include "grammar/grammar.h"
#include "grammar/test_texts.h"

namespace exo::grammar {
namespace {

using wire::GrammarKind;

constexpr TokenId kEndToken = 0, kControl = 1;

// An end, two control tokens, each byte, and pieces of `texts`.
VocabularyTokens Tokens(const std::vector<std::string>& texts, uint64_t seed) {
  VocabularyTokens tokens{
      .bytes = {"", "", ""}, .special = {true, true, true}, .ends = {kEndToken}};
  std::set<std::string> pieces;
  for (int byte = 0; byte < 256; ++byte) pieces.insert(std::string(1, static_cast<char>(byte)));
  Rng rng(seed);
  for (int i = 0; i < 1500; ++i) {
    const std::string& text = texts[rng.Below(texts.size())];
    const size_t begin = rng.Below(text.size());
    pieces.insert(text.substr(begin, 1 + rng.Below(12)));
  }
  for (const std::string& piece : pieces) {
    tokens.bytes.push_back(piece);
    tokens.special.push_back(false);
    if (rng.Below(20) != 0) continue;
    tokens.bytes.push_back(piece);  // some vocabularies have a text twice
    tokens.special.push_back(false);
  }
  return tokens;
}

class Checked {
 public:
  Checked(const wire::Grammar& grammar, const std::vector<std::string>& texts, uint64_t seed)
      : automaton_(Compile(grammar).value()),
        trie_(std::make_shared<TokenTrie>(Tokens(texts, seed))),
        matcher_(automaton_, trie_),
        stacks_(*automaton_),
        set_(stacks_.Start()) {}

  // The mask at this place, by its definition.
  std::vector<bool> Expected() {
    std::vector<bool> expected(trie_->vocab());
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto token = static_cast<TokenId>(i);
      expected[i] = trie_->IsSpecial(token) ? stacks_.StepToken(set_, token) != kDeadSet
                                            : After(token) != kDeadSet;
      if (token == kEndToken) expected[i] = expected[i] || stacks_.Ends(set_);
    }
    return expected;
  }
  void Check() {
    std::vector<uint64_t> allowed((trie_->vocab() + 63) / 64);
    matcher_.Allow(place_, allowed);
    const std::vector<bool> expected = Expected();
    size_t count = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ((allowed[i / 64] >> i % 64 & 1) != 0, expected[i])
          << "token " << i << " '" << trie_->bytes(static_cast<TokenId>(i)) << "' after " << text_;
      count += expected[i];
    }
    const auto only = matcher_.Only(place_);
    ASSERT_EQ(only.has_value(), count == 1 && !stacks_.Ends(set_)) << text_;
    if (only) ASSERT_TRUE(expected[static_cast<size_t>(*only)]);
    ASSERT_EQ(matcher_.MayEnd(place_), stacks_.Ends(set_));
    ASSERT_EQ(matcher_.MustEnd(place_), stacks_.Ends(set_) && count == 1);
  }
  // A random token that may come; false: only the end.
  bool Go(Rng& rng) {
    const std::vector<bool> expected = Expected();
    std::vector<TokenId> may;
    for (size_t i = 1; i < expected.size(); ++i) {
      if (expected[i]) may.push_back(static_cast<TokenId>(i));
    }
    if (may.empty()) return false;
    const TokenId token = may[rng.Below(may.size())];
    set_ = trie_->IsSpecial(token) ? stacks_.StepToken(set_, token) : After(token);
    text_ += trie_->bytes(token);
    place_ = matcher_.Next(place_, token);
    return true;
  }
  void Restart() {
    set_ = stacks_.Start();
    place_.clear();
    text_.clear();
  }
  const std::vector<uint8_t>& place() const { return place_; }
  Matcher& matcher() { return matcher_; }

 private:
  SetId After(TokenId token) {
    SetId set = set_;
    for (const char c : trie_->bytes(token)) set = stacks_.Step(set, static_cast<uint8_t>(c));
    return trie_->bytes(token).empty() ? kDeadSet : set;
  }

  std::shared_ptr<const Automaton> automaton_;
  std::shared_ptr<TokenTrie> trie_;
  Matcher matcher_;
  Stacks stacks_;
  SetId set_;
  std::vector<uint8_t> place_;
  std::string text_;
};

const std::vector<std::string> kTexts = {
    R"({"name": "John \"J\" \u00e9", "age": 12, "tags": ["a", "b"], "x": {"y": [[[[1, 2.5e3]]]]}})",
    "The quick brown fox: jumps, over 12 lazy dogs!\n  \"and\" more [[[[[{{{{ }]]]]",
    "\xC3\xA9\xC3\xA8 \xE2\x82\xAC\xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x98\x80 aaaaaaaaaaaaaaaa "
    "<call>12</call>"};

void RunChecks(const wire::Grammar& grammar, int answers, int steps) {
  Checked checked(grammar, kTexts, 7);
  Rng rng(8);
  for (int answer = 0; answer < answers; ++answer) {
    checked.Restart();
    for (int step = 0; step < steps; ++step) {
      checked.Check();
      if (testing::Test::HasFatalFailure() || !checked.Go(rng)) break;
    }
  }
}

TEST(MatcherTest, MasksAreWhatEachTokenSays) {
  const std::vector<std::pair<GrammarKind, std::string>> all = {
      {GrammarKind::kJsonSchema, "{}"},
      {GrammarKind::kJsonSchema, R"({"type":"object","properties":{"name":{"type":"string"},
          "age":{"type":"integer"},"tags":{"type":"array","items":{"enum":["a","b"]}}},
          "required":["name"],"additionalProperties":true})"},
      {GrammarKind::kJsonSchema, R"({"type":"string","minLength":3,"maxLength":20})"},
      {GrammarKind::kJsonSchema, R"({"type":"array","items":{"type":"string","minLength":7}})"},
      {GrammarKind::kJsonSchema, R"({"type":"string","pattern":"^[a-z ]{2,9}\\d*$"})"},
      {GrammarKind::kRegex, ".*"},
      {GrammarKind::kRegex, "[^\"]{4,25}\"?"},
      {GrammarKind::kRegex, "(a[]{2,9}|b[]{0,9}|[a-c]{2,40})*d"},
      {GrammarKind::kGbnf, "root ::= word (\" \" word)* \"!\"\nword ::= [a-zA-Z]+"},
      {GrammarKind::kGbnf, "root ::= (\"a\" root \"b\" | \"[\" root \"]\" | [^a-z]{0,3})"},
      {GrammarKind::kChoices, R"(["The quick", "The quiet", "aaaa", "a"])"}};
  for (const auto& [kind, text] : all) {
    SCOPED_TRACE(text);
    RunChecks(WholeAnswer(kind, text), 6, 25);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(MatcherTest, SpecialTokensAndTriggers) {
  wire::Grammar grammar;
  grammar.triggered = grammar.repeated = true;
  grammar.parts = {{.text = R"({"type":"integer"})", .begin = "<call>", .end = "</call>"},
                   {.text = R"({"type":"boolean"})", .begin_token = kControl, .end_token = 2}};
  RunChecks(grammar, 8, 30);
  Checked checked(grammar, kTexts, 7);
  const auto inside = checked.matcher().Next({}, kControl);
  EXPECT_FALSE(checked.matcher().MayEnd(inside));
  const auto other = checked.matcher().Next({}, 2);
  EXPECT_TRUE(checked.matcher().MayEnd(other)) << "a special token that begins nothing";
}

TEST(MatcherTest, NearTheDepthLimitMasksStillHold) {
  const wire::Grammar grammar = WholeAnswer(GrammarKind::kJsonSchema, "{}");
  Checked checked(grammar, {"[[[[[[[[[[[[[[[[", "]]]]]]", "{\"a\":"}, 3);
  Rng rng(9);
  for (int answer = 0; answer < 3; ++answer) {
    checked.Restart();
    for (int step = 0; step < 60; ++step) {
      checked.Check();
      if (testing::Test::HasFatalFailure() || !checked.Go(rng)) break;
    }
  }
}

TEST(MatcherTest, PlacesOfOtherGrammarsAndBadBytesAllowNothing) {
  const auto make = [](const char* text) {
    return std::make_unique<Matcher>(Compile(WholeAnswer(GrammarKind::kGbnf, text)).value(),
                                     std::make_shared<TokenTrie>(Tokens(kTexts, 1)));
  };
  const auto one = make("root ::= [a-z]+ \"!\""), other = make("root ::= [a-y]+ \"!\"");
  std::vector<uint64_t> none(40);
  const auto nothing = [&](Matcher& matcher, std::span<const uint8_t> place) {
    std::vector<uint64_t> allowed(40);
    matcher.Allow(place, allowed);
    return allowed == none && !matcher.Only(place) && !matcher.MayEnd(place);
  };
  std::vector<uint64_t> allowed(40);
  one->Allow({}, allowed);
  EXPECT_NE(allowed, none);
  TokenId letter = 3;
  while ((allowed[static_cast<size_t>(letter) / 64] >> letter % 64 & 1) == 0) ++letter;
  const auto place = one->Next({}, letter);
  EXPECT_FALSE(nothing(*one, place));
  EXPECT_TRUE(nothing(*other, place));
  EXPECT_TRUE(nothing(*one, one->Next(place, kEndToken))) << "not a token of this place";
  Rng rng(2);
  for (int i = 0; i < 3000; ++i) {
    std::vector<uint8_t> bad(place.begin(), place.begin() + 4);
    for (size_t n = rng.Below(24); bad.size() < 4 + n;)
      bad.push_back(static_cast<uint8_t>(rng.Next()));
    std::vector<uint64_t> some(40);
    one->Allow(bad, some);
    one->Next(bad, letter);
    one->Only(bad);
  }
}

TEST(MatcherTest, APlaceMeansTheSameOnAnotherDevice) {
  const wire::Grammar grammar = WholeAnswer(GrammarKind::kJsonSchema, R"({"type":"array"})");
  Checked here(grammar, kTexts, 7);
  Checked there(grammar, kTexts, 7);
  Rng rng(4);
  for (int step = 0; step < 40; ++step) {
    std::vector<uint64_t> a(40), b(40);
    here.matcher().Allow(here.place(), a);
    there.matcher().Allow(here.place(), b);
    ASSERT_EQ(a, b);
    if (!here.Go(rng)) break;
  }
}

}  // namespace
}  // namespace exo::grammar
