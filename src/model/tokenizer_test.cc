// Trust, odd input and speed of the tokenizers; ids are compared in tokenizer_vectors_test.cc.
#include "model/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "model/gguf_builder.h"

namespace exo::model {
namespace {

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
  const auto tokenizer = Tokenizer::Load(ParseText(bytes).value());
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

// Converters forget to mark the end of a turn; without it, an answer would never end, or the
// template's marker would be split into letters.
TEST(TokenizerTest, AnEndOfTurnTypedAsNormalIsControl) {
  GgufBuilder file;
  file.String("tokenizer.ggml.model", "llama")
      .Strings("tokenizer.ggml.tokens",
               {"<unk>", "<s>", "</s>", "<|im_end|>", "<stop>", "<EOT>", "a"});
  file.Numbers<int32_t>("tokenizer.ggml.token_type", ValueType::kI32, {2, 3, 3, 1, 1, 1, 1});
  file.Numbers<float>("tokenizer.ggml.scores", ValueType::kF32, {0, 0, 0, 0, 0, 0, -1});
  file.Uint("tokenizer.ggml.eot_token_id", 4).Bool("tokenizer.ggml.add_space_prefix", false);
  const auto tokenizer = Load(file);
  for (const TokenId id : {2, 3, 4}) {
    EXPECT_TRUE(tokenizer->IsControl(id)) << id;
    EXPECT_TRUE(tokenizer->IsEndOfGeneration(id)) << id;
  }
  EXPECT_FALSE(tokenizer->IsControl(5));
  EXPECT_FALSE(tokenizer->IsEndOfGeneration(5));
  EXPECT_EQ(tokenizer->Encode("a<|im_end|>a<stop>", true), (std::vector<TokenId>{6, 3, 6, 4}));
}

TEST(TokenizerTest, SpecialIdsOutsideTheVocabularyAreRefused) {
  for (const char* key : {"bos", "eos", "eot", "eom", "unknown"}) {
    GgufBuilder file = SmallSpm();
    file.Uint(std::string("tokenizer.ggml.") + key + "_token_id", 1'000'000);
    EXPECT_NE(LoadError(file, ErrorCode::kCorrupt).find("1000000"), std::string::npos) << key;
    GgufBuilder negative = SmallSpm();
    negative.Key(std::string("tokenizer.ggml.") + key + "_token_id", ValueType::kI32,
                 EncodeNumber(int32_t{-7}));
    EXPECT_NE(LoadError(negative, ErrorCode::kCorrupt), "") << key;
  }
}

// Gemma's turns, in a file that calls their tokens user-defined.
TEST(TokenizerTest, TurnsOfGemmaAreControlTokensAndEndGenerations) {
  GgufBuilder file;
  file.String("tokenizer.ggml.model", "llama")
      .Strings("tokenizer.ggml.tokens",
               {"<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "a"});
  file.Numbers<int32_t>("tokenizer.ggml.token_type", ValueType::kI32, {3, 3, 3, 2, 4, 4, 1});
  file.Numbers<float>("tokenizer.ggml.scores", ValueType::kF32, {0, 0, 0, 0, 0, 0, -1});
  file.Uint("tokenizer.ggml.bos_token_id", 2).Uint("tokenizer.ggml.eos_token_id", 1);
  file.Uint("tokenizer.ggml.unknown_token_id", 3).Bool("tokenizer.ggml.add_space_prefix", false);
  const auto tokenizer = Load(file);
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(1));
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(5));
  EXPECT_FALSE(tokenizer->IsEndOfGeneration(4));
  EXPECT_EQ(tokenizer->Encode("<start_of_turn>a<end_of_turn>", true),
            (std::vector<TokenId>{4, 6, 5}));
  for (const TokenId id : tokenizer->Encode("<start_of_turn>a<end_of_turn>", false)) {
    EXPECT_TRUE(id != 4 && id != 5) << id;
  }
}

TEST(TokenizerTest, EveryByteSurvives) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  all += "\xf0\x9f\xa6 broken \xed\xa0\x80 \xc0\x80 \xff";
  for (const char* pre : {"gpt-2", "llama-bpe", "tekken", "deepseek-llm", "superbpe", "default"}) {
    const auto tokenizer = Load(SmallBpe(pre));
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(all, false)), all) << pre;
  }
  const auto spm = Load(SmallSpm());
  EXPECT_EQ(spm->Decode(spm->Encode(all, false)), all);
}

GgufBuilder SmallUnigram() {
  GgufBuilder file;
  file.String("tokenizer.ggml.model", "t5")
      .Strings("tokenizer.ggml.tokens", {"<pad>", "</s>", "<unk>", "\xe2\x96\x81", "a", "b", "ab",
                                         "\xe2\x96\x81"
                                         "a",
                                         "<0xC3>", "<0xA9>"});
  file.Numbers<int32_t>("tokenizer.ggml.token_type", ValueType::kI32,
                        {3, 3, 2, 1, 1, 1, 1, 1, 6, 6});
  file.Numbers<float>("tokenizer.ggml.scores", ValueType::kF32,
                      {0, 0, 0, -2, -3, -3, -4, -3.5f, 0, 0});
  file.Bool("tokenizer.ggml.add_space_prefix", true);
  return file;
}

TEST(TokenizerTest, UnigramTakesTheMostProbableWay) {
  const auto tokenizer = Load(SmallUnigram());
  // "_a" "b" is -6.5, "_" "ab" -6.
  EXPECT_EQ(tokenizer->Encode("ab", false), (std::vector<TokenId>{3, 6}));
  EXPECT_EQ(tokenizer->Encode("a b", false), (std::vector<TokenId>{7, 3, 5}));
  EXPECT_EQ(tokenizer->Decode(std::vector<TokenId>{7, 3, 5}), "a b");
  // Characters that no token covers: their bytes, or one unknown token for neighbors.
  EXPECT_EQ(tokenizer->Encode("a\xc3\xa9", false), (std::vector<TokenId>{7, 8, 9}));
  EXPECT_EQ(tokenizer->Encode("axyb", false), (std::vector<TokenId>{7, 2, 5}));
  EXPECT_EQ(tokenizer->Encode("a</s>", true), (std::vector<TokenId>{7, 1}));
  GgufBuilder merging = SmallUnigram();
  merging.Bool("tokenizer.ggml.remove_extra_whitespaces", true);
  EXPECT_EQ(Load(merging)->Encode("  a   b  ", false), (std::vector<TokenId>{7, 3, 5}));
}

TEST(TokenizerTest, WordPieceTakesTheLongestTokensOfEachWord) {
  const auto tokenizer = Load(SmallWordPiece());
  using Ids = std::vector<TokenId>;
  EXPECT_EQ(tokenizer->Encode(" Unaffable\t UNA.", false), (Ids{4, 5, 6, 4, 8, 9}));
  EXPECT_EQ(tokenizer->Encode("a\xe4\xb8\x80"
                              "a",
                              false),
            (Ids{7, 10, 7}));  // an ideograph is a word
  EXPECT_EQ(tokenizer->Encode("caf\xc3\xa9 cafe\xcc\x81", false), (Ids{12, 12}));
  // A word is unknown as a whole, whatever of it is known.
  EXPECT_EQ(tokenizer->Encode("unaffablex unx.", false), (Ids{1, 1, 9}));
  EXPECT_EQ(tokenizer->Encode("a\xff\x01\xc2\xad"
                              "a",
                              false),
            (Ids{7, 8}));
  EXPECT_EQ(tokenizer->Decode(Ids{4, 5, 6, 7, 9}), " unaffable a .");
  EXPECT_EQ(tokenizer->Decode(Ids{2, 7, 3}), " a");
}

TEST(TokenizerTest, WordPieceReadsTheOptionsOfItsNormalizer) {
  GgufBuilder cased = SmallWordPiece();
  cased.Bool("tokenizer.ggml.normalizer.lowercase", false);
  EXPECT_EQ(Load(cased)->Encode("caf\xc3\xa9 A", false), (std::vector<TokenId>{11, 13}));
  cased.Bool("tokenizer.ggml.normalizer.strip_accents", true);
  EXPECT_EQ(Load(cased)->Encode("caf\xc3\xa9 A", false), (std::vector<TokenId>{12, 13}));
}

// Control tokens without brackets would be cut out of words.
TEST(TokenizerTest, WordPieceHasNoControlTokensInsideOfWords) {
  const auto tokenizer = Load(SmallWordPiece());
  EXPECT_TRUE(tokenizer->IsControl(14));
  EXPECT_EQ(tokenizer->Encode("ab [CLS]", false), (std::vector<TokenId>{1, 1, 1, 1}));
  EXPECT_EQ(tokenizer->Encode("a[CLS]", true), (std::vector<TokenId>{7, 2}));
}

TEST(TokenizerTest, TextsBeginAndEndAsTheFileSays) {
  EXPECT_EQ(Load(SmallWordPiece())->bos(), 2);
  EXPECT_TRUE(Load(SmallWordPiece())->add_bos());
  EXPECT_EQ(Load(SmallWordPiece())->text_end(), 3);
  GgufBuilder plain = SmallWordPiece();
  plain.Bool("tokenizer.ggml.add_bos_token", false).Bool("tokenizer.ggml.add_sep_token", false);
  EXPECT_FALSE(Load(plain)->add_bos());
  EXPECT_EQ(Load(plain)->text_end(), -1);
  EXPECT_EQ(Load(SmallSpm())->text_end(), -1);
  EXPECT_EQ(Load(SmallSpm().Bool("tokenizer.ggml.add_eos_token", true))->text_end(), 2);
  EXPECT_EQ(
      LoadError(SmallWordPiece().Uint("tokenizer.ggml.bos_token_id", 99), ErrorCode::kCorrupt),
      "the key 'tokenizer.ggml.bos_token_id' names token 99 of a vocabulary of 15");
}

TEST(TokenizerTest, DamagedMapsOfCharactersAreRefusedOrReplaceNothing) {
  const auto with = [](const std::vector<uint8_t>& map) {
    GgufBuilder file = SmallUnigram();
    file.Numbers<uint8_t>("tokenizer.ggml.precompiled_charsmap", ValueType::kU8, map);
    return file;
  };
  for (const auto& map : std::vector<std::vector<uint8_t>>{{1},
                                                           {0, 0, 0, 0},
                                                           {4, 0, 0, 0, 1, 2, 3, 4},
                                                           {3, 0, 0, 0, 1, 2, 3, 0},
                                                           {255, 255, 255, 255, 0},
                                                           {4, 0, 0, 0, 1, 2, 3, 4, 'x'}}) {
    EXPECT_NE(LoadError(with(map), ErrorCode::kCorrupt), "");
  }
  // Offsets that lead out of the array, values that lead out of the replacements.
  for (const uint8_t fill : {0x00, 0x61, 0x7f, 0xff}) {
    std::vector<uint8_t> map = {0, 4, 0, 0};
    map.resize(4 + 1024, fill);
    map.push_back(0);
    const auto tokenizer = Load(with(map));
    EXPECT_FALSE(tokenizer->Encode("ab \xff a", false).empty());
  }
}

TEST(TokenizerTest, RefusesWhatItDoesNotHave) {
  EXPECT_TRUE(LoadError(SmallBpe("afmoe"), ErrorCode::kUnsupported).contains("'afmoe'"));
  GgufBuilder rwkv;
  rwkv.String("tokenizer.ggml.model", "rwkv");
  EXPECT_TRUE(LoadError(rwkv, ErrorCode::kUnsupported).contains("'rwkv'"));
  EXPECT_NE(LoadError(GgufBuilder(), ErrorCode::kCorrupt), "");
  EXPECT_NE(LoadError(SmallSpm().Uint("tokenizer.ggml.bos_token_id", 5000), ErrorCode::kCorrupt),
            "");
}

TEST(TokenizerTest, TakesNoQuadraticTime) {
  std::string words;
  for (int i = 0; words.size() < (1u << 20); ++i) words += "word" + std::to_string(i) + " ab, ";
  const std::vector<std::string> texts = {words, std::string(1u << 20, 'a'),
                                          std::string(1u << 20, ' ')};
  for (const auto& tokenizer : {Load(SmallBpe("llama-bpe")), Load(SmallBpe("default")),
                                Load(SmallSpm()), Load(SmallUnigram()), Load(SmallWordPiece())}) {
    for (const std::string& text : texts) {
      const auto start = std::chrono::steady_clock::now();
      const bool nothing = text[0] == ' ' && tokenizer->text_end() >= 0;  // WordPiece's
      EXPECT_EQ(tokenizer->Encode(text, true).empty(), nothing);
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20))
          << text.substr(0, 10);
    }
  }
}

}  // namespace
}  // namespace exo::model
