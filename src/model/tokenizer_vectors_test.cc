// Token ids against those of llama.cpp and SentencePiece: real vocabularies, 421 texts (the
// others are held out) and 46 strings each.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "../tests/support/shared_data.h"
#include "model/tokenizer.h"

namespace exo::model {
namespace {

using nlohmann::json;

const std::string kData = "data/tokenizers/";

std::string ReadShared(const std::string& relative) {
  const std::string path = testing::SharedPath(relative);
  return path.ends_with(".xz") ? testing::ReadXz(path) : testing::ReadAll(path);
}

std::shared_ptr<const Tokenizer> LoadFrom(const std::string& bytes) {
  const auto gguf = Gguf::Parse(std::as_bytes(std::span(bytes)));
  EXPECT_TRUE(gguf.has_value()) << gguf.error().message;
  if (!gguf) return nullptr;
  const auto tokenizer = Tokenizer::Load(*gguf);
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return tokenizer ? *tokenizer : nullptr;
}

std::vector<json> ReadLines(const std::string& relative) {
  std::istringstream in(ReadShared(relative));
  std::vector<json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

const std::map<int, std::string>& Texts() {
  static const std::map<int, std::string> texts = [] {
    std::map<int, std::string> by_id;
    for (const json& line : ReadLines(kData + "vectors/texts.jsonl"))
      by_id[line["id"]] = line["text"];
    return by_id;
  }();
  return texts;
}

// What llama.cpp does to decoded text of vocabularies that do not forbid it
// (tokenizer_clean_spaces): it drops spaces before punctuation. We keep the bytes of the tokens, so
// the test applies it to compare.
std::string CleanSpaces(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (!out.empty() && out.back() == ' ' && std::string_view("?!.,").contains(c)) out.pop_back();
    out += c;
  }
  std::string quoted;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] == '\'' && i > 0 && i + 1 < out.size() && quoted.ends_with(' ') &&
        out[i + 1] == ' ') {
      quoted.back() = '\'';
      ++i;
      continue;
    }
    quoted += out[i];
  }
  std::string joined;
  for (size_t i = 0; i < quoted.size(); ++i) {
    const std::string_view rest = std::string_view(quoted).substr(i);
    if (joined.ends_with(' ') && (rest.starts_with("'s") || rest.starts_with("'m") ||
                                  rest.starts_with("'re") || rest.starts_with("'ve"))) {
      joined.pop_back();
    }
    joined += quoted[i];
  }
  return joined;
}

struct VectorCase {
  std::string name;
  std::string vocabulary;
  bool cleans_spaces = false;
  // Texts whose parsed ids we leave to differ; each has its reason at the instance below.
  std::string except_text;
  size_t excepted = 0;
  bool has_strings = true;
};

void PrintTo(const VectorCase& value, std::ostream* out) {
  *out << value.name;
}

class TokenizerVectors : public ::testing::TestWithParam<VectorCase> {};

TEST_P(TokenizerVectors, EqualLlamaCppOnTheStrings) {
  const VectorCase& param = GetParam();
  if (!param.has_strings) return;
  EXO_NEED_SHARED("data/tokenizers");
  const std::string bytes = ReadShared(kData + param.vocabulary);
  const auto tokenizer = LoadFrom(bytes);
  ASSERT_NE(tokenizer, nullptr);
  std::string input = ReadShared(kData + "gguf-vocab/ggml-vocab.inp");
  std::istringstream expected(ReadShared(kData + "gguf-vocab/ggml-vocab-" + param.name + ".out"));
  const std::string separator = "\n__ggml_vocab_test__\n";
  size_t tested = 0;
  for (size_t end; (end = input.find(separator)) != std::string::npos; ++tested) {
    const std::string text = input.substr(0, end);
    input.erase(0, end + separator.size());
    std::string line;
    ASSERT_TRUE(std::getline(expected, line));
    std::istringstream numbers(line);
    const std::vector<TokenId> ids{std::istream_iterator<TokenId>(numbers), {}};
    EXPECT_EQ(tokenizer->Encode(text, false), ids) << text;
  }
  EXPECT_EQ(tested, 46u);
}

TEST_P(TokenizerVectors, EqualLlamaCppOnTheTexts) {
  const VectorCase& param = GetParam();
  EXO_NEED_SHARED("data/tokenizers");
  const std::string bytes = ReadShared(kData + param.vocabulary);
  const auto tokenizer = LoadFrom(bytes);
  ASSERT_NE(tokenizer, nullptr);
  size_t tested = 0;
  size_t excepted = 0;
  for (const json& line : ReadLines(kData + "vectors/gguf-" + param.name + ".jsonl.xz")) {
    const std::string& text = Texts().at(line["id"]);
    const std::vector<TokenId> ids = line["ids"];
    EXPECT_EQ(tokenizer->Encode(text, false), ids) << line["id"] << ": " << text;
    ++tested;
    const std::vector<TokenId> parsed = line.value("ids_parse_special", ids);
    if (!param.except_text.empty() && text.contains(param.except_text) &&
        tokenizer->Encode(text, true) != parsed) {
      ++excepted;
      continue;
    }
    EXPECT_EQ(tokenizer->Encode(text, true), parsed) << line["id"] << ": " << text;
    const std::string decoded = tokenizer->Decode(parsed, true);
    EXPECT_EQ(param.cleans_spaces ? CleanSpaces(decoded) : decoded, line.value("decoded", text))
        << line["id"];
  }
  EXPECT_EQ(tested, 421u);
  EXPECT_EQ(excepted, param.excepted);
}

INSTANTIATE_TEST_SUITE_P(
    Vocabularies, TokenizerVectors,
    ::testing::Values(
        VectorCase{.name = "llama-spm", .vocabulary = "gguf-vocab/ggml-vocab-llama-spm.gguf"},
        VectorCase{.name = "phi-3", .vocabulary = "gguf-vocab/ggml-vocab-phi-3.gguf"},
        VectorCase{.name = "gpt-2",
                   .vocabulary = "gguf-vocab/ggml-vocab-gpt-2.gguf",
                   .cleans_spaces = true},
        VectorCase{.name = "llama-bpe",
                   .vocabulary = "gguf-vocab/ggml-vocab-llama-bpe.gguf.xz",
                   .cleans_spaces = true},
        // Qwen's vocabulary has an ordinary token "</s>"; llama.cpp takes every token
        // of that name for a special one, the models were trained without that.
        VectorCase{.name = "qwen2",
                   .vocabulary = "gguf-vocab/ggml-vocab-qwen2.gguf.xz",
                   .except_text = "</s>",
                   .excepted = 25},
        VectorCase{.name = "deepseek-llm", .vocabulary = "gguf-vocab/ggml-vocab-deepseek-llm.gguf"},
        VectorCase{.name = "falcon",
                   .vocabulary = "gguf-vocab/ggml-vocab-falcon.gguf",
                   .cleans_spaces = true},
        VectorCase{.name = "refact",
                   .vocabulary = "gguf-vocab/ggml-vocab-refact.gguf",
                   .cleans_spaces = true},
        VectorCase{.name = "bert-bge",
                   .vocabulary = "gguf-vocab/ggml-vocab-bert-bge.gguf",
                   .cleans_spaces = true},
        // No tokenizer.ggml.pre: the "default" rules.
        VectorCase{.name = "gpt-neox",
                   .vocabulary = "gguf-vocab/ggml-vocab-gpt-neox.gguf",
                   .cleans_spaces = true,
                   .has_strings = false}),
    [](const auto& test) {
      std::string name = test.param.name;
      std::erase(name, '-');
      return name;
    });

TEST(TokenizerVectorsTest, Stories260KEqualsSentencePiece) {
  EXO_NEED_SHARED("data/models");
  const std::string bytes = ReadShared("data/models/stories260K/gguf/stories260K-f16.gguf");
  const auto tokenizer = LoadFrom(bytes);
  ASSERT_NE(tokenizer, nullptr);
  size_t tested = 0;
  for (const json& line : ReadLines(kData + "vectors/spm-stories260K.jsonl.xz")) {
    const std::string& text = Texts().at(line["id"]);
    const std::vector<TokenId> ids = line["ids"];
    EXPECT_EQ(tokenizer->Encode(text, false), ids) << line["id"] << ": " << text;
    EXPECT_EQ(tokenizer->Decode(ids), line.value("decoded", text)) << line["id"];
    ++tested;
  }
  EXPECT_EQ(tested, 421u);
}

}  // namespace
}  // namespace exo::model
