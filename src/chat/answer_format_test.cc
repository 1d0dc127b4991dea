// The formats of real models, by their own templates: what a template writes is read back.
#include "chat/answer_format.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "../tests/support/shared_data.h"
#include "chat/answer_reader.h"

namespace exo::chat {
namespace {

using Json = nlohmann::ordered_json;

model::DataList Tools() {
  const auto text = [](const char* value) { return model::Data{std::string(value)}; };
  const auto typed = [&](const char* type) {
    return model::Data{model::DataMap{{"type", text(type)}}};
  };
  model::DataList tools;
  for (const char* name : {"get_weather", "get_time"}) {
    const model::DataMap properties = {{"city", typed("string")}, {"days", typed("integer")}};
    const model::DataMap parameters = {{"type", text("object")}, {"properties", {properties}}};
    const model::DataMap function = {
        {"name", text(name)}, {"description", text("Looks.")}, {"parameters", {parameters}}};
    tools.push_back({model::DataMap{{"type", text("function")}, {"function", {function}}}});
  }
  return tools;
}

struct Read {
  std::string text, reasoning;
  std::vector<std::pair<std::string, std::string>> calls;
  friend bool operator==(const Read&, const Read&) = default;
};
Read ReadAll(const std::shared_ptr<const AnswerFormat>& format, std::string_view text, size_t cut,
             bool constrained, bool thinking = false) {
  const auto reader = MakeAnswerReader(format, {.tools = ToolsOf(Tools()),
                                                .thinking = thinking,
                                                .constrained = constrained,
                                                .make_id = [] { return "id"; }});
  std::vector<Piece> pieces;
  reader->Push(text.substr(0, cut), pieces);
  reader->Push(text.substr(cut), pieces);
  reader->Finish(pieces);
  Read read;
  for (const Piece& piece : pieces) {
    if (piece.kind == Piece::Kind::kText) read.text += piece.text;
    if (piece.kind == Piece::Kind::kReasoning) read.reasoning += piece.text;
    if (piece.kind == Piece::Kind::kCall) read.calls.emplace_back(piece.text, "");
    if (piece.kind == Piece::Kind::kArguments) read.calls.at(piece.call).second += piece.text;
  }
  return read;
}

struct Family {
  std::string source;
  std::shared_ptr<const model::ChatTemplate> chat_template;
  std::shared_ptr<const AnswerFormat> format;
  model::ChatTemplateOptions options;
};
std::map<std::string, Family> Families() {
  std::map<std::string, Family> all;
  for (const auto& entry : std::filesystem::directory_iterator(
           exo::testing::SharedPath("data/chat-templates/templates"))) {
    Family one = {.source = exo::testing::ReadAll(entry.path())};
    const auto parsed = model::ChatTemplate::Parse(one.source);
    if (!parsed) continue;
    one.chat_template = *parsed;
    one.options = {
        .add_generation_prompt = false, .bos_token = "<s>", .eos_token = "</s>", .now = 0};
    one.format =
        std::make_shared<const AnswerFormat>(FindAnswerFormat(**parsed, one.source, one.options));
    one.options.tools = Tools();
    one.options.arguments_as_text = one.format->arguments_as_text;
    all[entry.path().stem().string()] = std::move(one);
  }
  return all;
}
std::string Render(const Family& family, model::ChatMessage answer) {
  answer.role = "assistant";
  const std::vector<model::ChatMessage> messages = {{"user", "Hello."}, std::move(answer)};
  const auto pieces = family.chat_template->Render(messages, family.options);
  std::string text;
  if (!pieces) return text;
  for (const model::TextPiece& piece : *pieces) text += piece.text;
  for (size_t at = 0; (at = text.find("&#34;", at)) != std::string::npos;)
    text.replace(at, 5, "\"");
  return text;
}

TEST(AnswerFormatTest, ReadsBackTheCallsThatTemplatesWriteHoweverTheyAreCut) {
  EXO_NEED_SHARED("data/chat-templates");
  const model::DataMap arguments = {{"city", {std::string("S\xC3\xA3o {P}")}},
                                    {"days", {int64_t{3}}}};
  const Json expected = {{"city", "S\xC3\xA3o {P}"}, {"days", 3}};
  size_t families = 0;
  for (const auto& [name, family] : Families()) {
    if (!family.format->has_calls) continue;
    ++families;
    SCOPED_TRACE(name);
    model::ChatMessage answer{.content = ""};
    const bool indexed = family.format->calls.indexed;
    answer.tool_calls.push_back(
        {indexed ? "functions.get_weather:0" : "a1b2c3d4e", "get_weather", arguments});
    const bool one = family.format->calls.one_call;
    if (!one)
      answer.tool_calls.push_back(
          {indexed ? "functions.get_time:1" : "f5g6h7i8j", "get_time", arguments});
    const std::string plain = Render(family, {.content = "XY"});
    std::string text = Render(family, answer);
    // Some look at calls only where there is no content.
    answer.content.reset();
    if (text.find("get_weather\"") == std::string::npos && text.size() < plain.size() + 40)
      text = Render(family, answer);
    size_t same = 0;
    while (same < std::min(plain.size(), text.size()) && plain[same] == text[same]) ++same;
    const std::string calls = text.substr(same);
    for (const bool constrained : {false, true}) {
      const Read whole = ReadAll(family.format, calls, 0, constrained);
      ASSERT_EQ(whole.calls.size(), one ? 1u : 2u) << calls;
      EXPECT_EQ(whole.calls[0].first, "get_weather");
      EXPECT_EQ(Json::parse(whole.calls[0].second, nullptr, false), expected)
          << whole.calls[0].second;
      for (size_t cut = 1; cut < calls.size(); cut += constrained ? 3 : 1)
        ASSERT_EQ(ReadAll(family.format, calls, cut, constrained), whole) << calls.substr(0, cut);
    }
  }
  EXPECT_EQ(families, 65u);
}

TEST(AnswerFormatTest, WhatIsThoughtStandsApart) {
  const auto format = std::make_shared<const AnswerFormat>(
      AnswerFormat{.calls = CommonCalls(), .reasoning = {"<think>", "</think>"}});
  const std::string text = "<think>\nHm, 1 < 2.\n</think>\n\nYes <b>.\n";
  const Read whole = ReadAll(format, text, 0, false);
  EXPECT_EQ(whole.reasoning, "Hm, 1 < 2.");
  EXPECT_EQ(whole.text, "Yes <b>.\n");
  for (size_t cut = 1; cut < text.size(); ++cut)
    EXPECT_EQ(ReadAll(format, text, cut, false), whole) << cut;
  EXPECT_EQ(ReadAll(format, "Hm.</think>Yes.", 4, false, true), (Read{"Yes.", "Hm.", {}}));
}

TEST(AnswerReaderTest, WhatIsNoCallIsText) {
  const auto format = std::make_shared<const AnswerFormat>(AnswerFormat{.calls = CommonCalls()});
  for (const std::string text :
       {"<tool_call>", "<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>",
        "a <tool_call> b",
        "<tool_call>{\"name\": \"get_time\", \"arguments\": {\"a\": tru}}</tool_call> c",
        "<tool_call>{\"name\": \"get_time\", \"arguments\": {\"a\": ", "<tool_ca",
        "{\"name\": 1}"}) {
    for (size_t cut = 0; cut < text.size(); ++cut) {
      const Read read = ReadAll(format, text, cut, false);
      EXPECT_EQ(read.text, text);
      EXPECT_TRUE(read.calls.empty());
    }
  }
}

TEST(AnswerReaderTest, ACallThatMustComeIsOneWhereverItIsCut) {
  const auto format = std::make_shared<const AnswerFormat>(AnswerFormat{.calls = CommonCalls()});
  const std::string text = R"(<tool_call>{"name": "get_time", "arguments": {"a": 1}}</tool_call>)";
  std::vector<Tool> tools = ToolsOf(Tools());
  const auto read = [&](size_t end) {
    const auto reader = MakeAnswerReader(
        format,
        {.tools = tools, .constrained = true, .required = true, .make_id = [] { return "id"; }});
    std::vector<Piece> pieces;
    reader->Push(std::string_view(text).substr(0, end), pieces);
    reader->Finish(pieces);
    return pieces;
  };
  for (size_t end = 1; end < text.size(); ++end) {
    for (const Piece& piece : read(end)) EXPECT_NE(piece.kind, Piece::Kind::kText) << end;
  }
  EXPECT_TRUE(read(20).empty()) << "which of the tools is not known yet";
  std::erase_if(tools, [](const Tool& tool) { return tool.name != "get_time"; });
  ASSERT_EQ(tools.size(), 1u);
  for (size_t end = 1; end < text.size(); ++end) {
    const std::vector<Piece> pieces = read(end);
    ASSERT_FALSE(pieces.empty()) << end;
    EXPECT_EQ(pieces[0].kind, Piece::Kind::kCall);
    EXPECT_EQ(pieces[0].text, "get_time");
  }
}

TEST(AnswerReaderTest, ACallThatBreaksAfterItWasToldIsStillJson) {
  const auto format = std::make_shared<const AnswerFormat>(AnswerFormat{.calls = CommonCalls()});
  const Read read =
      ReadAll(format, R"(<tool_call>{"name": "get_time", "arguments": {"a": [1, "b\n", tru} rest)",
              9, true);
  ASSERT_EQ(read.calls.size(), 1u);
  EXPECT_TRUE(Json::accept(read.calls[0].second)) << read.calls[0].second;
}

}  // namespace
}  // namespace exo::chat
