// One question to a node, streamed: shared by `exo run`, `exo demo` and `exo bench --nodes`.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "app/client_commands.h"

namespace exo::app {

struct Answer {
  std::string thoughts;
  std::string text;
  std::string finish_reason;
  nlohmann::json timings;  // llama-server's field names
  nlohmann::json report;   // the `exo` object: stages, seed, ttft_ms, tokens_per_second, token_ids
};

// Asks and calls on_text with each piece of the answer. Errors: those of HttpClient.
Result<Answer> Ask(const HttpClient& api, const AskOptions& options,
                   const std::function<void(std::string_view)>& on_text);

// Hears the pieces of a chat's answer as they come.
struct ChatListener {
  std::function<void(std::string_view)> on_thought;  // before it answers
  std::function<void(std::string_view)> on_text;
};
// Sends the body of a chat, with "stream" in it. What has come when it fails was heard.
Result<Answer> AskChat(const HttpClient& api, const nlohmann::json& body,
                       const ChatListener& listener);

// "first token after 120 ms, 35.1 tokens/s, 40 prompt tokens (32 cached), on desk, laptop".
std::string DescribeSpeed(const Answer& answer);
// "layers 0-2 node-1 (12.0 ms), …": who computed what, one line a stage.
std::string DescribeStages(const nlohmann::json& report);

}  // namespace exo::app
