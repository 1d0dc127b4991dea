// Words of every rule against llama.cpp's, through hashes that tests/peer/pretokenizers.py wrote.
#include "model/pretokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "../tests/support/shared_data.h"
#include "base/sha256.h"
#include "model/bert_words.h"
#include "model/pretokenizer_rules.h"
#include "model/utf8.h"

namespace exo::model {
namespace {

using nlohmann::json;

std::vector<std::string_view> WordsOf(const PreTokenizer& rule, std::string_view text) {
  std::vector<std::string_view> words;
  rule.Split(text, [&](std::string_view word) { words.push_back(word); });
  return words;
}

std::vector<std::string_view> Words(std::string_view rule, std::string_view text) {
  return WordsOf(*PreTokenizer::Create(rule).value(), text);
}

// Of the hashed vocabulary: bytes have their own ids, pairs of them those behind, in order.
void AppendId(int32_t id, std::string& out) {
  for (int shift = 0; shift < 32; shift += 8)
    out += static_cast<char>(static_cast<uint32_t>(id) >> shift);
}

// What byte-pair encoding makes of a word where the merges are all pairs of bytes, in order: each
// pair is one token, and nothing joins it further.
void EncodePairs(std::string_view word, std::string& out) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(word[i]); };
  std::vector<size_t> order;
  for (size_t i = 0; i + 1 < word.size(); ++i) order.push_back(i);
  std::ranges::sort(order, {}, [&](size_t i) { return std::tuple(byte(i), byte(i + 1), i); });
  std::vector<bool> joined(word.size() + 1), second(word.size() + 1);
  for (const size_t i : order) {
    if (joined[i] || second[i] || joined[i + 1]) continue;
    joined[i] = second[i + 1] = true;
  }
  for (size_t i = 0; i < word.size(); ++i) {
    if (second[i]) continue;
    AppendId(joined[i] ? 256 + (byte(i) << 8 | byte(i + 1)) : byte(i), out);
  }
}

constexpr std::string_view kWhole = "xyzzy";  // a token of its own, which no merges make
constexpr int32_t kWholeId = 256 + 65536;

std::string HashOf(const PreTokenizer& rule, const std::vector<std::string>& texts) {
  std::string ids;
  for (const std::string& text : texts) {
    for (const std::string_view word : WordsOf(rule, text)) {
      if (rule.whole_words() && word == kWhole) {
        AppendId(kWholeId, ids);
      } else {
        EncodePairs(word, ids);
      }
    }
    AppendId(-1, ids);
  }
  return Sha256Of(std::as_bytes(std::span(ids))).Hex();
}

const json& Golden() {
  static const json golden =
      json::parse(testing::ReadAll(EXO_SOURCE_DIR "/tests/golden/pretokenizers.json"));
  return golden;
}

std::vector<std::string> EdgeTexts() {
  std::vector<std::string> texts;
  for (const std::string text : Golden()["edges"]) {
    for (const char* before : {"", "x", "1"}) texts.push_back(before + text);
  }
  return texts;
}

TEST(PreTokenizerTest, WordsAreThoseOfLlamaCpp) {
  const std::vector<std::string> texts = EdgeTexts();
  size_t tested = 0;
  for (const PreTokenizerName& name : PreTokenizerNames()) {
    if (name.name.empty()) continue;
    const auto rule = PreTokenizer::Create(name.name).value();
    ASSERT_TRUE(Golden()["names"].contains(name.name)) << name.name;
    const json& expected = Golden()["names"][name.name];
    EXPECT_EQ(HashOf(*rule, texts), expected["edges"].get<std::string>()) << name.name;
    EXPECT_EQ(rule->whole_words(), expected["whole_words"].get<bool>()) << name.name;
    EXPECT_EQ(rule->adds_bos(), expected["adds_bos"].get<bool>()) << name.name;
    ++tested;
  }
  EXPECT_EQ(tested, Golden()["names"].size());
}

TEST(PreTokenizerTest, WordsOfTheSharedTextsAreThoseOfLlamaCpp) {
  EXO_NEED_SHARED("data/tokenizers");
  std::istringstream lines(
      testing::ReadAll(testing::SharedPath("data/tokenizers/vectors/texts.jsonl")));
  std::map<int, std::string> by_id;
  for (std::string line; std::getline(lines, line);) {
    const json one = json::parse(line);
    by_id[one["id"]] = one["text"];
  }
  std::vector<std::string> texts;
  for (const auto& [id, text] : by_id) texts.push_back(text);
  std::map<std::string_view, std::string> hashes;  // of rules: names share them
  for (const PreTokenizerName& name : PreTokenizerNames()) {
    if (name.name.empty() || hashes.contains(name.rule)) continue;
    hashes[name.rule] = HashOf(*PreTokenizer::Create(name.name).value(), texts);
    EXPECT_EQ(hashes[name.rule], Golden()["names"][name.name]["texts"].get<std::string>())
        << name.name;
  }
}

// The characters of the vocabulary that BERT's words were hashed with (CODES in pretokenizers.py).
std::vector<char32_t> BertCodes() {
  std::vector<char32_t> codes;
  for (char32_t code = 1; code < 0xe1000; ++code) {
    const bool surrogate = code >= 0xd800 && code < 0xe000;
    if (!surrogate && code != 0x2581 && (code < 0x30000 || code >= 0xe0000)) codes.push_back(code);
  }
  return codes;
}

// Behind four special tokens, each has an id at the start of a word and then one inside.
std::string HashBertWords(const BertRules& rules, const std::vector<std::string>& texts) {
  const std::vector<char32_t> codes = BertCodes();
  std::string ids;
  for (const std::string& text : texts) {
    SplitBertWords(text, rules, [&](std::string_view word) {
      size_t first = 4;
      for (size_t at = 0; at < word.size(); first = 4 + codes.size()) {
        const size_t length = Utf8Length(word, at);
        const auto place = std::ranges::lower_bound(codes, Utf8Decode(word, at, length));
        AppendId(static_cast<int32_t>(first + static_cast<size_t>(place - codes.begin())), ids);
        at += length;
      }
    });
    AppendId(-1, ids);
  }
  return Sha256Of(std::as_bytes(std::span(ids))).Hex();
}

// Each character between letters, 4096 to a text.
std::vector<std::string> CharacterTexts() {
  std::vector<std::string> texts;
  size_t count = 0;
  for (const char32_t code : BertCodes()) {
    if (count++ % 4096 == 0) {
      texts.emplace_back();
    } else {
      texts.back() += ' ';
    }
    texts.back() += 'a';
    Utf8Append(code, texts.back());
    texts.back() += 'b';
  }
  return texts;
}

TEST(PreTokenizerTest, BertWordsAreThoseOfLlamaCpp) {
  const std::vector<std::string> characters = CharacterTexts();
  const std::map<std::string, BertRules> options = {
      {"default", {}},
      {"cased", {.lowercase = false, .strip_accents = false}},
      {"unaccented", {.lowercase = false, .strip_accents = true}},
      {"accented", {.lowercase = true, .strip_accents = false}}};
  ASSERT_EQ(options.size(), Golden()["bert"].size());
  for (const auto& [name, rules] : options) {
    const json& expected = Golden()["bert"].at(name);
    EXPECT_EQ(HashBertWords(rules, EdgeTexts()), expected["edges"].get<std::string>()) << name;
    EXPECT_EQ(HashBertWords(rules, characters), expected["characters"].get<std::string>()) << name;
  }
}

TEST(PreTokenizerTest, AnUnknownNameIsRefusedWithTheKnownOnes) {
  const auto rule = PreTokenizer::Create("no-such-rule");
  ASSERT_FALSE(rule.has_value());
  EXPECT_EQ(rule.error().code, ErrorCode::kUnsupported);
  for (const char* part : {"'no-such-rule'", "llama-bpe", "tekken", "deepseek-v3"})
    EXPECT_TRUE(rule.error().message.contains(part)) << rule.error().message;
}

// Bytes that are no UTF-8 lie between words of any rule, and every byte is in one word.
TEST(PreTokenizerTest, WordsTogetherAreTheText) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  all += "a\xf0\x9f\xa6 1234\xed\xa0\x80\xc0\x80\xff\xe4\xbd\xa0\xe5";
  for (const PreTokenizerName& name : PreTokenizerNames()) {
    std::string joined;
    for (const std::string_view word : Words(name.name, all)) joined += word;
    EXPECT_EQ(joined, all) << name.name;
  }
}

// Twelve million steps of one match: more than the regex engine's own limit, which used to make the
// rest of the text one word.
TEST(PreTokenizerTest, LongRunsMeetNoLimit) {
  constexpr size_t kRun = 12'000'000;
  const std::string text = "a" + std::string(kRun, ' ') + "b c";
  for (const char* rule : {"gpt-2", "llama-bpe", "qwen2"}) {
    const auto words = Words(rule, text);
    ASSERT_EQ(words.size(), 4u) << rule;
    EXPECT_EQ(words[1].size(), kRun - 1) << rule;
    EXPECT_EQ(words[2], " b") << rule;
    EXPECT_EQ(words[3], " c") << rule;
  }
}

// Every rule over long runs of what it might scan again and again.
TEST(PreTokenizerTest, NoRuleTakesQuadraticTime) {
  constexpr size_t kRun = 200'000;
  for (const PreTokenizerName& name : PreTokenizerNames()) {
    if (name.name != name.rule) continue;
    for (const char* unit : {" ", "\n", "1", "a", "A", "~", "\xc3\xa9", "\xcc\x81", "'"}) {
      std::string text = "1";
      while (text.size() < kRun) text += unit;
      const auto start = std::chrono::steady_clock::now();
      EXPECT_FALSE(Words(name.name, text + "1a").empty());
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10))
          << name.name << " over '" << unit << "'";
    }
  }
}

}  // namespace
}  // namespace exo::model
