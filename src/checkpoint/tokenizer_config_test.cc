// Ids of published tokenizer.json files, through the GGUF keys that they become, against those of
// Hugging Face's own library.
#include "checkpoint/tokenizer_config.h"

#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "../tests/support/shared_data.h"
#include "model/tokenizer.h"

namespace exo::checkpoint {
namespace {

using nlohmann::json;

const std::string kShared = "data/tokenizers/";

struct Loaded {
  std::string bytes;
  std::shared_ptr<const model::Tokenizer> tokenizer;
};

// The tokenizer of documents, by way of a GGUF head.
Result<Loaded> Load(const json& tokenizer, const json& beside = json::object(),
                    const json& config = json::object()) {
  const json none = json::object();
  const Fields fields(tokenizer, "tokenizer.json"), empty(none, "generation_config.json");
  const Fields beside_fields(beside, "tokenizer_config.json"), config_fields(config, "config.json");
  Metadata metadata;
  TRY(ReadTokenizer({.tokenizer = fields,
                     .tokenizer_config = beside_fields,
                     .config = config_fields,
                     .generation_config = empty,
                     .chat_template = {}},
                    metadata));
  model::GgufWriter writer(32);
  metadata.WriteTo(writer);
  Loaded loaded{.bytes = writer.Head()};
  const auto gguf = TRY(model::Gguf::Parse(std::as_bytes(std::span(loaded.bytes))));
  loaded.tokenizer = TRY(model::Tokenizer::Load(gguf));
  return loaded;
}

std::vector<json> Lines(const std::string& relative) {
  const std::string path = testing::SharedPath(kShared + relative);
  std::istringstream in(path.ends_with(".xz") ? testing::ReadXz(path) : testing::ReadAll(path));
  std::vector<json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

struct Published {
  const char* name;
  // Texts that are left to differ, with the reason at the instance.
  size_t excepted = 0;
};
void PrintTo(const Published& value, std::ostream* out) {
  *out << value.name;
}

class PublishedTokenizers : public ::testing::TestWithParam<Published> {};

TEST_P(PublishedTokenizers, EqualHuggingFaceOnTheTexts) {
  EXO_NEED_SHARED("data/tokenizers");
  const std::string name = GetParam().name;
  const auto loaded = Load(json::parse(
      testing::ReadXz(testing::SharedPath(kShared + "hf/" + name + "/tokenizer.json.xz"))));
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  std::map<int, std::string> texts;
  for (const json& line : Lines("vectors/texts.jsonl")) texts[line["id"]] = line["text"];
  size_t tested = 0, differing = 0;
  for (const json& line : Lines("vectors/hf-" + name + ".jsonl.xz")) {
    const std::vector<TokenId> ids = line["ids"];
    const std::string& text = texts.at(line["id"]);
    ++tested;
    const std::vector<TokenId> found = loaded->tokenizer->Encode(text, true);
    if (found == ids) continue;
    ++differing;
    if (GetParam().excepted == 0) EXPECT_EQ(found, ids) << line["id"] << ": " << text;
  }
  EXPECT_EQ(tested, 421u);
  EXPECT_EQ(differing, GetParam().excepted);
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, PublishedTokenizers,
                         ::testing::Values(  // Hugging Face replaces whole graphemes where
                                             // SentencePiece replaces the longest match.
                             Published{"t5-small", 1}, Published{"gpt2"}, Published{"llama3"},
                             Published{"falcon"},
                             // Special tokens that eat the white space beside them
                             // (lstrip, rstrip) do not do so here.
                             Published{"phi-3-mini", 5},
                             // Text is not brought to NFC first.
                             Published{"qwen2.5", 36}),
                         [](const auto& test) {
                           std::string name = test.param.name;
                           std::erase_if(name, [](char c) { return c == '-' || c == '.'; });
                           return name;
                         });

// A byte-level vocabulary of the letters a and b.
json SmallTokenizer() {
  return json::parse(R"({
    "added_tokens": [{"id": 3, "content": "<|end|>", "special": true},
                     {"id": 5, "content": "<think>", "special": false}],
    "pre_tokenizer": {"type": "ByteLevel"},
    "post_processor": {"type": "Sequence", "processors": [{"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<|end|>"}}, {"Sequence": {"id": "A"}}]}]},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}})");
}

TEST(TokenizerConfigTest, SpecialTokensComeFromTheDocumentsBeside) {
  const auto loaded = Load(SmallTokenizer(), {{"bos_token", {{"content", "<|end|>"}}}},
                           json::parse(R"({"eos_token_id": [5, 3]})"));
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  const model::Tokenizer& tokenizer = *loaded->tokenizer;
  EXPECT_EQ(tokenizer.Encode("abb", false), (std::vector<TokenId>{2, 1}));
  EXPECT_EQ(tokenizer.bos(), 3);
  EXPECT_TRUE(tokenizer.add_bos());
  EXPECT_EQ(tokenizer.eos(), 5);
  EXPECT_TRUE(tokenizer.IsEndOfGeneration(3));
  EXPECT_TRUE(tokenizer.IsControl(3));
  EXPECT_EQ(tokenizer.vocab_size(), 6u);
  EXPECT_EQ(tokenizer.Bytes(4, true), "");  // the hole in the ids
}

TEST(TokenizerConfigTest, StepsBeforeASentencePieceVocabularyAreKnownOrRefusedByName) {
  const std::string spaces = R"({"type":"Replace","pattern":{"String":" "},"content":"▁"})";
  const auto error_of = [](const std::string& normalizer, const std::string& words) {
    json tokenizer = json::parse(R"({"model": {"type": "BPE", "byte_fallback": true,
        "vocab": {"<unk>": 0, "▁": 1, "a": 2}, "merges": []}})");
    tokenizer["normalizer"] = json::parse(normalizer);
    tokenizer["pre_tokenizer"] = json::parse(words);
    const auto loaded = Load(tokenizer);
    return loaded ? std::string() : loaded.error().message;
  };
  EXPECT_EQ(error_of(spaces, "null"), "");
  EXPECT_EQ(error_of(R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},)" +
                         spaces + "]}",
                     "null"),
            "");
  EXPECT_EQ(error_of("null", R"({"type":"Metaspace","replacement":"▁"})"), "");
  EXPECT_EQ(error_of(spaces, R"({"type":"Split","pattern":{"String":" "},)"
                             R"("behavior":"MergedWithPrevious","invert":false})"),
            "");
  for (const char* step :
       {R"({"type":"Lowercase"})", R"({"type":"NFKC"})", R"({"type":"Prepend","prepend":"x"})",
        R"({"type":"Replace","pattern":{"String":"a"},"content":"▁"})",
        R"({"type":"Replace","pattern":{"Regex":" +"},"content":"▁"})"}) {
    const std::string list = R"({"type":"Sequence","normalizers":[)" + spaces + "," + step + "]}";
    EXPECT_TRUE(error_of(list, "null").contains(std::string(json::parse(step)["type"]))) << step;
  }
  EXPECT_TRUE(error_of(spaces, R"({"type":"Split","pattern":{"Regex":"[0-9]"},)"
                               R"("behavior":"Isolated"})")
                  .contains("Split"));
  EXPECT_NE(error_of(R"({"type":"Sequence","normalizers":7})", "null"), "");
}

json SmallWordPieces() {
  json tokenizer = json::parse(R"({
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]"}},
      {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "[SEP]"}}]},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100}})");
  uint32_t id = 0;
  for (const char* text :
       {"[PAD]",    "[UNK]",    "[CLS]", "[SEP]",    "un",    "##aff",    "##able",   "a",
        "##a",      "b",        "##b",   "A",        "i",     "##\u0307", "##i",      "\u1112",
        "##\u1161", "##\u11ab", ".",     "\u4e00",   "é",     "e",        "##\u0301", "##\u05be",
        "[",        "]",        "\v",    "##\u0e47", "\u0e01"}) {
    tokenizer["model"]["vocab"][text] = id;
    if (id < 4) {
      tokenizer["added_tokens"].push_back({{"id", id}, {"content", text}, {"special", true}});
    }
    ++id;
  }
  return tokenizer;
}

// The ids are those of Hugging Face's own library.
TEST(TokenizerConfigTest, WordPieceReadsTheNormalizerAsHuggingFaceDoes) {
  const std::vector<std::string> texts = {
      "Unaffable.",  "a\u0301 e\u0301 é A", "a\u0130",      "\ud55c",
      "a\u4e00b",    "a\vb a\u0085b a\tb",  "a\u00adb",     "\u0e01\u0e47",
      "[CLS]a[SEP]", std::string(101, 'a'), "unaffablex un"};
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"({"type": "BertNormalizer", "strip_accents": null})",
       "[[4,5,6,18], [7,21,21,7], [7,14], [15,16,17], [7,19,9], [7,10,7,10,7,9], [7,10], [28],"
       "[2,7,3], [1], [1,4]]"},
      {R"({"type": "BertNormalizer", "strip_accents": false})",
       "[[4,5,6,18], [7,22,21,22,20,7], [7,14,13], [1], [7,19,9], [7,10,7,10,7,9], [7,10],"
       "[28,27], [2,7,3], [1], [1,4]]"},
      {R"({"type": "BertNormalizer", "clean_text": false, "handle_chinese_chars": false})",
       "[[4,5,6,18], [7,21,21,7], [7,14], [15,16,17], [1], [7,9,7,9,7,9], [1], [28], [2,7,3], [1],"
       "[1,4]]"},
      {"null",
       "[[1,18], [7,22,21,22,20,11], [1], [1], [1], [7,9,7,9,7,9], [1], [28,27], [2,7,3], [1],"
       "[1,4]]"}};
  for (const auto& [normalizer, expected] : cases) {
    json tokenizer = SmallWordPieces();
    tokenizer["normalizer"] = json::parse(normalizer);
    const auto loaded = Load(tokenizer);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    json found = json::array();
    for (const std::string& text : texts) found.push_back(loaded->tokenizer->Encode(text, true));
    EXPECT_EQ(found, json::parse(expected)) << normalizer;
  }
}

TEST(TokenizerConfigTest, WordPieceTextsAreLimitedAndFramed) {
  json tokenizer = SmallWordPieces();
  const auto loaded = Load(tokenizer);
  EXPECT_EQ(loaded->tokenizer->Encode(std::string(100, 'a'), false).size(), 100u);
  EXPECT_TRUE(loaded->tokenizer->add_bos());
  EXPECT_EQ(loaded->tokenizer->bos(), 2);
  EXPECT_EQ(loaded->tokenizer->text_end(), 3);
  EXPECT_EQ(loaded->tokenizer->Decode(std::vector<TokenId>{4, 5, 6, 7}), "unaffable a");
  tokenizer["post_processor"] =
      json::parse(R"({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]})");
  EXPECT_EQ(Load(tokenizer)->tokenizer->text_end(), 3);
  tokenizer["post_processor"] = nullptr;
  EXPECT_FALSE(Load(tokenizer)->tokenizer->add_bos());
  EXPECT_EQ(Load(tokenizer)->tokenizer->text_end(), -1);
}

TEST(TokenizerConfigTest, WordPieceOfAnotherKindIsRefusedByName) {
  const auto refused = [](const json& patch) {
    json tokenizer = SmallWordPieces();
    tokenizer.merge_patch(patch);
    const auto loaded = Load(tokenizer);
    return loaded ? std::string() : loaded.error().message;
  };
  EXPECT_TRUE(refused({{"normalizer", {{"type", "Lowercase"}}}}).contains("Lowercase"));
  EXPECT_TRUE(refused({{"pre_tokenizer", {{"type", "Whitespace"}}}}).contains("Whitespace"));
  EXPECT_TRUE(refused({{"pre_tokenizer", nullptr}}).contains("no pre-tokenizer"));
  EXPECT_TRUE(refused({{"model", {{"unk_token", "<unk>"}}}}).contains("'<unk>'"));
  EXPECT_TRUE(refused({{"model", {{"max_input_chars_per_word", 0u}}}}).contains("is 0"));
  EXPECT_TRUE(refused({{"normalizer", {{"type", "BertNormalizer"}, {"lowercase", 3}}}})
                  .contains("lowercase"));
}

TEST(TokenizerConfigTest, WhatIsNotKnownIsRefusedByName) {
  const auto refused = [](const json& patch) {
    json tokenizer = SmallTokenizer();
    tokenizer.merge_patch(patch);
    const auto loaded = Load(tokenizer);
    return loaded ? std::string() : loaded.error().message;
  };
  EXPECT_TRUE(refused({{"model", {{"type", "WordLevel"}}}}).contains("WordLevel"));
  EXPECT_TRUE(refused({{"pre_tokenizer", {{"type", "Whitespace"}}}}).contains("Whitespace"));
  EXPECT_TRUE(refused({{"pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "[a-c]+"}}}}}})
                  .contains("[a-c]+"));
  EXPECT_TRUE(refused({{"model", {{"vocab", {{"c", -1}}}}}}).contains("'c'"));
  EXPECT_TRUE(refused({{"model", {{"vocab", {{"c", 1e9}}}}}}).contains("'c'"));
  EXPECT_TRUE(refused({{"model", {{"vocab", {{"c", 4'000'000'000u}}}}}}).contains("4000000000"));
  EXPECT_TRUE(refused({{"model", {{"vocab", {{"c", 2u}}}}}}).contains("id 2"));
  EXPECT_TRUE(refused({{"model", {{"vocab", {{"c", 7u}}}}}}).contains("id 4"));
  EXPECT_TRUE(refused({{"model", {{"vocab", {{"c", 5u}, {"d", 4u}}}}}}).contains("<think>"));
  EXPECT_TRUE(refused({{"normalizer", {{"type", "Lowercase"}}}}).contains("Lowercase"));
  EXPECT_NE(refused({{"model", {{"merges", {"ab"}}}}}), "");
  EXPECT_NE(refused({{"model", {{"merges", nullptr}}}}), "");
  EXPECT_NE(refused({{"model", {{"vocab", {1, 2}}}}}), "");
  EXPECT_NE(refused({{"model", nullptr}}), "");
  EXPECT_NE(refused({{"added_tokens", {1}}}), "");
}

}  // namespace
}  // namespace exo::checkpoint
