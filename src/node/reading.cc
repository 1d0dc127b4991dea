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

Result<std::vector<chat::Tool>> ToolsFor(const ChatOptions& chat) {
  std::vector<chat::Tool> tools;
  if (chat.tool_use != ToolUse::kNone) tools = chat::ToolsOf(chat.tools);
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

// The arguments of a tool are left to the model.
void Loosen(chat::Tool& tool) {
  tool.parameters = R"({"type":"object"})";
}
bool CanBeHeld(const chat::Tool& tool, grammar::Cache& grammars) {
  return grammars.Compile(grammar::WholeAnswer(wire::GrammarKind::kJsonSchema, tool.parameters))
      .has_value();
}

// Nullopt: nothing holds the calls to a form.
Result<std::optional<wire::Grammar>> GrammarFor(const chat::AnswerFormat& format,
                                                const std::vector<chat::Tool>& tools,
                                                const chat::CallGrammarOptions& options,
                                                grammar::Cache& grammars) {
  auto calls = chat::CallGrammar(format, tools, options);
  if (!calls) return calls;
  auto compiled = grammars.Compile(*calls);
  if (!compiled) {
    std::vector<chat::Tool> loose = tools;
    for (chat::Tool& tool : loose) {
      if (!CanBeHeld(tool, grammars)) Loosen(tool);
    }
    calls = chat::CallGrammar(format, loose, options);
    compiled = grammars.Compile(*calls);
    // Each of them can be held, all of them not: at least the names are.
    if (!compiled) {
      std::ranges::for_each(loose, &Loosen);
      calls = chat::CallGrammar(format, loose, options);
      compiled = grammars.Compile(*calls);
    }
  }
  if (compiled) return calls;
  if (options.required) return std::unexpected(Wrap(compiled.error(), "the tools' calls"));
  return std::nullopt;
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
  const bool values = vocabulary.format->calls.form == chat::CallForm::kValues;
  if (required && values) {
    auto common = *vocabulary.format;
    common.calls = chat::CommonCalls();
    reading->format = std::make_shared<const chat::AnswerFormat>(std::move(common));
  }
  const chat::AnswerFormat& format = *reading->format;
  const bool channels = format.calls.form == chat::CallForm::kChannels;
  if (tools.empty() && format.reasoning.end.empty() && !channels) return nullptr;
  const bool thinking = !channels && IsThinking(format.reasoning, prompt);
  if (!has_form) {
    reading->grammar = TRY(GrammarFor(format, tools,
                                      {.controls = vocabulary.controls,
                                       .required = required,
                                       .thinking = thinking,
                                       .many = chat.parallel_tool_calls},
                                      grammars));
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
