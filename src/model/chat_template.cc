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

// All that came with the request is untrusted, keys too.
jinja::Value Untrusted(std::string_view text) {
  return jinja::Value::String(text, false);
}

void Set(jinja::Dict& dict, std::string_view key, jinja::Value value) {
  dict.entries.emplace_back(jinja::Value::String(key), std::move(value));
}

jinja::Value DataValue(const Data& data);

jinja::Value ListValue(const DataList& data) {
  jinja::List list;
  for (const Data& item : data) list.items.push_back(DataValue(item));
  return list;
}

jinja::Value MapValue(const DataMap& data) {
  jinja::Dict dict;
  for (const auto& [key, value] : data) dict.entries.emplace_back(Untrusted(key), DataValue(value));
  return dict;
}

jinja::Value DataValue(const Data& data) {
  struct Visitor {
    jinja::Value operator()(std::monostate) const { return jinja::None{}; }
    jinja::Value operator()(bool value) const { return value; }
    jinja::Value operator()(int64_t value) const { return value; }
    jinja::Value operator()(double value) const { return value; }
    jinja::Value operator()(const std::string& value) const { return Untrusted(value); }
    jinja::Value operator()(const DataList& value) const { return ListValue(value); }
    jinja::Value operator()(const DataMap& value) const { return MapValue(value); }
  };
  return std::visit(Visitor{}, data.value);
}

jinja::Value ContentValue(const ChatMessage& message) {
  if (message.content) return Untrusted(*message.content);
  if (message.parts.empty()) return jinja::None{};
  jinja::List list;
  for (const ContentPart& part : message.parts) {
    jinja::Dict dict;
    Set(dict, "type", jinja::Value::String("text"));
    Set(dict, "text", Untrusted(part.text));
    list.items.emplace_back(std::move(dict));
  }
  return list;
}

Result<jinja::Value> ArgumentsValue(const ToolCall& call, bool as_text) {
  jinja::Value map = MapValue(call.arguments);
  if (!as_text) return map;
  return Untrusted(TRY(jinja::ToJson(map, {})).bytes);
}

Result<jinja::Value> CallValue(const ToolCall& call, bool arguments_as_text) {
  jinja::Dict function;
  Set(function, "name", Untrusted(call.name));
  Set(function, "arguments", TRY(ArgumentsValue(call, arguments_as_text)));
  jinja::Dict dict;
  Set(dict, "id", Untrusted(call.id));
  Set(dict, "type", jinja::Value::String("function"));
  Set(dict, "function", std::move(function));
  return dict;
}

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

bool HasText(const ChatMessage& message) {
  return (message.content && !IsBlank(*message.content)) ||
         std::ranges::any_of(message.parts,
                             [](const ContentPart& part) { return !IsBlank(part.text); });
}

Result<jinja::Value> MessageValue(const ChatMessage& message, bool arguments_as_text) {
  const bool known = std::ranges::find(kRoles, message.role) != kRoles.end();
  jinja::Dict dict;
  Set(dict, "role", jinja::Value::String(message.role, known));
  Set(dict, "content", ContentValue(message));
  if (!message.tool_calls.empty()) {
    jinja::List calls;
    for (const ToolCall& call : message.tool_calls)
      calls.items.push_back(TRY(CallValue(call, arguments_as_text)));
    Set(dict, "tool_calls", std::move(calls));
  }
  if (!message.tool_call_id.empty()) Set(dict, "tool_call_id", Untrusted(message.tool_call_id));
  if (!message.name.empty()) Set(dict, "name", Untrusted(message.name));
  if (!message.reasoning.empty()) {
    Set(dict, "reasoning_content", Untrusted(message.reasoning));
    // gpt-oss' template refuses it beside both a content and calls.
    if (message.tool_calls.empty() || !HasText(message))
      Set(dict, "thinking", Untrusted(message.reasoning));
  }
  return dict;
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
    for (const ChatMessage& message : messages)
      list.items.push_back(TRY(MessageValue(message, options.arguments_as_text)));
    jinja::Variables variables;
    variables.emplace("messages", jinja::Value(std::move(list)));
    variables.emplace("add_generation_prompt", options.add_generation_prompt);
    if (!options.tools.empty()) variables.emplace("tools", ListValue(options.tools));
    variables.emplace("bos_token", jinja::Value::String(options.bos_token));
    variables.emplace("eos_token", jinja::Value::String(options.eos_token));
    for (const DataMember& one : options.variables)
      variables.emplace(one.key, DataValue(one.value));
    jinja::Interpreter interpreter(std::move(variables), options.now);
    return Pieces(TRY(interpreter.Run(body_)));
  }

 private:
  jinja::Body body_;
};

}  // namespace

bool LeavesOutMessages(std::span<const ChatMessage> messages, std::span<const TextPiece> pieces) {
  return std::ranges::any_of(messages, &HasText) &&
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
