// Trust, odd input and speed of the tokenizers; ids are compared in tokenizer_vectors_test.cc.
#include "model/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "model/gguf_builder.h"

namespace exo::model {
namespace {

// Byte-level BPE with all bytes, two merges and two control tokens.
GgufBuilder SmallBpe(const std::string& pre = "gpt-2") {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  for (int i = 0; i < 256; ++i) {
    const bool printable = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
    static const auto others = [] {
      std::vector<int> order;
      for (int b = 0; b < 256; ++b) {
        if (!((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174)) order.push_back(b);
      }
      return order;
    }();
    const int code =
        printable ? i : 256 + static_cast<int>(std::ranges::find(others, i) - others.begin());
    std::string text;
    if (code < 128) {
      text = static_cast<char>(code);
    } else {
      text = {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
    }
    tokens.push_back(text);
    types.push_back(1);
  }
  for (const char* merged : {"ab", "abab"}) {
    tokens.push_back(merged);
    types.push_back(1);
  }
  for (const char* control : {"<|end|>", "<|en"}) {
    tokens.push_back(control);
    types.push_back(3);
  }
  GgufBuilder file;
  file.String("tokenizer.ggml.model", "gpt2")
      .String("tokenizer.ggml.pre", pre)
      .Strings("tokenizer.ggml.tokens", tokens);
  file.Numbers<int32_t>("tokenizer.ggml.token_type", ValueType::kI32, types);
  file.Strings("tokenizer.ggml.merges", {"a b", "ab ab"}).Uint("tokenizer.ggml.eos_token_id", 258);
  return file;
}

// SentencePiece with byte tokens and a few words.
GgufBuilder SmallSpm() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  std::vector<float> scores = {0, 0, 0};
  for (int i = 0; i < 256; ++i) {
    tokens.push_back(fmt::format("<0x{:02X}>", i));
    types.push_back(6);
    scores.push_back(0);
  }
  for (const char* word : {"\xe2\x96\x81", "a", "b", "ab",
                           "\xe2\x96\x81"
                           "ab"}) {
    tokens.push_back(word);
    types.push_back(1);
    scores.push_back(-static_cast<float>(tokens.size()));
  }
  GgufBuilder file;
  file.String("tokenizer.ggml.model", "llama").Strings("tokenizer.ggml.tokens", tokens);
  file.Numbers<int32_t>("tokenizer.ggml.token_type", ValueType::kI32, types);
  file.Numbers<float>("tokenizer.ggml.scores", ValueType::kF32, scores);
  return file;
}

std::shared_ptr<const Tokenizer> Load(const GgufBuilder& file) {
  const std::string bytes = file.Build();
  const auto gguf = ParseText(bytes);
  EXPECT_TRUE(gguf.has_value()) << gguf.error().message;
  auto tokenizer = Tokenizer::Load(*gguf);
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return tokenizer ? *tokenizer : nullptr;
}

std::string LoadError(const GgufBuilder& file, ErrorCode code) {
  const std::string bytes = file.Build();
  const auto tokenizer = Tokenizer::Load(*ParseText(bytes));
  if (tokenizer) return "";
  EXPECT_EQ(tokenizer.error().code, code);
  return tokenizer.error().message;
}

TEST(TokenizerTest, ControlTokensOnlyInTrustedText) {
  const auto tokenizer = Load(SmallBpe());
  EXPECT_EQ(tokenizer->Encode("<|end|>", true), std::vector<TokenId>{258});
  EXPECT_EQ(tokenizer->Encode("<|end|>", false).size(), 7u);
  const std::vector<TextPiece> split = {{"<|", true}, {"end", false}, {"|>", true}};
  EXPECT_EQ(tokenizer->EncodePieces(split).size(), 7u);
  const std::vector<TextPiece> whole = {{"<|", true}, {"end|>", true}, {"<|end|>", false}};
  EXPECT_EQ(tokenizer->EncodePieces(whole).size(), 8u);
  EXPECT_EQ(tokenizer->EncodePieces(whole)[0], 258);
}

TEST(TokenizerTest, LongerSpecialTokensWin) {
  const auto tokenizer = Load(SmallBpe());
  EXPECT_EQ(tokenizer->Encode("<|en<|end|>", true), (std::vector<TokenId>{259, 258}));
}

TEST(TokenizerTest, MergesByRankFromTheLeft) {
  const auto tokenizer = Load(SmallBpe());
  EXPECT_EQ(tokenizer->Encode("ababab", false), (std::vector<TokenId>{257, 256}));
}

TEST(TokenizerTest, HidesControlTokensAndEndsGenerations) {
  const auto tokenizer = Load(SmallBpe());
  EXPECT_EQ(tokenizer->Bytes(258), "");
  EXPECT_EQ(tokenizer->Bytes(258, true), "<|end|>");
  EXPECT_TRUE(tokenizer->IsControl(258));
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(258));
  EXPECT_FALSE(tokenizer->IsEndOfGeneration(5));
  for (const TokenId id : {-1, 260, 1 << 30}) {
    EXPECT_EQ(tokenizer->Bytes(id, true), "");
    EXPECT_FALSE(tokenizer->IsControl(id));
    EXPECT_FALSE(tokenizer->IsEndOfGeneration(id));
  }
}

TEST(TokenizerTest, EveryByteSurvives) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  all += "\xf0\x9f\xa6 broken \xed\xa0\x80 \xc0\x80 \xff";
  for (const char* pre : {"gpt-2", "llama-bpe", "qwen2", "default"}) {
    const auto tokenizer = Load(SmallBpe(pre));
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(all, false)), all) << pre;
  }
  const auto spm = Load(SmallSpm());
  EXPECT_EQ(spm->Decode(spm->Encode(all, false)), all);
}

TEST(TokenizerTest, RefusesWhatItDoesNotHave) {
  EXPECT_TRUE(
      LoadError(SmallBpe("deepseek-llm"), ErrorCode::kUnsupported).contains("deepseek-llm"));
  EXPECT_TRUE(LoadError(SmallBpe("refact"), ErrorCode::kUnsupported).contains("refact"));
  GgufBuilder bert;
  bert.String("tokenizer.ggml.model", "bert");
  EXPECT_TRUE(LoadError(bert, ErrorCode::kUnsupported).contains("bert"));
  EXPECT_NE(LoadError(GgufBuilder(), ErrorCode::kCorrupt), "");
  EXPECT_NE(LoadError(SmallSpm().Uint("tokenizer.ggml.bos_token_id", 5000), ErrorCode::kCorrupt),
            "");
}

TEST(TokenizerTest, TakesNoQuadraticTime) {
  std::string words;
  for (int i = 0; words.size() < (1u << 20); ++i) words += "word" + std::to_string(i) + " ab, ";
  const std::vector<std::string> texts = {words, std::string(1u << 20, 'a'),
                                          std::string(1u << 20, ' ')};
  for (const auto& tokenizer :
       {Load(SmallBpe("llama-bpe")), Load(SmallBpe("default")), Load(SmallSpm())}) {
    for (const std::string& text : texts) {
      const auto start = std::chrono::steady_clock::now();
      EXPECT_FALSE(tokenizer->Encode(text, true).empty());
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20))
          << text.substr(0, 10);
    }
  }
}

}  // namespace
}  // namespace exo::model
