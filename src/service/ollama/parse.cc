#include "service/ollama/parse.h"

#include <algorithm>

#include "service/fields.h"
#include "service/grammar_fields.h"
#include "service/http/limits.h"
#include "service/keep_alive.h"
#include "service/presets.h"
#include "service/request_fields.h"
#include "service/sampler_fields.h"

namespace exo::service::ollama {
namespace {

// Ollama's own, which its users know.
const Json kDefaults = {{"temperature", 0.8}, {"top_k", 40}, {"top_p", 0.9}};

constexpr const char* kForImages = "'images' are not supported: this server takes text only";

std::optional<std::string> Text(const Json& body, const char* name) {
  const Json* value = Find(body, name);
  return value != nullptr && value->is_string() ? std::optional(value->get<std::string>())
                                                : std::nullopt;
}

bool IsGiven(const Json& body, const char* name) {
  const Json* value = Find(body, name);
  return value != nullptr && *value != "" && !(value->is_structured() && value->empty());
}

Parsed<> ReadOptions(const Json& body, node::GenerateRequest& request) {
  Json options = TRY(ReadOptionsObject(body));
  options.erase("n");  // OpenAI's; Ollama has one answer
  for (const char* name : {"logprobs", "top_logprobs"}) {
    options.erase(name);
    if (const Json* value = Find(body, name)) options[name] = *value;
  }
  if (const Json* lora = Find(body, "lora")) options["lora"] = *lora;
  TRY(ReadSampler(options, {.defaults = &kDefaults}, request));
  return ReadParameters(options, request);
}

Parsed<> ReadThink(const Json& body, node::ChatOptions& chat) {
  const Json* think = Find(body, "think");
  if (think == nullptr) return {};
  if (!think->is_boolean() && !think->is_string())
    return BadValue("think", "'think' must be true, false, or a level such as \"low\"");
  SetVariable(chat, "enable_thinking", think->is_string() || think->get<bool>());
  if (think->is_string()) SetVariable(chat, "reasoning_effort", *think);
  return {};
}

// Of a call without a question: 0 unloads.
Wish WishOf(const Call& call) {
  return call.request.keep_ms == wire::kKeepUntilIdle ? Wish::kUnload : Wish::kLoad;
}

// "json", or a schema.
Parsed<> ReadFormat(const Json& body, std::string_view text, grammar::Cache& grammars,
                    node::GenerateRequest& request) {
  if (!IsGiven(body, "format")) return {};
  const Json& format = *Find(body, "format");
  if (format == "json") {
    return SetGrammar(wire::GrammarKind::kJsonSchema, R"({"type":"object"})", "format", grammars,
                      request);
  }
  if (!format.is_object()) return BadValue("format", "'format' must be \"json\" or a JSON schema");
  return SetSchema(text, {"format"}, "format", grammars, request);
}

Parsed<Call> ReadCommon(const Json& body, std::string_view text, grammar::Cache& grammars) {
  Call call;
  call.request.model = TRY(ReadModelName(body, "model"));
  call.stream = TRY(ReadBool(body, "stream")).value_or(true);
  TRY(ReadFormat(body, text, grammars, call.request));
  if (IsGiven(body, "images")) return NotSupported("images", kForImages);
  TRY(ReadOptions(body, call.request));
  TRY(ReadThink(body, call.request.chat));
  call.request.keep_ms = TRY(ReadKeepAlive(body));
  return call;
}

Parsed<> ReadToolCalls(const Json& list, const model::Data& written, const std::string& param,
                       model::ChatMessage& out) {
  if (!list.is_array()) return BadValue(param, "'tool_calls' must be a list");
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& entry = list[i];
    const Json* function = entry.is_object() ? Find(entry, "function") : nullptr;
    if (function == nullptr || !function->is_object())
      return BadValue(param, "a tool call must be an object with a 'function'");
    model::ToolCall call{.id = Text(entry, "id").value_or(""),
                         .name = TRY(ReadRequiredString(*function, "name", kMaxStopBytes))};
    if (const Json* arguments = Find(*function, "arguments")) {
      if (!arguments->is_object()) return BadValue(param, "'arguments' must be an object");
      const model::Data& as_written = At(At(At(written, i), "function"), "arguments");
      call.arguments = std::get<model::DataMap>(as_written.value);
    }
    out.tool_calls.push_back(std::move(call));
  }
  return {};
}

Parsed<model::ChatMessage> ReadMessage(const Json& message, const model::Data& written,
                                       const std::string& param) {
  if (!message.is_object())
    return BadValue(param, "a message must be an object with 'role' and 'content'");
  model::ChatMessage out{.role = Text(message, "role").value_or("")};
  if (out.role != "system" && out.role != "user" && out.role != "assistant" && out.role != "tool") {
    return BadValue(param + ".role",
                    fmt::format("'{}' is no role; use system, user, assistant or tool",
                                out.role.substr(0, 64)));
  }
  const Json* content = Find(message, "content");
  if (content != nullptr && !content->is_string())
    return BadValue(param + ".content", "'content' must be a string");
  if (IsGiven(message, "images")) return NotSupported(param + ".images", kForImages);
  if (const Json* calls = Find(message, "tool_calls"))
    TRY(ReadToolCalls(*calls, At(written, "tool_calls"), param + ".tool_calls", out));
  if (content != nullptr || out.tool_calls.empty())
    out.content = content == nullptr ? "" : content->get<std::string>();
  out.reasoning = Text(message, "thinking").value_or("");
  out.name = Text(message, "tool_name").value_or("");
  out.tool_call_id = Text(message, "tool_call_id").value_or("");
  return out;
}

Parsed<> ReadTools(const Json& body, std::string_view text, node::ChatOptions& chat) {
  const Json* tools = Find(body, "tools");
  if (tools == nullptr) return {};
  if (!tools->is_array() || tools->size() > kMaxMessages)
    return BadValue("tools", "'tools' must be a list of tools");
  const model::Data written = AsWritten(text, "tools");
  for (size_t i = 0; i < tools->size(); ++i) {
    const Json& tool = (*tools)[i];
    const Json* function = tool.is_object() ? Find(tool, "function") : nullptr;
    if (function == nullptr || !function->is_object())
      return BadValue("tools", "a tool must be an object with a 'function'");
    chat.tools.push_back(TRY(ReadTool(*function, "parameters", At(At(written, i), "function"),
                                      fmt::format("tools[{}].function", i))));
  }
  return {};
}

}  // namespace

Parsed<Json> ReadOptionsObject(const Json& body) {
  const Json* options = Find(body, "options");
  if (options == nullptr) return Json::object();
  if (!options->is_object())
    return BadValue("options",
                    fmt::format("'options' is {}, but must be an object", Shown(*options)));
  return *options;
}

Parsed<std::string> ReadName(const Json& body) {
  return ReadModelName(body,
                       Find(body, "model") == nullptr && Find(body, "name") ? "name" : "model");
}

Parsed<Call> ParseChat(std::string_view text, grammar::Cache& grammars) {
  const Json body = TRY(ParseBody(text));
  Call call = TRY(ReadCommon(body, text, grammars));
  call.chat = true;
  TRY(ReadTools(body, text, call.request.chat));
  const Json* list = Find(body, "messages");
  if (list == nullptr || (list->is_array() && list->empty())) {
    call.wish = WishOf(call);
    return call;
  }
  if (!list->is_array() || list->size() > kMaxMessages) {
    return BadValue("messages",
                    fmt::format("'messages' must be a list of at most {} messages", kMaxMessages));
  }
  const bool calls = std::ranges::any_of(*list, [](const Json& message) {
    return message.is_object() && message.contains("tool_calls");
  });
  const model::Data written = calls ? AsWritten(text, "messages") : model::Data();
  for (size_t i = 0; i < list->size(); ++i)
    call.request.messages.push_back(
        TRY(ReadMessage((*list)[i], At(written, i), fmt::format("messages[{}]", i))));
  const model::ChatMessage& last = call.request.messages.back();
  call.request.chat.continue_last =
      last.role == "assistant" && last.tool_calls.empty() && call.request.messages.size() > 1;
  return call;
}

Parsed<Call> ParseGenerate(std::string_view text, grammar::Cache& grammars) {
  const Json body = TRY(ParseBody(text));
  Call call = TRY(ReadCommon(body, text, grammars));
  if (IsGiven(body, "template")) {
    return NotSupported("template",
                        "'template' is not supported: the model's own chat template is used; send "
                        "the whole prompt with 'raw' instead");
  }
  if (IsGiven(body, "context")) {
    return NotSupported("context",
                        "'context' is not supported: use /api/chat with the earlier messages; what "
                        "was computed of them is kept anyway");
  }
  const Json* given = Find(body, "prompt");
  if (given != nullptr && !given->is_string())
    return BadValue("prompt", "'prompt' must be a string");
  const std::string prompt = given == nullptr ? "" : given->get<std::string>();
  if (prompt.empty()) {
    call.wish = WishOf(call);
    return call;
  }
  if (const auto suffix = Text(body, "suffix"); suffix && !suffix->empty()) {
    call.request.prompt = prompt;
    call.request.suffix = *suffix;
  } else if (TRY(ReadBool(body, "raw")).value_or(false)) {
    call.request.prompt = prompt;
    call.request.special = true;  // the caller has applied a template
  } else {
    if (const auto system = Text(body, "system"); system && !system->empty())
      call.request.messages.push_back({.role = "system", .content = *system});
    call.request.messages.push_back({.role = "user", .content = prompt});
  }
  return call;
}

}  // namespace exo::service::ollama
