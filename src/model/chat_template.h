// Renders a model's chat template (Jinja, `tokenizer.chat_template`) with our own small
// interpreter. Templates come out of files: they run with budgets and see nothing but the values
// given here.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/data.h"
#include "model/tokenizer.h"

namespace exo::model {

// What an assistant asked for.
struct ToolCall {
  std::string id;
  std::string name;
  DataMap arguments;
};

struct ContentPart {
  std::string text;  // the only kind that there is yet
};

// Templates see it as Hugging Face's do: `content` is a string, a list of parts or none;
// `tool_calls` a list of {id, type, function: {name, arguments}} with arguments as a mapping;
// `reasoning_content` (`thinking` to some), `tool_call_id` and `name` are there only when set.
struct ChatMessage {
  std::string role;                    // "system", "user", "assistant", "tool", …
  std::optional<std::string> content;  // unset with `parts`, or in a message that only calls tools
  std::vector<ContentPart> parts;
  std::vector<ToolCall> tool_calls;
  std::string tool_call_id;  // which call a tool's result answers
  std::string name;          // of the tool that answers, or of a participant
  std::string reasoning;     // what an assistant thought before its answer
};

struct ChatTemplateOptions {
  bool add_generation_prompt = true;
  std::string bos_token;
  std::string eos_token;
  // Descriptions of tools as clients send them ({type, function}); empty: `tools` is undefined.
  DataList tools;
  // Further names that the template may read, as clients send them (enable_thinking, …). Those
  // above and `messages` keep their own values.
  DataMap variables;
  // Local time for strftime_now, as seconds since 1970 (sys::LocalSeconds); without it a template
  // has no clock.
  std::optional<int64_t> now;
  // Arguments of tool calls are JSON texts, which some templates write as they are.
  bool arguments_as_text = false;
};

// Budgets of one rendering: a hostile template stops here.
inline constexpr uint64_t kMaxTemplateSteps = 1'000'000;
inline constexpr uint64_t kMaxTemplateOutput = 4u << 20;
inline constexpr uint32_t kMaxTemplateDepth = 64;
inline constexpr uint64_t kMaxTemplateRange = 100'000;

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // Errors: kInvalid with line and what was wrong; kUnsupported for a construct we do not have.
  static Result<std::shared_ptr<const ChatTemplate>> Parse(std::string_view source);

  // Text in pieces: what the template wrote is trusted, what came out of message contents is not
  // (the marking follows the characters through filters and concatenation).
  // Errors: kInvalid (raise_exception, undefined operation), kOverloaded (budget, named).
  virtual Result<std::vector<TextPiece>> Render(std::span<const ChatMessage> messages,
                                                const ChatTemplateOptions& options) const = 0;
};

// Whether the messages say something and the template wrote none of it: an empty one, or one that
// is only a name. What comes out of contents is marked as untrusted, whatever filters it went
// through.
bool LeavesOutMessages(std::span<const ChatMessage> messages, std::span<const TextPiece> pieces);

}  // namespace exo::model
