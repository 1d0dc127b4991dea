#include "service/anthropic/parse.h"

#include <map>

#include "service/fields.h"
#include "service/grammar_fields.h"
#include "service/http/limits.h"
#include "service/request_fields.h"
#include "service/sampler_fields.h"

namespace exo::service::anthropic {
namespace {

// Claude Code begins its system prompt with a line that differs in each request, so that no cached
// prefix would ever hold.
constexpr std::string_view kBillingLine = "x-anthropic-billing-header";

std::string TypeOf(const Json& block) {
  const Json* type = block.is_object() ? Find(block, "type") : nullptr;
  return type != nullptr && type->is_string() ? type->get<std::string>() : "";
}

Parsed<std::string> TextOf(const Json& block, const char* field, const std::string& param) {
  const Json* text = Find(block, field);
  if (text == nullptr || !text->is_string())
    return BadValue(param + "." + field, fmt::format("a block of type '{}' needs the string '{}'",
                                                     TypeOf(block).substr(0, 64), field));
  return text->get<std::string>();
}

std::unexpected<ApiError> NoSuchBlock(const Json& block, const std::string& param) {
  const std::string type = TypeOf(block);
  if (type.empty()) return BadValue(param, "a content block must be an object with a 'type'");
  return NotSupported(param, fmt::format("content blocks of type '{}' are not supported: this "
                                         "server takes text, thinking and tools only",
                                         type.substr(0, 64)));
}

void AddText(std::string& out, std::string_view text) {
  if (!out.empty()) out += '\n';
  out += text;
}

// A string, or blocks of text.
Parsed<std::string> ReadText(const Json& value, const std::string& param) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array() || value.size() > kMaxMessages)
    return BadValue(param, fmt::format("'{}' must be a string or a list of text blocks", param));
  std::string text;
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string here = fmt::format("{}[{}]", param, i);
    if (TypeOf(value[i]) != "text") return NoSuchBlock(value[i], here);
    AddText(text, TRY(TextOf(value[i], "text", here)));
  }
  return text;
}

// One message of the API may be several of a template's: each result of a tool is one.
class MessageReader {
 public:
  explicit MessageReader(std::vector<model::ChatMessage>& out) : out_(out) {}

  Parsed<> Read(const Json& message, const model::Data& written, const std::string& param) {
    if (!message.is_object())
      return BadValue(param, "a message must be an object with 'role' and 'content'");
    const Json* role = Find(message, "role");
    if (role == nullptr || (*role != "user" && *role != "assistant" && *role != "system")) {
      return BadValue(param + ".role", fmt::format("{} is no role; use user, assistant or system",
                                                   role == nullptr ? "null" : Shown(*role)));
    }
    const Json* content = Find(message, "content");
    if (content == nullptr)
      return BadValue(param + ".content", "a message needs 'content': a string or blocks");
    model::ChatMessage one{.role = role->get<std::string>()};
    std::string text;
    const size_t before = out_.size();
    if (content->is_string()) {
      text = content->get<std::string>();
    } else if (!content->is_array() || content->size() > kMaxMessages) {
      return BadValue(
          param + ".content",
          fmt::format("'content' must be a string or a list of at most {} blocks", kMaxMessages));
    } else {
      for (size_t i = 0; i < content->size(); ++i)
        TRY(ReadBlock((*content)[i], At(At(written, "content"), i),
                      fmt::format("{}.content[{}]", param, i), one, text));
      const bool more = !text.empty() || !one.tool_calls.empty() || !one.reasoning.empty();
      if (out_.size() > before && !more) return {};  // results of tools only
    }
    if (!text.empty() || one.tool_calls.empty()) one.content = std::move(text);
    out_.push_back(std::move(one));
    return {};
  }

 private:
  Parsed<> ReadBlock(const Json& block, const model::Data& written, const std::string& param,
                     model::ChatMessage& message, std::string& text) {
    const std::string type = TypeOf(block);
    if (type == "text") {
      AddText(text, TRY(TextOf(block, "text", param)));
    } else if (type == "thinking") {
      AddText(message.reasoning, TRY(TextOf(block, "thinking", param)));
    } else if (type == "tool_use") {
      model::ToolCall call{.id = TRY(TextOf(block, "id", param)),
                           .name = TRY(TextOf(block, "name", param))};
      const Json* input = Find(block, "input");
      if (input != nullptr && !input->is_object())
        return BadValue(param + ".input", "'input' must be an object");
      if (input != nullptr) call.arguments = std::get<model::DataMap>(At(written, "input").value);
      names_[call.id] = call.name;
      message.tool_calls.push_back(std::move(call));
    } else if (type == "tool_result") {
      model::ChatMessage result{.role = "tool", .content = ""};
      result.tool_call_id = TRY(TextOf(block, "tool_use_id", param));
      result.name = names_[result.tool_call_id];
      if (const Json* content = Find(block, "content"); content != nullptr)
        result.content = TRY(ReadText(*content, param + ".content"));
      if (TRY(ReadBool(block, "is_error")).value_or(false))
        result.content = "Error: " + *result.content;
      out_.push_back(std::move(result));
    } else if (type != "redacted_thinking") {
      return NoSuchBlock(block, param);
    }
    return {};
  }

  std::vector<model::ChatMessage>& out_;
  std::map<std::string, std::string> names_;  // of tools, by the id of their call
};

Parsed<> ReadSystem(const Json& body, std::vector<model::ChatMessage>& out) {
  const Json* value = Find(body, "system");
  if (value == nullptr) return {};
  Json kept = *value;
  if (kept.is_array()) {
    std::erase_if(kept.get_ref<Json::array_t&>(), [](const Json& block) {
      const Json* text = block.is_object() ? Find(block, "text") : nullptr;
      return text != nullptr && text->is_string() &&
             text->get_ref<const std::string&>().starts_with(kBillingLine);
    });
  }
  std::string text = TRY(ReadText(kept, "system"));
  if (!text.empty()) out.push_back({.role = "system", .content = std::move(text)});
  return {};
}

Parsed<> ReadMessages(const Json& body, std::string_view text, node::GenerateRequest& request) {
  const Json* list = Find(body, "messages");
  if (list == nullptr) {
    return std::unexpected(
        ApiError{400, "'messages' is missing", "messages", "missing_required_parameter"});
  }
  if (!list->is_array() || list->empty() || list->size() > kMaxMessages) {
    return BadValue("messages",
                    fmt::format("'messages' must be a list of 1 to {} messages", kMaxMessages));
  }
  const model::Data written = AsWritten(text, "messages");
  MessageReader reader(request.messages);
  for (size_t i = 0; i < list->size(); ++i)
    TRY(reader.Read((*list)[i], At(written, i), fmt::format("messages[{}]", i)));
  const model::ChatMessage& last = request.messages.back();
  request.chat.continue_last = last.role == "assistant" && last.tool_calls.empty();
  return {};
}

// Tools that the service itself would run (web_search_…, bash_…) are left out.
Parsed<> ReadTools(const Json& body, std::string_view text, grammar::Cache& grammars,
                   node::ChatOptions& chat) {
  if (const Json* tools = Find(body, "tools"); tools != nullptr) {
    if (!tools->is_array() || tools->size() > kMaxMessages)
      return BadValue("tools", "'tools' must be a list of tools");
    const model::Data written = AsWritten(text, "tools");
    for (size_t i = 0; i < tools->size(); ++i) {
      const Json& tool = (*tools)[i];
      const std::string type = TypeOf(tool);
      if (!tool.is_object()) return BadValue("tools", "a tool must be an object");
      if (!type.empty() && type != "custom") continue;
      TRY(AddTool(tool,
                  {.schema = "input_schema",
                   .written = At(written, i),
                   .param = fmt::format("tools[{}]", i)},
                  grammars, chat));
    }
  }
  const Json* choice = Find(body, "tool_choice");
  if (choice == nullptr) return {};
  const std::string type = TypeOf(*choice);
  if (type == "tool") {
    chat.tool_use = node::ToolUse::kNamed;
    chat.tool_name = TRY(ReadRequiredString(*choice, "name", kMaxStopBytes));
  } else if (type == "any") {
    chat.tool_use = node::ToolUse::kRequired;
  } else if (type == "none") {
    chat.tool_use = node::ToolUse::kNone;
  } else if (type != "auto") {
    return BadValue("tool_choice", fmt::format("'tool_choice' is {}, but its type must be auto, "
                                               "any, tool or none",
                                               Shown(*choice)));
  }
  chat.parallel_tool_calls = !TRY(ReadBool(*choice, "disable_parallel_tool_use")).value_or(false);
  return {};
}

Parsed<> ReadThinking(const Json& body, node::ChatOptions& chat) {
  const Json* thinking = Find(body, "thinking");
  if (thinking == nullptr) return {};
  const std::string type = TypeOf(*thinking);
  if (type != "enabled" && type != "adaptive" && type != "disabled") {
    return BadValue("thinking", fmt::format("'thinking' is {}, but its type must be enabled, "
                                            "adaptive or disabled",
                                            Shown(*thinking)));
  }
  SetVariable(chat, "enable_thinking", type != "disabled");
  return {};
}

// "output_format" is what "output_config.format" was called in a beta.
Parsed<> ReadOutput(const Json& body, std::string_view text, grammar::Cache& grammars,
                    node::GenerateRequest& request) {
  TRY(ReadFormat(Find(body, "output_format"), text, {"output_format"}, "output_format", grammars,
                 request));
  const Json* config = Find(body, "output_config");
  if (config == nullptr) return {};
  if (!config->is_object()) return BadValue("output_config", "'output_config' must be an object");
  TRY(ReadFormat(Find(*config, "format"), text, {"output_config", "format"}, "output_config.format",
                 grammars, request));
  if (const Json* effort = Find(*config, "effort"); effort != nullptr)
    SetVariable(request.chat, "reasoning_effort", *effort);
  return {};
}

}  // namespace

Parsed<MessageCall> ParseMessages(std::string_view text, Purpose purpose,
                                  grammar::Cache& grammars) {
  const Json body = TRY(ParseBody(text));
  MessageCall call;
  node::GenerateRequest& request = call.request;
  request.model = TRY(ReadModelName(body, "model"));
  const auto limit = TRY(ReadTokenLimit(body, "max_tokens"));
  if (!limit && purpose == Purpose::kAnswer) {
    return std::unexpected(
        ApiError{400, "'max_tokens' is missing", "max_tokens", "missing_required_parameter"});
  }
  if (limit) request.max_tokens = limit->tokens;
  for (const char* name : {"mcp_servers", "container"}) {
    if (const Json* value = Find(body, name); value != nullptr && !value->empty())
      return NotSupported(name);
  }
  TRY(ReadSystem(body, request.messages));
  TRY(ReadMessages(body, text, request));
  TRY(ReadTools(body, text, grammars, request.chat));
  TRY(ReadThinking(body, request.chat));
  TRY(ReadOutput(body, text, grammars, request));
  call.stream = TRY(ReadBool(body, "stream")).value_or(false);
  TRY(ReadSampler(body, {}, request));
  TRY(ReadSeed(body, request));
  TRY(ReadStops(body, "stop_sequences", request.stop));
  if (const Json* metadata = Find(body, "metadata"); metadata != nullptr && metadata->is_object()) {
    const Json* user = Find(*metadata, "user_id");
    if (user != nullptr && user->is_string()) call.user = user->get<std::string>();
  }
  return call;
}

}  // namespace exo::service::anthropic
