#include "node/reading.h"

#include <algorithm>

#include "chat/call_grammar.h"
#include "chat/literal.h"
#include "grammar/grammar.h"
#include "sys/system.h"

namespace exo::node {
namespace {

// Nine letters and digits: some templates take no other ids.
std::string MakeCallId() {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  uint64_t value = sys::RandomValue<uint64_t>();
  std::string id;
  for (; id.size() < 9; value /= kLetters.size()) id += kLetters[value % kLetters.size()];
  return id;
}

// The prompt ends in the beginning of what is thought.
bool IsThinking(const chat::ReasoningSyntax& reasoning, std::string_view prompt) {
  if (reasoning.begin.empty()) return false;
  const size_t begin = prompt.rfind(reasoning.begin);
  return begin != std::string_view::npos &&
         chat::Trimmed(prompt.substr(begin + reasoning.begin.size())).empty();
}

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

// Those that may be called.
Result<std::vector<chat::Tool>> ToolsFor(const ChatOptions& chat) {
  std::vector<chat::Tool> tools;
  if (chat.tool_use != ToolUse::kNone) tools = chat::ToolsOf(chat.tools);
  if (chat.allowed_tools) {
    for (const std::string& name : *chat.allowed_tools) {
      if (chat::FindTool(tools, name) == nullptr)
        return Fail(ErrorCode::kInvalid, "the tool choice allows '{}', which is none of the tools",
                    name);
    }
    std::erase_if(
        tools, [&](const chat::Tool& tool) { return !Contains(*chat.allowed_tools, tool.name); });
  }
  if (chat.tool_use == ToolUse::kNamed) {
    std::erase_if(tools, [&](const chat::Tool& tool) { return tool.name != chat.tool_name; });
    if (tools.empty())
      return Fail(ErrorCode::kInvalid, "the tool choice names '{}', which is none of the tools",
                  chat.tool_name);
  }
  if (chat.tool_use == ToolUse::kRequired && tools.empty())
    return Fail(ErrorCode::kInvalid, "the tool choice requires a call, but there are no tools");
  return tools;
}

bool CanBeHeld(const std::string& schema, grammar::Cache& grammars) {
  return grammars.Compile(grammar::WholeAnswer(wire::GrammarKind::kJsonSchema, schema)).has_value();
}

// What the request does not want strict is held as far as it can be.
void Loosen(std::vector<chat::Tool>& tools, const std::vector<std::string>& strict,
            grammar::Cache& grammars) {
  for (chat::Tool& tool : tools) {
    if (Contains(strict, tool.name) || CanBeHeld(tool.parameters, grammars)) continue;
    tool.parameters = chat::WithoutProperties(
        tool.parameters, [&](const std::string& schema) { return CanBeHeld(schema, grammars); });
    if (!CanBeHeld(tool.parameters, grammars)) tool.parameters = chat::kAnyArguments;
  }
}

// A strict tool is written in a format that can hold all that its schema says.
Result<void> CheckStrict(const chat::AnswerFormat& format, const std::vector<chat::Tool>& tools,
                         const std::vector<std::string>& strict) {
  for (const chat::Tool& tool : tools) {
    const std::string keyword =
        Contains(strict, tool.name) ? chat::KeywordNotHeld(format, tool) : "";
    if (!keyword.empty())
      return Fail(ErrorCode::kUnsupported,
                  "'{}' of the strict tool '{}' cannot be kept in the form in which this model "
                  "writes calls; leave out the keyword, or 'strict'",
                  keyword, tool.name);
  }
  return {};
}

struct HeldCalls {
  std::optional<wire::Grammar> grammar;  // unset: nothing holds the calls to a form
  std::vector<std::string> loose;        // tools that are not held to all of their schema
};

// Those whose schema is not the one that was asked for, or says what the format cannot hold.
std::vector<std::string> LooseOf(const chat::AnswerFormat& format,
                                 const std::vector<chat::Tool>& asked,
                                 const std::vector<chat::Tool>& held, bool any) {
  std::vector<std::string> loose;
  for (size_t i = 0; i < asked.size(); ++i) {
    if (!any || asked[i].parameters != held[i].parameters ||
        !chat::KeywordNotHeld(format, held[i]).empty())
      loose.push_back(asked[i].name);
  }
  return loose;
}

Result<HeldCalls> GrammarFor(const chat::AnswerFormat& format, const std::vector<chat::Tool>& tools,
                             const chat::CallGrammarOptions& options,
                             const std::vector<std::string>& strict, grammar::Cache& grammars) {
  TRY(CheckStrict(format, tools, strict));
  std::vector<chat::Tool> held = tools;
  auto calls = chat::CallGrammar(format, held, options);
  if (!calls && options.strict)
    return Fail(ErrorCode::kUnsupported,
                "strict tools cannot be kept here: nothing tells a call of this model from text; "
                "require a call, or leave out 'strict'");
  if (!calls) return HeldCalls{.loose = LooseOf(format, tools, held, false)};
  auto compiled = grammars.Compile(*calls);
  if (!compiled) {
    Loosen(held, strict, grammars);
    calls = chat::CallGrammar(format, held, options);
    compiled = grammars.Compile(*calls);
    // Each of them can be held, all of them not: at least the names are.
    if (!compiled) {
      for (chat::Tool& tool : held) {
        if (!Contains(strict, tool.name)) tool.parameters = chat::kAnyArguments;
      }
      calls = chat::CallGrammar(format, held, options);
      compiled = grammars.Compile(*calls);
    }
  }
  if (!compiled && (options.required || options.strict))
    return std::unexpected(Wrap(compiled.error(), "the tools' calls"));
  if (!compiled) calls.reset();
  return HeldCalls{.grammar = std::move(calls),
                   .loose = LooseOf(format, tools, held, compiled.has_value())};
}

}  // namespace

Result<std::shared_ptr<const Reading>> PlanReading(const GenerateRequest& request,
                                                   const Vocabulary& vocabulary,
                                                   std::string_view prompt,
                                                   grammar::Cache& grammars) {
  const ChatOptions& chat = request.chat;
  const bool is_chat = !request.prompt && !request.prompt_ids && !request.readout;
  if (!is_chat || vocabulary.format == nullptr) return nullptr;
  auto tools = TRY(ToolsFor(chat));
  const bool required = chat.tool_use == ToolUse::kRequired || chat.tool_use == ToolUse::kNamed;
  const bool has_form = !request.sampler.grammar.parts.empty();
  if (required && has_form)
    return Fail(ErrorCode::kInvalid,
                "the tool choice requires a call, but another field says what the answer must be; "
                "send one of them");
  auto reading = std::make_shared<Reading>();
  reading->format = vocabulary.format;
  const chat::AnswerFormat& format = *reading->format;
  const bool channels = format.calls.form == chat::CallForm::kChannels;
  if (tools.empty() && format.reasoning.end.empty() && !channels) return nullptr;
  const bool thinking = !channels && IsThinking(format.reasoning, prompt);
  if (!has_form) {
    const bool any_strict = std::ranges::any_of(
        tools, [&](const chat::Tool& tool) { return Contains(chat.strict_tools, tool.name); });
    HeldCalls held = TRY(GrammarFor(format, tools,
                                    {.controls = vocabulary.controls,
                                     .required = required,
                                     .thinking = thinking,
                                     .many = chat.parallel_tool_calls,
                                     .strict = any_strict},
                                    chat.strict_tools, grammars));
    reading->grammar = std::move(held.grammar);
    reading->loose_tools = std::move(held.loose);
  }
  reading->options = {.tools = std::move(tools),
                      .thinking = thinking,
                      .constrained = reading->grammar.has_value(),
                      .required = required,
                      .max_calls = chat.parallel_tool_calls ? UINT32_MAX : 1,
                      .make_id = &MakeCallId};
  return reading;
}

bool IsShown(const Vocabulary& vocabulary, TokenId token) {
  return std::ranges::any_of(vocabulary.controls, [&](const chat::ControlToken& one) {
    return one.id == token && !one.ends;
  });
}

}  // namespace exo::node
