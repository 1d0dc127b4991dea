#include "chat/answer_format.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "chat/json_scanner.h"
#include "chat/literal.h"

namespace exo::chat {
namespace {

using Json = nlohmann::ordered_json;
using model::ChatMessage;

constexpr std::string_view kFirst = "probe_one", kSecond = "probe_two";
constexpr std::string_view kTextKey = "alpha", kNumberKey = "beta", kText = "v~1", kNumber = "7";
constexpr std::string_view kAnswer = "ANSWER", kThought = "THOUGHT";

model::DataMap ArgumentsData() {
  return {{std::string(kTextKey), {std::string(kText)}}, {std::string(kNumberKey), {int64_t{7}}}};
}

model::DataList ProbeTools() {
  const auto text = [](std::string_view value) { return model::Data{std::string(value)}; };
  const auto typed = [&](const char* type) {
    return model::Data{model::DataMap{{"type", text(type)}, {"description", text("Of it.")}}};
  };
  model::DataList tools;
  for (const std::string_view name : {kFirst, kSecond}) {
    const model::DataMap properties = {{std::string(kTextKey), typed("string")},
                                       {std::string(kNumberKey), typed("integer")}};
    const model::DataMap parameters = {{"type", text("object")},
                                       {"properties", {properties}},
                                       {"required", {model::DataList{text(kTextKey)}}}};
    const model::DataMap function = {
        {"name", text(name)}, {"description", text("Does it.")}, {"parameters", {parameters}}};
    tools.push_back({model::DataMap{{"type", text("function")}, {"function", {function}}}});
  }
  return tools;
}

// One way to ask a template how it writes calls.
struct Way {
  bool arguments_as_text = false;
  const char* first_id;
  const char* second_id;
  bool content = true;  // an empty one, else none
};

class Prober {
 public:
  Prober(const model::ChatTemplate& chat_template, model::ChatTemplateOptions options)
      : template_(chat_template), options_(std::move(options)) {
    options_.add_generation_prompt = false;
    options_.tools = ProbeTools();
  }

  // What the template writes for the answer of an assistant; nullopt: it refuses.
  std::optional<std::string> Render(ChatMessage answer) const {
    answer.role = "assistant";
    const std::array messages = {ChatMessage{.role = "user", .content = "Hello."},
                                 std::move(answer)};
    const auto pieces = template_.Render(messages, options_);
    if (!pieces) return std::nullopt;
    std::string text;
    for (const model::TextPiece& piece : *pieces) text += piece.text;
    // Some templates escape for HTML what they should not.
    for (size_t at = 0; (at = text.find("&#34;", at)) != std::string::npos;)
      text.replace(at, 5, "\"");
    return text;
  }
  std::optional<std::string> Calls(const Way& way, size_t count) {
    options_.arguments_as_text = way.arguments_as_text;
    ChatMessage answer;
    if (way.content) answer.content = "";
    answer.tool_calls.push_back(
        {.id = way.first_id, .name = std::string(kFirst), .arguments = ArgumentsData()});
    if (count > 1)
      answer.tool_calls.push_back(
          {.id = way.second_id, .name = std::string(kSecond), .arguments = ArgumentsData()});
    return Render(std::move(answer));
  }

 private:
  const model::ChatTemplate& template_;
  model::ChatTemplateOptions options_;
};

// Texts are cut where a reader would cut them: beside tags, brackets and white space.
bool IsBoundary(std::string_view text, size_t at) {
  if (at >= text.size() || at == 0) return at >= text.size() || !IsNameChar(text[0]);
  const std::string_view before = ">]} \n\t", behind = "<[{, \n\t";
  return before.find(text[at - 1]) != std::string_view::npos ||
         behind.find(text[at]) != std::string_view::npos;
}

size_t CommonPrefix(std::string_view a, std::string_view b) {
  size_t size = static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
  while (size > 0 && !(IsBoundary(a, size) && IsBoundary(b, size))) --size;
  return size;
}

size_t CommonSuffix(std::string_view a, std::string_view b) {
  size_t size = 0;
  while (size < std::min(a.size(), b.size()) && a[a.size() - size - 1] == b[b.size() - size - 1])
    ++size;
  while (size > 0 && !(IsBoundary(a, a.size() - size) && IsBoundary(b, b.size() - size))) --size;
  return size;
}

// One call within a text.
struct Found {
  size_t begin = 0, end = 0;  // of the object around it, or of the name up to the arguments' end
  size_t name = 0;
  size_t arguments = 0, arguments_end = 0;                    // JSON; equal: they are not
  size_t text_key = 0, text = 0, number_key = 0, number = 0;  // of arguments that are not
  std::string name_key, arguments_key;                        // of an object
};

// Where the JSON value at `begin` ends; npos: there is none.
size_t EndOfJson(std::string_view text, size_t begin) {
  JsonScanner scanner;
  for (size_t i = begin; i < text.size(); ++i) {
    const auto step = scanner.Push(text[i]);
    if (step == JsonScanner::Step::kBad) break;
    if (step == JsonScanner::Step::kDone) return i + 1;
  }
  return std::string_view::npos;
}

Json Arguments() {
  return Json{{kTextKey, kText}, {kNumberKey, 7}};
}

// The object around the name that has the name and the arguments as members.
bool FindObject(std::string_view text, Found& found) {
  for (size_t before = found.name; before > 0;) {
    const size_t at = text.rfind('{', before - 1);
    if (at == std::string_view::npos) break;
    before = at;
    const size_t end = EndOfJson(text, at);
    if (end == std::string_view::npos || end <= found.name) continue;
    const Json object = Json::parse(text.substr(at, end - at), nullptr, false);
    for (const auto& [key, value] : object.items()) {
      if (value == kFirst || value == kSecond) found.name_key = key;
      if (value == Arguments()) found.arguments_key = key;
    }
    if (found.name_key.empty() || found.arguments_key.empty()) return false;
    found.begin = at;
    found.end = end;
    return true;
  }
  return false;
}

std::optional<Found> FindCall(std::string_view text, std::string_view name, size_t from) {
  Found found;
  found.name = text.find(name, from);
  if (found.name == std::string_view::npos) return std::nullopt;
  found.begin = found.name;
  const size_t behind = found.name + name.size();
  for (size_t at = text.find('{', behind); at != std::string_view::npos;
       at = text.find('{', at + 1)) {
    const size_t end = EndOfJson(text, at);
    if (end == std::string_view::npos) continue;
    if (Json::parse(text.substr(at, end - at), nullptr, false) != Arguments()) continue;
    found.arguments = at;
    found.end = found.arguments_end = end;
    FindObject(text, found);
    return found;
  }
  found.text_key = text.find(kTextKey, behind);
  found.text = text.find(kText, found.text_key);
  found.number_key = text.find(kNumberKey, found.text);
  found.number = text.find(kNumber, found.number_key);
  if (found.number == std::string_view::npos) return std::nullopt;
  found.end = found.number + kNumber.size();
  return found;
}

std::string Between(std::string_view text, size_t begin, size_t end) {
  return std::string(text.substr(begin, end - begin));
}

// name, arguments and what stands between them, where the arguments are JSON.
void DescribeJson(std::string_view text, const Found& found, const Way& way, CallSyntax& syntax) {
  syntax.form = CallForm::kJson;
  syntax.after_name = Between(text, found.name + kFirst.size(), found.arguments);
  if (const size_t id = syntax.after_name.find(way.first_id); id != std::string::npos) {
    syntax.after_id = syntax.after_name.substr(id + std::string_view(way.first_id).size());
    syntax.after_name.resize(id);
  } else if (syntax.after_name.starts_with(":0")) {
    syntax.indexed = true;
    syntax.after_name.erase(0, 2);
  }
  if (found.name_key.empty()) return;
  syntax.name_key = found.name_key;
  syntax.arguments_key = found.arguments_key;
  syntax.object_begin = Between(text, found.begin, found.name);
  syntax.after_arguments = "}";
  // What stands in front of the name beside it (an id) is not asked for.
  if (const size_t key = syntax.object_begin.find("\"" + found.name_key + "\""); key > 1)
    syntax.object_begin.erase(1, key - 1);
}

// Arguments that are written one by one. `end`: of the text.
void DescribeParameters(std::string_view text, const Found& found, size_t end, CallSyntax& syntax) {
  const std::string head = Between(text, found.name + kFirst.size(), found.text_key);
  const std::string next = Between(text, found.text + kText.size(), found.number_key);
  syntax.string_begin = Between(text, found.text_key + kTextKey.size(), found.text);
  syntax.value_begin = Between(text, found.number_key + kNumberKey.size(), found.number);
  if (syntax.value_begin == "=" || syntax.value_begin == ":") {
    syntax.form = CallForm::kValues;
    syntax.values_open = head;
    syntax.string_quote = syntax.string_begin.substr(1);
    const bool quoted = next.starts_with(syntax.string_quote);
    syntax.values_between = next.substr(quoted ? syntax.string_quote.size() : 0);
    syntax.values_close = Between(text, found.end, std::min(found.end + 1, end));
    return;
  }
  syntax.form = CallForm::kParameters;
  const size_t shared = CommonSuffix(head, next);
  syntax.parameter_begin = head.substr(head.size() - shared);
  syntax.after_name = head.substr(0, head.size() - shared);
  syntax.parameter_end = next.substr(0, next.size() - shared);
}

// The first call's end as far as it belongs to its arguments.
size_t EndOfCall(const Found& found, const CallSyntax& syntax) {
  return found.end + (syntax.form == CallForm::kParameters ? syntax.parameter_end.size()
                      : syntax.form == CallForm::kValues   ? syntax.values_close.size()
                                                           : 0);
}

// What stands around and between calls. `first`, `second`: the calls of `text`; without a second
// one the template takes no more than one. `answer_end`: behind a plain answer.
void DescribeEnds(std::string_view text, const Found& first, const std::optional<Found>& second,
                  std::string_view answer_end, CallSyntax& syntax) {
  const std::string head = Between(text, 0, first.begin);
  const size_t last_end = EndOfCall(second.value_or(first), syntax);
  std::string tail(text.substr(std::min(last_end, text.size())));
  tail.resize(tail.size() - CommonSuffix(tail, answer_end));
  syntax.one_call = !second;
  if (!second) {
    syntax.call_begin = head;
    syntax.call_end = tail;
    return;
  }
  const std::string middle = Between(text, EndOfCall(first, syntax), second->begin);
  const size_t begin = CommonSuffix(head, middle);
  syntax.section_begin = head.substr(0, head.size() - begin);
  syntax.call_begin = head.substr(head.size() - begin);
  if (Trimmed(syntax.section_begin).empty()) syntax.section_begin.clear();
  const std::string rest = middle.substr(0, middle.size() - begin);
  const size_t end = CommonPrefix(rest, tail);
  syntax.call_end = rest.substr(0, end);
  syntax.between = rest.substr(end);
  syntax.section_end = tail.substr(end);
}

std::optional<CallSyntax> FindCalls(Prober& prober, const Way& way, const std::string& plain) {
  auto rendered = prober.Calls(way, 2);
  if (!rendered) rendered = prober.Calls(way, 1);
  if (!rendered) return std::nullopt;
  const size_t shared = CommonPrefix(plain, *rendered);
  const std::string_view text = std::string_view(*rendered).substr(shared);
  const auto first = FindCall(text, kFirst, 0);
  if (!first) return std::nullopt;
  const auto second = FindCall(text, kSecond, first->end);
  CallSyntax syntax;
  if (first->arguments_end > 0) {
    DescribeJson(text, *first, way, syntax);
  } else {
    DescribeParameters(text, *first, text.size(), syntax);
  }
  const size_t answer = plain.rfind(kAnswer);
  const std::string_view answer_end = std::string_view(plain).substr(answer + kAnswer.size());
  DescribeEnds(text, *first, second, answer_end, syntax);
  if (syntax.call_begin.find("to=functions.") != std::string::npos &&
      syntax.after_name.find("<|message|>") != std::string::npos)
    syntax.form = CallForm::kChannels;
  if (syntax.indexed) syntax.after_id.clear();
  // A name that stands twice is none that is only read.
  if (syntax.after_name.find(kFirst) != std::string::npos) return std::nullopt;
  return syntax;
}

// The tag that a text ends with, and what stands behind it: <|channel>thought
std::string LastTag(std::string_view text) {
  const size_t at = text.find_last_of("<[");
  return at == std::string_view::npos ? "" : std::string(Trimmed(text.substr(at)));
}

ReasoningSyntax FindReasoning(const Prober& prober, std::string_view source) {
  const auto rendered =
      prober.Render({.content = std::string(kAnswer), .reasoning = std::string(kThought)});
  if (rendered) {
    const std::string_view text = *rendered;
    const size_t thought = text.rfind(kThought);
    const size_t answer = text.rfind(kAnswer);
    if (thought != std::string_view::npos && answer != std::string_view::npos && thought < answer) {
      const size_t behind = thought + kThought.size();
      const std::string begin = LastTag(text.substr(0, thought));
      const std::string end(Trimmed(text.substr(behind, answer - behind)));
      if (!begin.empty() && !end.empty()) return {.begin = begin, .end = end};
    }
  }
  // Templates that leave out what was thought know its marks all the same.
  constexpr std::array<std::array<const char*, 2>, 6> kKnown = {{
      {"<think>", "</think>"},
      {"[THINK]", "[/THINK]"},
      {"<seed:think>", "</seed:think>"},
      {"<|START_THINKING|>", "<|END_THINKING|>"},
      {"<thinking>", "</thinking>"},
      {"<|channel>thought", "<channel|>"},
  }};
  for (const auto& [begin, end] : kKnown) {
    if (source.find(end) != std::string_view::npos) return {.begin = begin, .end = end};
  }
  return {};
}

}  // namespace

bool CallSyntax::bare() const {
  const std::string begin = section_begin + call_begin;
  return begin.find_first_not_of("[ \n\t") == std::string::npos;
}

std::vector<std::string> TextsOf(const AnswerFormat& format) {
  const CallSyntax& calls = format.calls;
  std::vector<std::string> texts = {
      calls.section_begin,   calls.section_end,      calls.between,        calls.call_begin,
      calls.call_end,        calls.after_name,       calls.after_id,       calls.after_arguments,
      calls.parameter_begin, calls.string_begin,     calls.value_begin,    calls.parameter_end,
      calls.values_open,     calls.string_quote,     calls.values_between, calls.values_close,
      format.other_begin,    format.reasoning.begin, format.reasoning.end};
  if (calls.form == CallForm::kChannels)
    texts.emplace_back("<|start|><|channel|><|message|><|constrain|><|end|><|call|><|return|>");
  return texts;
}

CallSyntax CommonCalls() {
  return {.between = "\n",
          .call_begin = "<tool_call>\n",
          .call_end = "\n</tool_call>",
          .object_begin = R"({"name": ")",
          .name_key = "name",
          .arguments_key = "arguments",
          .after_name = R"(", "arguments": )",
          .after_arguments = "}"};
}

AnswerFormat FindAnswerFormat(const model::ChatTemplate& chat_template, std::string_view source,
                              const model::ChatTemplateOptions& options) {
  AnswerFormat format = {.calls = CommonCalls()};
  Prober prober(chat_template, options);
  const auto plain = prober.Render({.content = std::string(kAnswer)});
  if (!plain || plain->rfind(kAnswer) == std::string::npos) return format;
  format.reasoning = FindReasoning(prober, source);
  for (const bool as_text : {false, true}) {
    for (const bool content : {true, false}) {
      for (const auto& [first, second] :
           {std::pair("a1b2c3d4e", "f5g6h7i8j"),
            std::pair("functions.probe_one:0", "functions.probe_two:1")}) {
        const auto calls = FindCalls(prober, {as_text, first, second, content}, *plain);
        if (!calls) continue;
        format.calls = *calls;
        format.has_calls = true;
        format.arguments_as_text = as_text;
        if (format.calls.bare() && source.find("<|python_tag|>") != std::string_view::npos)
          format.other_begin = "<|python_tag|>";
        return format;
      }
    }
  }
  return format;
}

}  // namespace exo::chat
