#include "node/vocabulary.h"

#include <gtest/gtest.h>

#include "model/gguf_builder.h"
#include "sys/fake/disk.h"

namespace exo::node {
namespace {

Result<std::shared_ptr<const Vocabulary>> Parse(const std::string& chat_template,
                                                const std::string& pre = "gpt-2") {
  model::GgufBuilder file = model::SmallBpe(pre);
  file.String("tokenizer.chat_template", chat_template);
  const std::string bytes = file.Build();
  return ParseVocabulary(model::ParseText(bytes).value());
}

std::string Chat(const Vocabulary& vocabulary, const std::string& content, int64_t now = 0) {
  const std::vector<model::ChatMessage> messages = {{.role = "user", .content = content}};
  const auto pieces = RenderChat(vocabulary, messages, {.now = now});
  if (!pieces) return "error: " + pieces.error().message;
  std::string text;
  for (const model::TextPiece& piece : *pieces) text += piece.text;
  return text;
}

// The user's words must not be dropped silently.
TEST(VocabularyTest, ATemplateThatSaysNothingOfTheUserIsNone) {
  for (const char* source : {"", " \n", "chatml", "{{ messages[0].role }}", "{# nothing #}"}) {
    const auto vocabulary = Parse(source);
    ASSERT_TRUE(vocabulary) << source;
    EXPECT_EQ((*vocabulary)->chat_template, nullptr) << source;
    EXPECT_NE(Chat(**vocabulary, "hi").find("no usable chat template"), std::string::npos)
        << source;
  }
}

// Each says how to go on: at the command line, and over HTTP.
TEST(VocabularyTest, WithoutATemplateItPointsToRawPrompts) {
  const auto none = Parse("{{ messages[0].role }}").value();
  const auto broken = Parse("{% if %}").value();
  for (const auto& vocabulary : {none, broken}) {
    EXPECT_NE(Chat(*vocabulary, "hi").find("exo run --raw"), std::string::npos)
        << Chat(*vocabulary, "hi");
    EXPECT_NE(Chat(*vocabulary, "hi").find("/v1/completions"), std::string::npos);
  }
}

TEST(VocabularyTest, ATemplateThatDropsOneConversationIsAnErrorOfThatRequest) {
  const auto vocabulary =
      Parse(
          "{% for m in messages %}{% if m.content != 'secret' %}{{ m.content }}{% endif %}"
          "{% endfor %}")
          .value();
  ASSERT_NE(vocabulary->chat_template, nullptr);
  EXPECT_EQ(Chat(*vocabulary, "hi"), "hi");
  EXPECT_NE(Chat(*vocabulary, "secret").find("no usable chat template"), std::string::npos);
}

TEST(VocabularyTest, TemplatesHaveAClock) {
  const auto vocabulary =
      Parse("{{ strftime_now('%d %b %Y %H:%M') }}: {{ messages[0].content }}").value();
  EXPECT_EQ(Chat(*vocabulary, "hi", 1'000'000'000), "09 Sep 2001 01:46: hi");
}

TEST(VocabularyTest, AnUnknownPreTokenizerIsUnsupported) {
  const auto vocabulary = Parse("{{ messages[0].content }}", "no-such-rule");
  ASSERT_FALSE(vocabulary);
  EXPECT_EQ(vocabulary.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(vocabulary.error().message.find("no-such-rule"), std::string::npos);
}

// Asked for twice at once, and once more.
TEST(VocabularyTest, TheMemoryOfVocabulariesIsCountedOnce) {
  model::GgufBuilder file = model::TinyModel("llama");
  file.String("tokenizer.ggml.model", "gpt2")
      .String("tokenizer.ggml.pre", "gpt-2")
      .Strings("tokenizer.ggml.tokens", {"a", "b", "ab", "<|end|>"})
      .Strings("tokenizer.ggml.merges", {"a b"});
  const store::OpenedFile opened =
      std::make_shared<sys::MemoryFile>(model::TinyTensors(file, "llama").Build());
  const auto manifest = store::Manifest::FromFiles({&opened, 1});
  ASSERT_TRUE(manifest) << manifest.error().message;
  const uint64_t bytes = VocabularyBytes((*manifest)->gguf());
  EXPECT_GT(bytes, 0u);
  net::EventLoop loop;
  Jobs jobs(loop);
  std::vector<uint64_t> grown;
  Vocabularies vocabularies(jobs, [&] { grown.push_back(vocabularies.bytes()); });
  size_t loaded = 0;
  const auto done = [&](const Result<std::shared_ptr<const Vocabulary>>& vocabulary) {
    EXPECT_TRUE(vocabulary);
    EXPECT_EQ(grown, std::vector{bytes}) << "before anybody goes on";
    if (++loaded == 2) loop.Stop();
  };
  vocabularies.Load(*manifest, done);
  vocabularies.Load(*manifest, done);
  loop.Run();
  vocabularies.Load(*manifest, done);
  EXPECT_EQ(loaded, 3u);
  EXPECT_EQ(VocabularyBytes(model::Gguf()), 0u);
}

}  // namespace
}  // namespace exo::node
