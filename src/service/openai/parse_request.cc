#include "service/openai/parse_request.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "service/chat_messages.h"
#include "service/chat_tools.h"
#include "service/fields.h"
#include "service/grammar_fields.h"
#include "service/http/limits.h"
#include "service/request_fields.h"
#include "service/sampler_fields.h"

namespace exo::service::openai {
namespace {

constexpr double kMaxAdapterScale = 1000;  // beyond any use; keeps products finite

// Known fields that we do not do: accepted only with a value that changes nothing.
struct Refused {
  const char* name;
  const char* harmless;  // JSON list of such values, beside null, [] and {}
};
constexpr Refused kRefusedAlways[] = {
    {"min_tokens", "[0]"}, {"ignore_eos", "[false]"}, {"adapters", "[]"}};
constexpr Refused kRefusedChat[] = {{"modalities", R"([["text"]])"},
                                    {"audio", "[]"},
                                    {"web_search_options", "[]"},
                                    {"chat_template", R"([""])"}};
constexpr Refused kRefusedCompletion[] = {
    {"echo", "[false]"},
    {"best_of", "[0,1]"},
    // Of chats alone: ignored, they would give another answer than was asked for.
    {"tools", "[]"},
    {"tool_choice", R"(["none","auto"])"},
    {"functions", "[]"},
    {"function_call", R"(["none","auto"])"},
    {"modalities", R"([["text"]])"},
    {"audio", "[]"}};

Parsed<> RefuseUnsupported(const Json& body, std::span<const Refused> fields) {
  for (const Refused& field : fields) {
    const Json* value = Find(body, field.name);
    if (value == nullptr || (value->is_structured() && value->empty())) continue;
    bool harmless = false;
    const Json harmless_values =
        ParseJson(field.harmless).value();  // named: a range-for would not keep the temporary
    for (const Json& good : harmless_values) harmless = harmless || *value == good;
    if (!harmless) return NotSupported(field.name);
  }
  return {};
}

// llama-server's "lora": [{"id": 0, "scale": 0.5}]; adapters that are not named are not used.
Parsed<> ReadAdapters(const Json& body, node::GenerateRequest& request) {
  const Json* list = Find(body, "lora");
  if (list == nullptr) return {};
  const char* const what = "'lora' must be a list of objects such as {\"id\": 0, \"scale\": 0.5}";
  if (!list->is_array()) return BadValue("lora", what);
  if (list->size() > wire::kMaxAdapters) {
    return BadValue("lora", fmt::format("'lora' has {} entries, but at most {} are allowed",
                                        list->size(), wire::kMaxAdapters));
  }
  std::vector<wire::AdapterUse> uses;
  for (const Json& one : *list) {
    if (!one.is_object()) return BadValue("lora", what);
    const auto id = ReadInteger(one, "id", 0, wire::kMaxAdapters - 1);
    const auto scale = ReadNumber(one, "scale", {-kMaxAdapterScale, kMaxAdapterScale});
    if (!id || !scale || !*id)
      return BadValue("lora", !id ? id.error().message : !scale ? scale.error().message : what);
    uses.push_back({static_cast<uint32_t>(**id), static_cast<float>(scale->value_or(1))});
  }
  std::ranges::sort(uses);
  const auto twice = std::ranges::adjacent_find(uses, {}, &wire::AdapterUse::adapter);
  if (twice != uses.end())
    return BadValue("lora", fmt::format("'lora' names the adapter {} twice", twice->adapter));
  request.adapters = std::move(uses);
  return {};
}

Parsed<> ReadMaxTokens(const Json& body, CompletionCall& call) {
  const auto old_name = TRY(ReadTokenLimit(body, "max_tokens"));
  const auto new_name = TRY(ReadTokenLimit(body, "max_completion_tokens"));
  const TokenLimit none{call.chat ? std::optional<uint32_t>() : kDefaultCompletionTokens};
  call.request.max_tokens = (new_name ? *new_name : old_name.value_or(none)).tokens;
  return {};
}

Parsed<> ReadStream(const Json& body, CompletionCall& call) {
  call.stream = TRY(ReadBool(body, "stream")).value_or(false);
  const Json* options = Find(body, "stream_options");
  if (options == nullptr) return {};
  if (!options->is_object())
    return BadValue("stream_options", "'stream_options' must be an object");
  auto usage = ReadBool(*options, "include_usage");
  if (!usage) return BadValue("stream_options.include_usage", usage.error().message);
  call.include_usage = usage->value_or(false);
  return {};
}

// What both routes have in common.
Parsed<Json> ReadCommon(std::string_view text, grammar::Cache& grammars, CompletionCall& call) {
  Json body = TRY(ParseBody(text));
  Json* const json = &body;
  call.request.model = TRY(ReadRequiredString(*json, "model", kMaxModelName));
  TRY(RefuseUnsupported(*json, kRefusedAlways));
  TRY(ReadStream(*json, call));
  TRY(ReadMaxTokens(*json, call));
  TRY(ReadSampler(*json, call.chat, call.request));
  TRY(ReadSeed(*json, call.request));
  TRY(ReadStops(*json, "stop", call.request.stop));
  for (const char* name : {"user", "safety_identifier"}) {
    const Json* user = Find(*json, name);
    if (user != nullptr && user->is_string()) call.user = user->get<std::string>();
  }
  TRY(ReadAdapters(*json, call.request));
  TRY(ReadGrammar(*json, text, grammars, call.request));
  return body;
}

// The older names of tools.
Parsed<> ReadFunctions(const Json& body, std::string_view text, node::ChatOptions& chat) {
  TRY(ReadTools(body, text, chat, "functions"));
  Json newer = Json::object();
  if (const Json* call = Find(body, "function_call")) {
    newer["tool_choice"] = *call;
    if (call->is_object()) newer["tool_choice"]["type"] = "function";
  }
  return newer.contains("tool_choice") ? ReadToolChoice(newer, chat) : Parsed<>();
}

Parsed<> ReadChatOptions(const Json& body, std::string_view text, node::ChatOptions& chat) {
  TRY(ReadTools(body, text, chat));
  TRY(ReadToolChoice(body, chat));
  TRY(ReadFunctions(body, text, chat));
  TRY(SetEffort(Find(body, "reasoning_effort"), "reasoning_effort", chat));
  if (const auto thinking = TRY(ReadBool(body, "enable_thinking")))
    SetVariable(chat, "enable_thinking", *thinking);
  if (const Json* more = Find(body, "chat_template_kwargs"); more != nullptr) {
    if (!more->is_object() || more->size() > kMaxStops) {
      return BadValue(
          "chat_template_kwargs",
          fmt::format("'chat_template_kwargs' must be an object of at most {} names", kMaxStops));
    }
    for (const auto& [name, value] : more->items()) SetVariable(chat, name, value);
  }
  chat.continue_last = TRY(ReadBool(body, "continue_final_message")).value_or(false);  // vLLM's
  return {};
}

}  // namespace

Parsed<CompletionCall> ParseChatRequest(std::string_view body, grammar::Cache& grammars) {
  CompletionCall call{.chat = true};
  const Json json = TRY(ReadCommon(body, grammars, call));
  TRY(RefuseUnsupported(json, kRefusedChat));
  call.request.messages = TRY(ReadMessages(json, body));
  TRY(ReadChatOptions(json, body, call.request.chat));
  return call;
}

Parsed<CompletionCall> ParseCompletionRequest(std::string_view body, grammar::Cache& grammars) {
  CompletionCall call;
  const Json json = TRY(ReadCommon(body, grammars, call));
  TRY(RefuseUnsupported(json, kRefusedCompletion));
  TRY(ReadPrompt(json, call.request));
  const Json* suffix = Find(json, "suffix");
  if (suffix != nullptr && *suffix != "") {
    if (!suffix->is_string()) return BadValue("suffix", "'suffix' must be a string");
    if (!call.request.prompt) return BadValue("suffix", "'suffix' needs a prompt that is a text");
    call.request.suffix = suffix->get<std::string>();
  }
  return call;
}

}  // namespace exo::service::openai
