#include "service/chat_tools.h"

#include <set>
#include <string>

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

// What the model gets as the name of a function that a choice names.
Parsed<std::string> ChosenName(const Json& choice) {
  const Json& function = *FunctionOf(choice);
  return FullToolName(StringField(function, "namespace"),
                      TRY(ReadRequiredString(function, "name", kMaxStopBytes)));
}

// The prompt has all tools, but only these may be called: {"mode", "tools"}, in chats one level
// deeper. Tools that are not functions are skipped, as where they are described.
Parsed<> ReadAllowedTools(const Json& choice, node::ChatOptions& chat) {
  const Json* nested = Find(choice, "allowed_tools");
  const Json& allowed = nested != nullptr && nested->is_object() ? *nested : choice;
  const std::string mode = StringField(allowed, "mode");
  const Json* tools = Find(allowed, "tools");
  if ((mode != "auto" && mode != "required") || tools == nullptr || !tools->is_array() ||
      tools->size() > kMaxMessages) {
    return BadValue(
        "tool_choice",
        fmt::format("'tool_choice' of type allowed_tools is {}, but needs a 'mode', auto "
                    "or required, and a list of 'tools'",
                    Shown(choice)));
  }
  if (mode == "required") chat.tool_use = node::ToolUse::kRequired;
  std::vector<std::string>& names = chat.allowed_tools.emplace();
  for (const Json& tool : *tools) {
    if (!tool.is_object())
      return BadValue("tool_choice", fmt::format("an entry of the allowed tools is {}, but must be "
                                                 "an object",
                                                 Shown(tool)));
    if (IsFunction(tool)) names.push_back(TRY(ChosenName(tool)));
  }
  return {};
}

// The functions of a list, those of its namespaces too where `namespaced` is given.
class ToolReader {
 public:
  ToolReader(node::ChatOptions& chat, grammar::Cache& grammars, NamespacedTools* namespaced)
      : chat_(chat), grammars_(grammars), namespaced_(namespaced) {}

  // `param`: where the list lies; `name_space`: that has it, empty: none has.
  Parsed<> ReadList(const Json& tools, const model::Data& written, const std::string& param,
                    const std::string& name_space) {
    if (!tools.is_array() || tools.size() > kMaxMessages)
      return BadValue(param, fmt::format("'{}' must be a list of tools", param));
    for (size_t i = 0; i < tools.size(); ++i) {
      if (!tools[i].is_object()) return BadValue(param, "a tool must be an object");
      TRY(Read(tools[i], At(written, i), fmt::format("{}[{}]", param, i), name_space));
    }
    return {};
  }

 private:
  Parsed<> Read(const Json& tool, const model::Data& written, const std::string& param,
                const std::string& name_space) {
    if (IsFunction(tool)) return ReadFunction(tool, written, param, name_space);
    const Json* within = Find(tool, "tools");
    if (namespaced_ == nullptr || !name_space.empty() || tool["type"] != "namespace" ||
        within == nullptr) {
      return {};
    }
    const std::string name = TRY(ReadRequiredString(tool, "name", kMaxStopBytes));
    return ReadList(*within, At(written, "tools"), param + ".tools", name);
  }
  Parsed<> ReadFunction(const Json& tool, const model::Data& written, const std::string& param,
                        const std::string& name_space) {
    const Json& function = *FunctionOf(tool);
    const bool flat = &function == &tool;
    TRY(AddTool(function,
                {.written = flat ? written : At(written, "function"),
                 .param = flat ? param : param + ".function",
                 .name_space = name_space},
                grammars_, chat_));
    if (namespaced_ == nullptr) return {};
    const auto& name = function["name"].get_ref<const std::string&>();
    const std::string full = FullToolName(name_space, name);
    if (!names_.insert(full).second) {
      return BadValue(param, fmt::format("'{}' is what the model would get as the name of two "
                                         "tools, of '{}' and of another; rename one",
                                         full, param));
    }
    if (!name_space.empty()) namespaced_->emplace(full, NamespacedTool{name_space, name});
    return {};
  }

  node::ChatOptions& chat_;
  grammar::Cache& grammars_;
  NamespacedTools* const namespaced_;
  std::set<std::string> names_;  // that the model gets, where there may be namespaces
};

}  // namespace

Parsed<> ReadTools(const Json& body, std::string_view text, grammar::Cache& grammars,
                   node::ChatOptions& chat, ToolFields fields) {
  const Json* tools = Find(body, fields.field);
  if (tools == nullptr) return {};
  return ToolReader(chat, grammars, fields.namespaced)
      .ReadList(*tools, AsWritten(text, fields.field), fields.field, "");
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
    chat.tool_name = TRY(ChosenName(*choice));
  } else if (choice->is_object() && *Find(*choice, "type") == "allowed_tools") {
    return ReadAllowedTools(*choice, chat);
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
