#include "service/openai/parse_request.h"

#include <algorithm>
#include <span>

#include "service/chat_messages.h"
#include "service/chat_tools.h"
#include "service/fields.h"
#include "service/grammar_fields.h"
#include "service/http/limits.h"
#include "service/prompts.h"
#include "service/request_fields.h"
#include "service/sampler_fields.h"

namespace exo::service::openai {
namespace {

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
    // Of chats alone: ignored, they would give another answer than was asked for.
    {"tools", "[]"},
    {"tool_choice", R"(["none","auto"])"},
    {"functions", "[]"},
    {"function_call", R"(["none","auto"])"},
    {"modalities", R"([["text"]])"},
    {"audio", "[]"}};

constexpr IgnoredField kIgnored[] = {
    {"metadata", JsonKind::kObject},   {"store", JsonKind::kBool},
    {"service_tier", JsonKind::kText}, {"prediction", JsonKind::kObject},
    {"verbosity", JsonKind::kText},    {"prompt_cache_key", JsonKind::kText}};

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

Parsed<> ReadMaxTokens(const Json& body, bool chat, node::GenerateRequest& request) {
  const auto old_name = TRY(ReadTokenLimit(body, "max_tokens"));
  const auto new_name = TRY(ReadTokenLimit(body, "max_completion_tokens"));
  const TokenLimit none{chat ? std::optional<uint32_t>() : kDefaultCompletionTokens};
  request.max_tokens = (new_name ? *new_name : old_name.value_or(none)).tokens;
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

// What both routes have in common: all but the prompt.
Parsed<node::GenerateRequest> ReadCommon(const Json& body, std::string_view text,
                                         grammar::Cache& grammars, CompletionCall& call) {
  node::GenerateRequest request;
  request.model = TRY(ReadModelName(body, "model"));
  TRY(RefuseUnsupported(body, kRefusedAlways));
  TRY(ReadStream(body, call));
  TRY(ReadMaxTokens(body, call.chat, request));
  TRY(ReadSampler(body, {.chat = call.chat}, request));
  TRY(ReadSeed(body, request));
  TRY(ReadStops(body, "stop", request.stop));
  TRY(CheckIgnored(body, kIgnored));
  for (const char* name : {"user", "safety_identifier"}) {
    if (std::string user = TRY(ReadText(body, name)); !user.empty()) call.user = std::move(user);
  }
  TRY(ReadGrammar(body, text, grammars, request));
  call.choices = request.choices;
  call.logprobs = request.sampler.logprobs;
  return request;
}

// "best_of": more answers are drawn than told. Their log-probabilities choose.
Parsed<> ReadBestOf(const Json& body, const CompletionCall& call, node::GenerateRequest& request) {
  const auto best_of = TRY(ReadInteger(body, "best_of", 0, kMaxChoices)).value_or(0);
  if (best_of == 0) return {};
  if (best_of < int64_t{call.choices}) {
    return BadValue("best_of", fmt::format("'best_of' is {}, but must be 'n', which is {}, or more",
                                           best_of, call.choices));
  }
  if (best_of == int64_t{call.choices}) return {};
  if (call.stream) {
    return BadValue("best_of",
                    "'best_of' above 'n' cannot be streamed: which answers are the best "
                    "is known at their end");
  }
  request.choices = static_cast<uint32_t>(best_of);
  request.sampler.logprobs = true;
  return {};
}

// "echo": the prompt's own log-probabilities are not computed.
Parsed<bool> ReadEcho(const Json& body, const CompletionCall& call) {
  const bool echo = TRY(ReadBool(body, "echo")).value_or(false);
  if (echo && call.logprobs) {
    return NotSupported("echo",
                        "'echo' with 'logprobs' is not supported: the log-probabilities of "
                        "a prompt are not computed; send one of the two");
  }
  return echo;
}

// The older names of tools.
Parsed<> ReadFunctions(const Json& body, std::string_view text, grammar::Cache& grammars,
                       node::ChatOptions& chat) {
  TRY(ReadTools(body, text, grammars, chat, {.field = "functions"}));
  Json newer = Json::object();
  if (const Json* call = Find(body, "function_call")) {
    newer["tool_choice"] = *call;
    if (call->is_object()) newer["tool_choice"]["type"] = "function";
  }
  return newer.contains("tool_choice") ? ReadToolChoice(newer, chat) : Parsed<>();
}

Parsed<> ReadChatOptions(const Json& body, std::string_view text, grammar::Cache& grammars,
                         node::ChatOptions& chat) {
  TRY(ReadTools(body, text, grammars, chat));
  TRY(ReadToolChoice(body, chat));
  TRY(ReadFunctions(body, text, grammars, chat));
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

Parsed<CompletionCall> ParseChatRequest(std::string_view text, grammar::Cache& grammars) {
  const Json body = TRY(ParseBody(text));
  CompletionCall call{.chat = true};
  node::GenerateRequest request = TRY(ReadCommon(body, text, grammars, call));
  TRY(RefuseUnsupported(body, kRefusedChat));
  request.messages = TRY(ReadMessages(body, text));
  TRY(ReadChatOptions(body, text, grammars, request.chat));
  call.requests.push_back(std::move(request));
  return call;
}

Parsed<CompletionCall> ParseCompletionRequest(std::string_view text, grammar::Cache& grammars) {
  const Json body = TRY(ParseBody(text));
  CompletionCall call;
  node::GenerateRequest request = TRY(ReadCommon(body, text, grammars, call));
  TRY(RefuseUnsupported(body, kRefusedCompletion));
  TRY(ReadBestOf(body, call, request));
  call.echo = TRY(ReadEcho(body, call));
  if (std::string suffix = TRY(ReadText(body, "suffix")); !suffix.empty())
    request.suffix = std::move(suffix);
  call.requests =
      TRY(ReadPrompts(body, "prompt", request, {.most = kMaxPrompts, .may_be_empty = true}));
  const bool texts = std::ranges::all_of(
      call.requests, [](const node::GenerateRequest& one) { return one.prompt.has_value(); });
  if (request.suffix && !texts) return BadValue("suffix", "'suffix' needs a prompt that is a text");
  return call;
}

}  // namespace exo::service::openai
