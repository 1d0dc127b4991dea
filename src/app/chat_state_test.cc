#include "app/chat_state.h"

#include <gtest/gtest.h>

#include <fstream>

#include "sys/temporary_folder.h"

namespace exo::app {
namespace {

using nlohmann::json;

TEST(ChatStateTest, ARequestHasTheSystemTextFirstAndOnlyWhatIsSet) {
  Chat chat{.model = "m", .messages = {{{"role", "user"}, {"content", "hi"}}}};
  EXPECT_EQ(ChatRequest(chat), (json{{"model", "m"},
                                     {"stream", true},
                                     {"messages", {{{"role", "user"}, {"content", "hi"}}}}}));
  ASSERT_TRUE(SetInChat(chat.settings, "system", "be brief"));
  ASSERT_TRUE(SetInChat(chat.settings, "think", "off"));
  ASSERT_TRUE(SetInChat(chat.settings, "temperature", "0.5"));
  ASSERT_TRUE(SetInChat(chat.settings, "seed", "7"));
  const json body = ChatRequest(chat);
  EXPECT_EQ(body["messages"][0], (json{{"role", "system"}, {"content", "be brief"}}));
  EXPECT_EQ(body["messages"].size(), 2u);
  EXPECT_EQ(body["enable_thinking"], false);
  EXPECT_EQ(body["temperature"], 0.5);
  EXPECT_EQ(body["seed"], 7);
  ASSERT_TRUE(SetInChat(chat.settings, "seed", "default"));
  EXPECT_FALSE(ChatRequest(chat).contains("seed"));
}

TEST(ChatStateTest, WhatCannotBeSetIsNamedWithItsRange) {
  ChatSettings settings;
  EXPECT_EQ(SetInChat(settings, "temperature", "3").error().message,
            "temperature is a number from 0 to 2, or default; not '3'");
  EXPECT_EQ(SetInChat(settings, "temperature", "nan").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(SetInChat(settings, "top_k", "1.5").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(SetInChat(settings, "verbose", "yes").error().message,
            "verbose is on, off or default; not 'yes'");
  EXPECT_NE(SetInChat(settings, "temprature", "1").error().message.find("did you mean temperature"),
            std::string::npos);
  EXPECT_EQ(*SetInChat(settings, "verbose", ""), "verbose: off");
}

TEST(ChatStateTest, TheLastQuestionIsTakenBackWithItsAnswers) {
  Chat chat{.messages = {{{"role", "user"}, {"content", "a"}},
                         {{"role", "assistant"}, {"content", "b"}},
                         {{"role", "user"}, {"content", "c"}},
                         {{"role", "assistant"}, {"content", "d"}}}};
  EXPECT_EQ(TakeLastQuestion(chat), "c");
  EXPECT_EQ(chat.messages.size(), 2u);
  EXPECT_EQ(TakeLastQuestion(chat), "a");
  EXPECT_EQ(TakeLastQuestion(chat), std::nullopt);
}

TEST(ChatStateTest, SavedChatsComeBackAndOthersAreRefused) {
  const auto folder = sys::TemporaryFolder::Create("exo-chat-test").value();
  Chat chat{.model = "m", .messages = {{{"role", "user"}, {"content", "hi"}}}};
  ASSERT_TRUE(SetInChat(chat.settings, "top_p", "0.25"));
  ASSERT_TRUE(SetInChat(chat.settings, "think", "on"));
  ASSERT_TRUE(SaveChat(chat, folder->path() + "/chats", "one"));
  const auto loaded = LoadChat(folder->path() + "/chats", "one");
  ASSERT_TRUE(loaded);
  EXPECT_EQ(ChatRequest(*loaded), ChatRequest(chat));
  const auto missing = LoadChat(folder->path() + "/chats", "two");
  EXPECT_EQ(missing.error().message, "there is no chat 'two'; saved ones: one");
  for (const char* name : {"", "../x", "a/b", ".hidden", "a\x1b"})
    EXPECT_EQ(SaveChat(chat, folder->path(), name).error().code, ErrorCode::kInvalid) << name;
  for (const char* text : {"", "[]", "{}", R"({"model":"m","messages":[{"role":"user"}]})"}) {
    std::ofstream(folder->path() + "/bad.json") << text;
    EXPECT_EQ(LoadChat(folder->path(), "bad").error().code, ErrorCode::kCorrupt) << text;
  }
}

TEST(ChatStateTest, OnlyTextsAreAttached) {
  const auto folder = sys::TemporaryFolder::Create("exo-chat-test").value();
  const std::string path = folder->path() + "/a.txt";
  std::ofstream(path) << "apple";
  EXPECT_EQ(*Attachment(path), "File a.txt:\n```\napple\n```\n");
  std::ofstream(path) << "\xff\xfe";
  EXPECT_EQ(Attachment(path).error().code, ErrorCode::kInvalid);
  std::ofstream(path) << std::string(kMaxAttachment + 1, 'a');
  EXPECT_FALSE(Attachment(path));
  EXPECT_FALSE(Attachment(folder->path()));
  EXPECT_EQ(Attachment(path + "x").error().code, ErrorCode::kNotFound);
}

TEST(ChatStateTest, CommandsBeginWithASlash) {
  EXPECT_FALSE(ParseChatCommand("what is /set?"));
  const auto command = ParseChatCommand("  /set  temperature 1 ");
  ASSERT_TRUE(command);
  EXPECT_EQ(command->name, "set");
  EXPECT_EQ(command->rest, "temperature 1");
  EXPECT_EQ(ParseChatCommand("/bye")->rest, "");
}

}  // namespace
}  // namespace exo::app
