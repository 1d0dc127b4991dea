#include "service/chat_messages.h"

#include <algorithm>

#include "service/chat_tools.h"
#include "service/fields.h"
#include "service/http/limits.h"
#include "service/request_fields.h"

namespace exo::service {
namespace {

Parsed<std::string> ReadPart(const Json& part, const std::string& param) {
  if (!part.is_object() || !part.contains("type") || !part["type"].is_string()) {
    return BadValue(param, "a content part must be an object with a 'type'");
  }
  const auto& type = part["type"].get_ref<const std::string&>();
  if (type != "text") {
    return NotSupported(
        param, fmt::format("content parts of type '{}' are not supported yet: this server takes "
                           "text only",
                           type.substr(0, 64)));
  }
  const Json* text = Find(part, "text");
  if (text == nullptr || !text->is_string())
    return BadValue(param + ".text", "a text part needs a 'text' string");
  return text->get<std::string>();
}

Parsed<std::string> ReadContent(const Json& message, const std::string& param) {
  const Json* content = Find(message, "content");
  if (content == nullptr)
    return BadValue(param, "a message needs 'content': a string or a list of text parts");
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array())
    return BadValue(param, "'content' must be a string or a list of text parts");
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    if (i > 0) text += '\n';
    text += TRY(ReadPart((*content)[i], fmt::format("{}[{}]", param, i)));
  }
  return text;
}

Parsed<> ReadCalls(const Json& list, const model::Data& written, const std::string& param,
                   model::ChatMessage& out) {
  if (!list.is_array()) return BadValue(param, "'tool_calls' must be a list");
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& call = list[i];
    const Json* function = call.is_object() ? Find(call, "function") : nullptr;
    if (function == nullptr || !function->is_object())
      return BadValue(param, "a tool call must be an object with a 'function'");
    out.tool_calls.push_back(
        TRY(ReadCall(StringField(call, "id"), *function, At(At(written, i), "function"), param)));
  }
  return {};
}

Parsed<model::ChatMessage> ReadMessage(const Json& message, const model::Data& written,
                                       const std::string& param) {
  if (!message.is_object())
    return BadValue(param, "a message must be an object with 'role' and 'content'");
  const Json* role = Find(message, "role");
  if (role == nullptr || !role->is_string())
    return BadValue(param + ".role", "a message needs a 'role' string");
  model::ChatMessage out{.role = role->get<std::string>()};
  if (out.role == "developer") out.role = "system";
  if (out.role == "function") out.role = "tool";
  if (out.role != "system" && out.role != "user" && out.role != "assistant" && out.role != "tool") {
    return BadValue(param + ".role",
                    fmt::format("'{}' is no role; use system, developer, user, assistant or tool",
                                out.role.substr(0, 64)));
  }
  for (const char* field : {"function_call", "audio"}) {
    const Json* value = Find(message, field);
    if (value != nullptr && !value->empty()) return NotSupported(param + "." + field);
  }
  if (const Json* calls = Find(message, "tool_calls"); calls != nullptr)
    TRY(ReadCalls(*calls, At(written, "tool_calls"), param + ".tool_calls", out));
  out.tool_call_id = StringField(message, "tool_call_id");
  out.name = StringField(message, "name");
  out.reasoning = StringField(message, "reasoning_content");
  if (out.reasoning.empty()) out.reasoning = StringField(message, "reasoning");
  if (Find(message, "content") != nullptr || out.tool_calls.empty())
    out.content = TRY(ReadContent(message, param + ".content"));
  return out;
}

}  // namespace

Parsed<std::vector<model::ChatMessage>> ReadMessages(const Json& body, std::string_view text) {
  const Json* list = Find(body, "messages");
  if (list == nullptr) {
    return std::unexpected(
        ApiError{400, "'messages' is missing", "messages", "missing_required_parameter"});
  }
  if (!list->is_array() || list->empty()) {
    return BadValue("messages", "'messages' must be a list with at least one message");
  }
  if (list->size() > kMaxMessages) {
    return BadValue("messages", fmt::format("'messages' has {} entries, but at most {} are allowed",
                                            list->size(), kMaxMessages));
  }
  const bool calls = std::ranges::any_of(*list, [](const Json& message) {
    return message.is_object() && message.contains("tool_calls");
  });
  const model::Data written = calls ? AsWritten(text, "messages") : model::Data();
  std::vector<model::ChatMessage> messages;
  for (size_t i = 0; i < list->size(); ++i) {
    messages.push_back(
        TRY(ReadMessage((*list)[i], At(written, i), fmt::format("messages[{}]", i))));
  }
  return messages;
}

}  // namespace exo::service
