// What holds the calls of a chat to its tools, and what is refused because nothing would.
#include "node/reading.h"

#include <gtest/gtest.h>

#include "grammar/grammar.h"
#include "grammar/test_texts.h"

namespace exo::node {
namespace {

model::Data TextData(const char* text) {
  return {std::string(text)};
}

// A schema that has the keyword of `more` beside its type.
model::Data TypedData(const char* type, model::DataMap more = {}) {
  more.push_back({"type", TextData(type)});
  return {std::move(more)};
}

model::Data ToolData(const char* name, model::DataMap properties) {
  const model::DataMap parameters = {{"type", TextData("object")},
                                     {"properties", {std::move(properties)}}};
  return {model::DataMap{
      {"function", {model::DataMap{{"name", TextData(name)}, {"parameters", {parameters}}}}}}};
}

class ReadingTest : public testing::Test {
 protected:
  Result<std::shared_ptr<const Reading>> Plan(const chat::AnswerFormat& format) {
    Vocabulary vocabulary;
    vocabulary.format = std::make_shared<const chat::AnswerFormat>(format);
    return PlanReading(request_, vocabulary, "", grammars_);
  }
  // Whether the answer may be this one.
  bool Allows(const std::string& answer) {
    const auto reading = Plan({.calls = chat::CommonCalls()});
    EXPECT_TRUE(reading) << reading.error().message;
    if (!reading || !(*reading)->grammar) return true;
    return grammar::Accepts(**grammars_.Compile(*(*reading)->grammar), answer);
  }
  static std::string CallOf(const std::string& name, const std::string& arguments) {
    return "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": " + arguments +
           "}\n</tool_call>";
  }

  GenerateRequest request_{.messages = {{"user", "a"}}};
  grammar::Cache grammars_;
};

// Lists of objects that must differ cannot be held.
const model::DataMap kUnheld = {{"items", TypedData("object")}, {"uniqueItems", {true}}};

TEST_F(ReadingTest, WhatCannotBeHeldOfASchemaIsOneProperty) {
  request_.chat.tools = {
      ToolData("f", {{"a", TypedData("array", kUnheld)}, {"b", TypedData("integer")}})};
  request_.chat.tool_use = ToolUse::kRequired;
  EXPECT_TRUE(Allows(CallOf("f", R"({"a":3,"b":4})"))) << "a may be anything";
  EXPECT_FALSE(Allows(CallOf("f", R"({"b":"x"})"))) << "b is held all the same";
  request_.chat.tools.push_back(ToolData("g", {{"b", TypedData("integer")}}));
  EXPECT_EQ((*Plan({.calls = chat::CommonCalls()}))->loose_tools, std::vector<std::string>{"f"});
}

TEST_F(ReadingTest, AStrictToolThatCannotBeHeldIsRefused) {
  request_.chat.tools = {ToolData("f", {{"a", TypedData("array", kUnheld)}})};
  request_.chat.strict_tools = {"f"};
  for (const ToolUse use : {ToolUse::kAuto, ToolUse::kRequired}) {
    request_.chat.tool_use = use;
    const auto refused = Plan({.calls = chat::CommonCalls()});
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message.contains("uniqueItems")) << refused.error().message;
  }
  // A form that writes texts as they are cannot hold them to a pattern.
  request_.chat.tools = {
      ToolData("f", {{"a", TypedData("string", {{"pattern", TextData("^x$")}})}})};
  EXPECT_TRUE(Plan({.calls = chat::CommonCalls()}));
  chat::AnswerFormat tags;
  tags.calls = {.form = chat::CallForm::kParameters,
                .call_begin = "<call>",
                .call_end = "</call>",
                .parameter_begin = "<",
                .string_begin = ">",
                .value_begin = ">",
                .parameter_end = "</>"};
  const auto refused = Plan(tags);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().message.contains("'pattern' of the strict tool 'f'"))
      << refused.error().message;
  request_.chat.strict_tools.clear();
  EXPECT_TRUE(Plan(tags));
}

TEST_F(ReadingTest, OnlyAllowedToolsAreCalled) {
  request_.chat.tools = {ToolData("f", {}), ToolData("g", {})};
  request_.chat.tool_use = ToolUse::kRequired;
  EXPECT_TRUE(Allows(CallOf("f", "{}")));
  request_.chat.allowed_tools = {"g"};
  EXPECT_FALSE(Allows(CallOf("f", "{}")));
  EXPECT_TRUE(Allows(CallOf("g", "{}")));
  request_.chat.tool_use = ToolUse::kAuto;
  const auto reading = Plan({.calls = chat::CommonCalls()});
  ASSERT_TRUE(reading);
  ASSERT_EQ((*reading)->options.tools.size(), 1u) << "a call of another one is text";
  EXPECT_EQ((*reading)->options.tools[0].name, "g");
}

}  // namespace
}  // namespace exo::node
