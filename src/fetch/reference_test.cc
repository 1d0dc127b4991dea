#include "fetch/reference.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace exo::fetch {
namespace {

std::string TextOf(const std::string& text) {
  const auto reference = ParseReference(text);
  return reference ? reference->Text() : "refused";
}

TEST(ReferenceTest, EachNameHasOneMeaning) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"hf:owner/repo", "hf:owner/repo"},
      {"hf.co/owner/repo", "hf:owner/repo"},
      {"huggingface.co/owner/repo:latest", "hf:owner/repo"},
      {"owner/repo:q4_k_m", "hf:owner/repo:Q4_K_M"},
      {"hf:owner/repo:Q8_0@v2", "hf:owner/repo:Q8_0@v2"},
      {"hf:owner/repo@main", "hf:owner/repo"},
      {"hf:owner/repo:sub/Model-q4.gguf", "hf:owner/repo:sub/Model-q4.gguf"},
      {"https://huggingface.co/o/r/resolve/main/a/b.gguf?download=true", "hf:o/r:a/b.gguf"},
      {"https://huggingface.co/o/r/blob/refs%2Fpr%2F1/b.gguf", "refused"},
      {"https://hf.co/o/r", "hf:o/r"},
      {"llama3.2", "ollama:library/llama3.2:latest"},
      {"llama3.2:1b", "ollama:library/llama3.2:1b"},
      {"ollama:someone/thing:q4", "ollama:someone/thing:q4"},
      {"registry.ollama.ai/library/llama3.2:1b", "ollama:library/llama3.2:1b"},
      {"registry.example/team/thing:v1", "registry.example/team/thing:v1"},
      {"localhost:5000/team/thing", "localhost:5000/team/thing:latest"},
      {"https://example.com/x/model-Q4_0.gguf?a=b", "https://example.com/x/model-Q4_0.gguf?a=b"},
  };
  for (const auto& [text, meaning] : cases) {
    EXPECT_EQ(TextOf(text), meaning) << text;
    if (meaning != "refused") EXPECT_EQ(TextOf(meaning), meaning) << "it is read again";
  }
}

TEST(ReferenceTest, WhatLeavesItsFolderOrHostIsRefused) {
  for (const char* text : {"",
                           " ",
                           "hf:",
                           "hf:owner",
                           "hf:owner/",
                           "hf:/repo",
                           "hf:a/b/c",
                           "hf:../repo",
                           "hf:a/..",
                           "hf:a/b:../../x.gguf",
                           "hf:a/b:/etc/x.gguf",
                           "hf:a/b:c\\d.gguf",
                           "hf:a/b@../x",
                           "hf:a/b:x y",
                           "hf:a/-b",
                           "../x",
                           "a/b/c/d",
                           "ollama:a/b/c",
                           "name:../x",
                           "name:",
                           "ftp://h/x.gguf",
                           "http://example.com/x.gguf",
                           "file:///etc/x.gguf",
                           "https://example.com/x.bin",
                           "https://user:pw@example.com/x.gguf",
                           "https://example.com",
                           "hf:a/b:\x01.gguf",
                           "hf:a/b\n",
                           "hf:a/b:%2e%2e/x.gguf",
                           "hf:a/b:x@y.gguf@main"})
    EXPECT_EQ(TextOf(text), "refused") << text;
  EXPECT_EQ(TextOf("hf:a/" + std::string(97, 'b')), "refused");
  EXPECT_EQ(TextOf(std::string(5000, 'b')), "refused");
  const auto plain = ParseReference("http://example.com/x.gguf");
  ASSERT_FALSE(plain);
  EXPECT_NE(plain.error().message.find("https://"), std::string::npos);
}

std::vector<ListedFile> Repository() {
  std::vector<ListedFile> files;
  for (const char* name :
       {"README.md", "mmproj-F16.gguf", "m-Q2_K.gguf", "m-Q4_K_S.gguf", "m-Q4_K_M.gguf",
        "m-UD-Q4_K_XL.gguf", "m-Q8_0.gguf", "BF16/m-BF16-00001-of-00002.gguf",
        "BF16/m-BF16-00002-of-00002.gguf", "m.imatrix.gguf", "../m-F32.gguf", "m-IQ3_XXS.gguf"})
    files.push_back({.name = name, .bytes = 1});
  return files;
}

std::string Chosen(const std::string& choice) {
  const auto files = ChooseFiles(Repository(), choice);
  if (!files) return files.error().message;
  std::string names;
  for (const ListedFile& file : *files) names += (names.empty() ? "" : " ") + file.name;
  return names;
}

TEST(ChooseFilesTest, AQuantizationIsAWholeWordInAnyCase) {
  EXPECT_EQ(Chosen(""), "m-Q4_K_M.gguf");
  EXPECT_EQ(Chosen("Q4_K_M"), "m-Q4_K_M.gguf");
  EXPECT_EQ(Chosen("q8_0"), "m-Q8_0.gguf");
  EXPECT_EQ(Chosen("Q4_K_XL"), "m-UD-Q4_K_XL.gguf");
  EXPECT_EQ(Chosen("UD-Q4_K_XL"), "m-UD-Q4_K_XL.gguf");
  EXPECT_EQ(Chosen("IQ3_XXS"), "m-IQ3_XXS.gguf");
  EXPECT_EQ(Chosen("m-Q2_K.gguf"), "m-Q2_K.gguf");
  EXPECT_EQ(Chosen("mmproj-F16.gguf"), "mmproj-F16.gguf");
}

TEST(ChooseFilesTest, ASplitModelIsAllOfItsParts) {
  const std::string both = "BF16/m-BF16-00001-of-00002.gguf BF16/m-BF16-00002-of-00002.gguf";
  EXPECT_EQ(Chosen("BF16"), both);
  EXPECT_EQ(Chosen("BF16/m-BF16-00002-of-00002.gguf"), both);
  const auto half = ChooseFiles({{.name = "m-Q4_K_M-00001-of-00002.gguf"}}, "");
  ASSERT_FALSE(half);
  EXPECT_EQ(half.error().code, ErrorCode::kCorrupt);
}

TEST(ChooseFilesTest, NumbersThatCountNothingArePartsOfNames) {
  for (const std::string name : {"m-00002-of-00000.gguf", "m-00000-of-00000.gguf",
                                 "m-00000-of-00002.gguf", "m-00003-of-00002.gguf"}) {
    const auto files = ChooseFiles({{.name = name}}, "");
    ASSERT_TRUE(files) << files.error().message;
    ASSERT_EQ(files->size(), 1u);
    EXPECT_EQ((*files)[0].name, name);
  }
  // One part of one, and a file of the same stem beside it.
  const auto one = ChooseFiles({{.name = "m-00001-of-00001.gguf"}, {.name = "m.gguf"}}, "m.gguf");
  ASSERT_TRUE(one);
  EXPECT_EQ((*one)[0].name, "m.gguf");
}

TEST(ChooseFilesTest, WhatIsNotThereNamesWhatIs) {
  EXPECT_EQ(
      Chosen("Q4_K"),
      "the repository has no Q4_K; it has BF16, IQ3_XXS, Q2_K, Q4_K_M, Q4_K_S, Q4_K_XL, Q8_0");
  EXPECT_EQ(Chosen("F32").find("../"), std::string::npos);
  const auto none = ChooseFiles({{.name = "model.safetensors"}}, "");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kNotFound);
}

TEST(ChooseFilesTest, WithoutTheUsualOnesItIsTheFirst) {
  const auto files = ChooseFiles({{.name = "b.gguf"}, {.name = "a.gguf"}}, "");
  ASSERT_TRUE(files);
  EXPECT_EQ((*files)[0].name, "a.gguf");
}

TEST(StemTest, LeavesFolderEndingAndPart) {
  EXPECT_EQ(StemOf("a/b/m-Q4_0-00001-of-00003.gguf"), "m-Q4_0");
  EXPECT_EQ(StemOf("https://h/m.gguf?x=/y"), "m");
  EXPECT_EQ(StemOf("a/.hid-Q8_0.gguf"), "hid-Q8_0") << "a hidden file is not found again";
  EXPECT_EQ(StemOf("a/..gguf"), "");
  EXPECT_EQ(QuantizationOf("m-Q4_K_M-00001-of-00003.gguf"), "Q4_K_M");
  EXPECT_EQ(QuantizationOf("model.gguf"), "");
}

}  // namespace
}  // namespace exo::fetch
