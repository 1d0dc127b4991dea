#include "service/chat_tools.h"

#include "service/fields.h"
#include "service/http/limits.h"
#include "service/request_fields.h"

namespace exo::service {
namespace {

const Json* FunctionOf(const Json& tool) {
  const Json* nested = Find(tool, "function");
  return nested != nullptr && nested->is_object() ? nested : &tool;
}

bool IsFunction(const Json& tool) {
  const Json* type = Find(tool, "type");
  return type == nullptr || *type == "function";
}

std::unexpected<ApiError> BadChoice(const Json& choice) {
  return BadValue("tool_choice",
                  fmt::format("'tool_choice' is {}, but must be none, auto, required "
                              "or {{\"type\": \"function\", …}}",
                              Shown(choice)));
}

}  // namespace

Parsed<> ReadTools(const Json& body, std::string_view text, node::ChatOptions& chat,
                   const char* field) {
  const Json* tools = Find(body, field);
  if (tools == nullptr) return {};
  if (!tools->is_array() || tools->size() > kMaxMessages)
    return BadValue(field, fmt::format("'{}' must be a list of tools", field));
  const model::Data written = AsWritten(text, field);
  for (size_t i = 0; i < tools->size(); ++i) {
    const Json& tool = (*tools)[i];
    if (!tool.is_object()) return BadValue(field, "a tool must be an object");
    if (!IsFunction(tool)) continue;
    const Json& function = *FunctionOf(tool);
    const bool flat = &function == &tool;
    chat.tools.push_back(
        TRY(ReadTool(function, "parameters", flat ? At(written, i) : At(At(written, i), "function"),
                     fmt::format("{}[{}]{}", field, i, flat ? "" : ".function"))));
  }
  return {};
}

Parsed<> ReadToolChoice(const Json& body, node::ChatOptions& chat) {
  chat.parallel_tool_calls = TRY(ReadBool(body, "parallel_tool_calls")).value_or(true);
  const Json* choice = Find(body, "tool_choice");
  if (choice == nullptr || *choice == "auto") return {};
  if (*choice == "none") {
    chat.tool_use = node::ToolUse::kNone;
  } else if (*choice == "required") {
    chat.tool_use = node::ToolUse::kRequired;
  } else if (choice->is_object() && IsFunction(*choice)) {
    chat.tool_use = node::ToolUse::kNamed;
    chat.tool_name = TRY(ReadRequiredString(*FunctionOf(*choice), "name", kMaxStopBytes));
  } else if (choice->is_object() && choice->value("type", "") == "allowed_tools") {
    return NotSupported("tool_choice",
                        "'tool_choice' of type allowed_tools is not supported: send "
                        "the allowed tools only");
  } else {
    return BadChoice(*choice);
  }
  return {};
}

Parsed<> SetEffort(const Json* effort, const char* param, node::ChatOptions& chat) {
  if (effort == nullptr) return {};
  if (!effort->is_string() || effort->get_ref<const std::string&>().size() > 16)
    return BadValue(param, fmt::format("'{}' is {}, but must be none, minimal, low, medium, high "
                                       "or xhigh",
                                       param, Shown(*effort)));
  SetVariable(chat, "enable_thinking", *effort != "none");
  if (*effort != "none") SetVariable(chat, "reasoning_effort", *effort);
  return {};
}

Parsed<model::ToolCall> ReadCall(std::string id, const Json& function, const model::Data& written,
                                 const std::string& param) {
  model::ToolCall call{.id = std::move(id),
                       .name = TRY(ReadRequiredString(function, "name", kMaxStopBytes))};
  const Json* arguments = Find(function, "arguments");
  if (arguments == nullptr) return call;
  // A text, or an object from those who do not know better; an empty text is no arguments.
  model::Data data = At(written, "arguments");
  if (arguments->is_string()) {
    const auto& text = arguments->get_ref<const std::string&>();
    if (text.empty()) return call;
    if (!ParseJson(text))
      return BadValue(param, fmt::format("'{}' is no JSON: {}", param, Shown(*arguments)));
    data = AsWritten(text);
  }
  auto* map = std::get_if<model::DataMap>(&data.value);
  if (map == nullptr)
    return BadValue(param, fmt::format("'{}' must be the text of a JSON object", param));
  call.arguments = std::move(*map);
  return call;
}

}  // namespace exo::service
