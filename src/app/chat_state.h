// A chat on the command line as data: what was said, how the model is asked, and the files in which
// chats are kept. No terminal and no network.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace exo::app {

struct ChatSettings {
  std::string system;
  std::optional<double> temperature, top_p, min_p;  // unset: the model's or node's default
  std::optional<int64_t> top_k, seed, max_tokens;
  std::optional<bool> think;  // unset: as the model does by itself
  bool verbose = false;
};

struct Chat {
  std::string model;
  ChatSettings settings;
  nlohmann::json messages = nlohmann::json::array();  // {role, content}, oldest first
};

// The body of a request for the next answer.
nlohmann::json ChatRequest(const Chat& chat);

// "/set NAME VALUE": what was set, in words. Without a value: what it is. Errors: kInvalid.
Result<std::string> SetInChat(ChatSettings& settings, const std::string& name,
                              const std::string& value);
// All that can be set, a line each.
std::string DescribeSettings(const ChatSettings& settings);

// Takes the last question back, with its answers, and gives it; nothing: there is none.
std::optional<std::string> TakeLastQuestion(Chat& chat);

// A text file in front of a question, as the model reads it. Errors: kInvalid (binary),
// kOverloaded (over the limit), those of reading.
inline constexpr size_t kMaxAttachment = 1u << 20;
Result<std::string> Attachment(const std::string& path);

// `folder`/NAME.json, mode 0600. Errors: kInvalid (a name that is none of a file), kIo.
Result<void> SaveChat(const Chat& chat, const std::string& folder, const std::string& name);
// Errors: kNotFound naming those that there are, kCorrupt.
Result<Chat> LoadChat(const std::string& folder, const std::string& name);

// A line of the user that begins with a slash: "/set temperature 0.5" is {"set", "temperature
// 0.5"}.
struct ChatCommand {
  std::string name, rest;
};
std::optional<ChatCommand> ParseChatCommand(const std::string& line);

}  // namespace exo::app
