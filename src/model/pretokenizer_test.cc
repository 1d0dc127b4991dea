#include "model/pretokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace exo::model {
namespace {

std::vector<std::string_view> Words(std::string_view rule, std::string_view text) {
  std::vector<std::string_view> words;
  PreTokenizer::Create(rule).value()->Split(text,
                                            [&](std::string_view word) { words.push_back(word); });
  return words;
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

}  // namespace
}  // namespace exo::model
