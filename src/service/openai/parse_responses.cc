#include "service/openai/parse_responses.h"

#include <algorithm>

#include "service/chat_tools.h"
#include "service/fields.h"
#include "service/grammar_fields.h"
#include "service/http/limits.h"
#include "service/request_fields.h"
#include "service/sampler_fields.h"

namespace exo::service::openai {
namespace {

// A string, or parts of text.
Parsed<std::string> ReadContent(const Json* content, const std::string& param) {
  if (content == nullptr) return "";
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array() || content->size() > kMaxMessages)
    return BadValue(param, fmt::format("'{}' must be a string or a list of text parts", param));
  std::string text;
  for (const Json& part : *content) {
    const std::string type = part.is_object() ? StringField(part, "type") : "";
    if (type != "input_text" && type != "output_text" && type != "text" && type != "summary_text" &&
        type != "reasoning_text" && type != "refusal") {
      return NotSupported(param, fmt::format("content parts of type '{}' are not supported: this "
                                             "server takes text only",
                                             type.substr(0, 64)));
    }
    if (!text.empty()) text += '\n';
    text += StringField(part, type == "refusal" ? "refusal" : "text");
  }
  return text;
}

// Items become messages: what an assistant thought, said and called is one.
class ItemReader {
 public:
  explicit ItemReader(std::vector<model::ChatMessage>& out) : out_(out) {}

  Parsed<> Read(const Json& item, const model::Data& written, const std::string& param) {
    if (!item.is_object()) return BadValue(param, "an item must be an object");
    const std::string type = StringField(item, "type");
    if (type.empty() || type == "message") return ReadMessage(item, param);
    if (type == "function_call") {
      model::ToolCall call =
          TRY(ReadCall(StringField(item, "call_id"), item, written, param + ".arguments"));
      call.name = FullToolName(StringField(item, "namespace"), call.name);
      Assistant(false).tool_calls.push_back(std::move(call));
      return {};
    }
    if (type == "function_call_output") {
      model::ChatMessage result{
          .role = "tool",
          .content = TRY(ReadContent(Find(item, "output"), param + ".output")),
          .tool_call_id = StringField(item, "call_id")};
      for (const model::ChatMessage& message : out_) {
        for (const model::ToolCall& call : message.tool_calls)
          if (call.id == result.tool_call_id) result.name = call.name;
      }
      out_.push_back(std::move(result));
      return {};
    }
    if (type == "reasoning") {
      std::string text = TRY(ReadContent(Find(item, "content"), param + ".content"));
      if (text.empty()) text = TRY(ReadContent(Find(item, "summary"), param + ".summary"));
      if (!text.empty()) Assistant(true).reasoning += text;
      return {};
    }
    if (type == "item_reference")
      return NotSupported(param, "items by reference are not supported: send the item");
    return {};  // of tools that are not ours
  }

 private:
  Parsed<> ReadMessage(const Json& item, const std::string& param) {
    std::string role = StringField(item, "role");
    if (role == "developer") role = "system";
    if (role != "system" && role != "user" && role != "assistant") {
      return BadValue(param + ".role",
                      fmt::format("'{}' is no role; use system, developer, user or assistant",
                                  role.substr(0, 64)));
    }
    std::string text = TRY(ReadContent(Find(item, "content"), param + ".content"));
    if (role == "assistant") {
      Assistant(true).content = std::move(text);
    } else {
      out_.push_back({.role = std::move(role), .content = std::move(text)});
    }
    return {};
  }
  // The message that the assistant's next item belongs to; `begins`: nothing was said in it yet.
  model::ChatMessage& Assistant(bool begins) {
    const bool open = !out_.empty() && out_.back().role == "assistant" &&
                      !(begins && (out_.back().content || !out_.back().tool_calls.empty()));
    if (!open) out_.push_back({.role = "assistant"});
    return out_.back();
  }

  std::vector<model::ChatMessage>& out_;
};

Parsed<> ReadInput(const Json& body, std::string_view text, std::vector<model::ChatMessage>& out) {
  const Json* input = Find(body, "input");
  if (input == nullptr) {
    return std::unexpected(
        ApiError{400, "'input' is missing", "input", "missing_required_parameter"});
  }
  if (input->is_string()) {
    out.push_back({.role = "user", .content = input->get<std::string>()});
    return {};
  }
  if (!input->is_array() || input->empty() || input->size() > kMaxMessages) {
    return BadValue(
        "input", fmt::format("'input' must be a string or a list of 1 to {} items", kMaxMessages));
  }
  const bool calls = std::ranges::any_of(
      *input, [](const Json& item) { return item.is_object() && item.contains("arguments"); });
  const model::Data written = calls ? AsWritten(text, "input") : model::Data();
  ItemReader reader(out);
  for (size_t i = 0; i < input->size(); ++i)
    TRY(reader.Read((*input)[i], At(written, i), fmt::format("input[{}]", i)));
  for (model::ChatMessage& message : out) {
    if (!message.content && message.tool_calls.empty()) message.content = "";
  }
  return {};
}

constexpr IgnoredField kIgnoredOfResponses[] = {
    {"metadata", JsonKind::kObject},   {"truncation", JsonKind::kText},
    {"include", JsonKind::kTexts},     {"prompt_cache_key", JsonKind::kText},
    {"service_tier", JsonKind::kText}, {"safety_identifier", JsonKind::kText}};

Parsed<> RefuseUnsupported(const Json& body) {
  if (TRY(ReadBool(body, "background")).value_or(false)) return NotSupported("background");
  for (const char* name : {"conversation", "prompt"}) {
    if (Find(body, name) != nullptr) return NotSupported(name);
  }
  return CheckIgnored(body, kIgnoredOfResponses);
}

// Log-probabilities are told where "include" names them, or "top_logprobs" wants some.
bool WantsLogprobs(const Json& body) {
  const Json* include = Find(body, "include");
  const Json* top = Find(body, "top_logprobs");
  return (top != nullptr && *top != 0) ||
         (include != nullptr &&
          std::ranges::find(*include, "message.output_text.logprobs") != include->end());
}

Parsed<> ReadTextFormat(const Json& body, std::string_view text, grammar::Cache& grammars,
                        node::GenerateRequest& request) {
  const Json* options = Find(body, "text");
  if (options == nullptr) return {};
  if (!options->is_object())
    return BadValue("text", fmt::format("'text' is {}, but must be an object", Shown(*options)));
  return ReadFormat(Find(*options, "format"), text, {"text", "format"}, "text.format", grammars,
                    request);
}

}  // namespace

Parsed<ResponseCall> ParseResponseRequest(std::string_view text, grammar::Cache& grammars) {
  Json body = TRY(ParseBody(text));
  ResponseCall call;
  node::GenerateRequest& request = call.request;
  request.model = TRY(ReadModelName(body, "model"));
  TRY(RefuseUnsupported(body));
  TRY(ReadInput(body, text, request.messages));
  TRY(ReadTextFormat(body, text, grammars, request));
  if (const auto limit = TRY(ReadTokenLimit(body, "max_output_tokens")))
    request.max_tokens = limit->tokens;
  TRY(ReadTools(body, text, grammars, request.chat, {.namespaced = &call.namespaced}));
  TRY(ReadToolChoice(body, request.chat));
  if (const Json* reasoning = Find(body, "reasoning"); reasoning != nullptr) {
    if (!reasoning->is_object()) return BadValue("reasoning", "'reasoning' must be an object");
    TRY(SetEffort(Find(*reasoning, "effort"), "reasoning.effort", request.chat));
  }
  call.store = TRY(ReadBool(body, "store")).value_or(true);
  call.stream = TRY(ReadBool(body, "stream")).value_or(false);
  call.instructions = TRY(ReadText(body, "instructions"));
  call.previous = TRY(ReadText(body, "previous_response_id"));
  call.user = TRY(ReadText(body, "user"));
  body.erase("n");
  body["logprobs"] = WantsLogprobs(body);
  TRY(ReadSampler(body, {}, request));
  TRY(ReadSeed(body, request));
  if (call.store) call.input = std::move(body["input"]);
  call.echo = {{"tools", Json::array()},
               {"tool_choice", "auto"},
               {"parallel_tool_calls", true},
               {"metadata", Json::object()},
               {"text", {{"format", {{"type", "text"}}}}}};
  for (const char* name : {"instructions", "max_output_tokens", "metadata", "parallel_tool_calls",
                           "previous_response_id", "reasoning", "temperature", "text",
                           "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user"}) {
    if (Json* value = body.contains(name) ? &body[name] : nullptr; value != nullptr)
      call.echo[name] = std::move(*value);
  }
  call.echo["store"] = call.store;
  return call;
}

}  // namespace exo::service::openai
