#include "model/chat_template.h"

#include <algorithm>
#include <array>

#include "model/jinja/interpreter.h"
#include "model/jinja/parser.h"

namespace exo::model {
namespace {

constexpr size_t kMaxTemplateSource = 1u << 20;

// Templates write roles into control tokens ('<|' + role + '|>'): only names that everybody uses
// are trusted.
constexpr std::array<std::string_view, 8> kRoles = {
    "system", "user", "assistant", "tool", "developer", "function", "model", "ipython"};

jinja::Value MessageValue(const ChatMessage& message) {
  const bool known = std::ranges::find(kRoles, message.role) != kRoles.end();
  jinja::Dict dict;
  dict.entries.emplace_back(jinja::Value::String("role"),
                            jinja::Value::String(message.role, known));
  dict.entries.emplace_back(jinja::Value::String("content"),
                            jinja::Value::String(message.content, false));
  return dict;
}

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// Runs of equal marks.
std::vector<TextPiece> Pieces(const jinja::Text& text) {
  std::vector<TextPiece> pieces;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end =
        std::min(text.marks.find_first_not_of(text.marks[begin], begin), text.size());
    pieces.push_back({text.bytes.substr(begin, end - begin), text.marks[begin] != '\0'});
    begin = end;
  }
  return pieces;
}

class JinjaTemplate final : public ChatTemplate {
 public:
  explicit JinjaTemplate(jinja::Body body) : body_(std::move(body)) {}

  Result<std::vector<TextPiece>> Render(std::span<const ChatMessage> messages,
                                        const ChatTemplateOptions& options) const override {
    jinja::List list;
    for (const ChatMessage& message : messages) list.items.push_back(MessageValue(message));
    jinja::Variables variables;
    variables.emplace("messages", jinja::Value(std::move(list)));
    variables.emplace("add_generation_prompt", options.add_generation_prompt);
    variables.emplace("bos_token", jinja::Value::String(options.bos_token));
    variables.emplace("eos_token", jinja::Value::String(options.eos_token));
    jinja::Interpreter interpreter(std::move(variables), options.now);
    return Pieces(TRY(interpreter.Run(body_)));
  }

 private:
  jinja::Body body_;
};

}  // namespace

bool LeavesOutMessages(std::span<const ChatMessage> messages, std::span<const TextPiece> pieces) {
  return std::ranges::any_of(messages,
                             [](const ChatMessage& one) { return !IsBlank(one.content); }) &&
         std::ranges::all_of(pieces,
                             [](const TextPiece& one) { return one.trusted || IsBlank(one.text); });
}

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::Parse(std::string_view source) {
  if (source.size() > kMaxTemplateSource) {
    return Fail(ErrorCode::kInvalid, "a chat template of {} bytes (limit {})", source.size(),
                kMaxTemplateSource);
  }
  return std::make_shared<const JinjaTemplate>(TRY(jinja::Parse(source)));
}

}  // namespace exo::model
