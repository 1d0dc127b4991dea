#include "chat/call_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "chat/literal.h"

namespace exo::chat {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// A literal of GBNF.
std::string QuotedLiteral(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\r' || c == '\t') {
      quoted += c == '\r' ? "\\r" : "\\t";
    } else {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
  }
  return quoted + '"';
}

// A text of the format, in pieces of text and control tokens.
struct Part {
  std::string text;
  const ControlToken* control = nullptr;
};

class Writer {
 public:
  Writer(const AnswerFormat& format, const std::vector<Tool>& tools,
         const CallGrammarOptions& options)
      : format_(format), syntax_(format.calls), tools_(tools), options_(options) {}

  // Up to the first token that ends an answer.
  std::vector<Part> Parts(std::string_view text) const {
    std::vector<Part> parts;
    for (size_t at = 0; at < text.size();) {
      const ControlToken* first = nullptr;
      size_t begin = text.size();
      for (const ControlToken& one : options_.controls) {
        const size_t found = text.find(one.text, at);
        if (one.text.empty() || found > begin) continue;
        if (found == begin && (first == nullptr || first->text.size() > one.text.size())) continue;
        begin = found;
        first = &one;
      }
      if (begin > at) parts.push_back({.text = std::string(text.substr(at, begin - at))});
      if (first == nullptr || first->ends) break;
      parts.push_back({.text = first->text, .control = first});
      at = begin + first->text.size();
    }
    return parts;
  }
  static std::string Sequence(const std::vector<Part>& parts) {
    std::string all;
    for (const Part& part : parts) {
      all += part.control != nullptr ? fmt::format("<[{}]> ", part.control->id)
                                     : QuotedLiteral(part.text) + " ";
    }
    return all;
  }
  std::string Literal(std::string_view text) const { return Sequence(Parts(text)); }
  // Any text up to `end`, and that. White space in front of it belongs to the text, as readers
  // see it: what ends a text does so wherever it stands.
  std::string Until(std::string_view end) const {
    end.remove_prefix(std::min(end.find_first_not_of(" \t\r\n"), end.size()));
    const std::vector<Part> parts = Parts(end);
    if (parts.empty()) return ".* ";
    if (parts.front().control != nullptr) return ".* " + Sequence(parts);
    const std::string_view first = parts.front().text;
    const std::string_view mark = Trimmed(first), space = first.substr(mark.size());
    return "%until " + QuotedLiteral(mark) + " " +
           (space.empty() ? "" : QuotedLiteral(space) + " ") +
           Sequence({parts.begin() + 1, parts.end()});
  }

  std::string Calls() const {
    const std::string one =
        Literal(syntax_.call_begin) + "call " + Literal(End()) + Literal(syntax_.call_end);
    std::string calls = Literal(syntax_.section_begin) + one;
    if (options_.many && !syntax_.one_call) calls += "(" + Literal(syntax_.between) + one + ")* ";
    return calls + Literal(syntax_.section_end);
  }
  // The whole answer.
  std::string Root() const {
    if (syntax_.form == CallForm::kChannels)
      return "(" + Literal("<|channel|>analysis<|message|>") + Until("<|end|>") +
             Literal("<|start|>assistant") + ")? " +
             Literal("<|channel|>commentary to=functions.") + "call";
    const ReasoningSyntax& reasoning = format_.reasoning;
    if (reasoning.end.empty()) return Calls();
    const std::string thought = Until(reasoning.end) + "[ \\n]{0,2} ";
    if (options_.thinking) return thought + Calls();
    return "(" + Literal(reasoning.begin) + thought + ")? " + Calls();
  }
  // Rules for `call` and what it needs. Names are alternatives within one rule, so that they become
  // one tree of bytes, however many there are; tools with the same arguments share theirs.
  std::string Rules() const {
    std::map<std::string, size_t> known;
    std::string names, rules;
    for (const Tool& tool : tools_) {
      const auto [at, is_new] = known.try_emplace(Arguments(tool), known.size());
      if (is_new) rules += fmt::format("arguments-{} ::= {}\n", at->second, at->first);
      names += fmt::format("{}{} behind-name arguments-{} ", names.empty() ? "" : "| ",
                           QuotedLiteral(NameOf(tool)), at->second);
    }
    return "call ::= " + Literal(syntax_.object_begin) + "( " + names + ")\n" +
           "behind-name ::= " + BehindName() + "\n" + rules;
  }

  // The text that begins calls, without what is left to the part's body.
  const std::string& Opener() const {
    return Trimmed(syntax_.section_begin).empty() ? syntax_.call_begin : syntax_.section_begin;
  }

 private:
  std::string End() const { return syntax_.after_arguments; }
  std::string BehindName() const {
    std::string behind = syntax_.indexed ? "\":\" [0-9]{1,3} " : "\"\" ";
    if (syntax_.form != CallForm::kChannels) behind += Literal(syntax_.after_name);
    if (!syntax_.after_id.empty()) behind += "[a-zA-Z0-9]{9} " + Literal(syntax_.after_id);
    if (syntax_.form != CallForm::kChannels) return behind;
    return behind + "( " + Literal(" <|constrain|>json<|message|>") + "| " +
           Literal("<|channel|>commentary <|constrain|>json<|message|>") + "| " +
           Literal("<|message|>") + "| " + Literal(syntax_.after_name) + ") ";
  }
  // Within an object the name is the text of a JSON string.
  std::string NameOf(const Tool& tool) const {
    if (syntax_.object_begin.empty()) return tool.name;
    const std::string quoted = Dump(Json(tool.name));
    return quoted.substr(1, quoted.size() - 2);
  }
  std::string Arguments(const Tool& tool) const {
    Json schema = Json::parse(tool.parameters, nullptr, false);
    if (!schema.is_object()) schema = Json::object();
    if (syntax_.form == CallForm::kParameters) return Parameters(schema);
    if (!schema.contains("type")) schema["type"] = "object";
    return "%json " + Dump(schema);
  }
  std::string Parameters(const Json& schema) const {
    const auto properties = schema.find("properties");
    if (properties == schema.end() || !properties->is_object()) return AnyParameters();
    std::string all = "\"\" ";
    const auto listed = schema.find("required");
    for (const auto& [key, property] : properties->items()) {
      const bool required = listed != schema.end() && listed->is_array() &&
                            std::ranges::find(*listed, Json(key)) != listed->end();
      all += "( " + Parameter(key, property, schema) + (required ? ") " : ")? ");
    }
    return all;
  }
  // Of a schema that names none.
  std::string AnyParameters() const {
    return "( " + Literal(syntax_.parameter_begin) + "[a-zA-Z0-9_.-]{1,64} " +
           Literal(syntax_.string_begin) + Until(syntax_.parameter_end) + ")* ";
  }
  std::string Parameter(const std::string& key, Json property, const Json& schema) const {
    const std::string begin = Literal(syntax_.parameter_begin) + QuotedLiteral(key) + " ";
    if (MayBeText(property)) return begin + Literal(syntax_.string_begin) + Strings(property);
    for (const char* shared : {"$defs", "definitions"}) {
      if (schema.contains(shared) && !property.contains(shared)) property[shared] = schema[shared];
    }
    return begin + Literal(syntax_.value_begin) + "%json " + Dump(property) + " " +
           Literal(syntax_.parameter_end);
  }
  // Whether a value may be a string, which is written as it is: any text is one, also where other
  // types are allowed beside it.
  static bool MayBeText(const Json& property) {
    if (!property.is_object()) return true;
    const auto member = [&](const char* name) {
      const auto at = property.find(name);
      return at == property.end() ? nullptr : &*at;
    };
    if (const Json* type = member("type"))
      return type->is_array() ? std::ranges::find(*type, Json("string")) != type->end()
                              : *type == "string";
    if (const Json* values = member("enum"); values != nullptr && values->is_array())
      return std::ranges::any_of(*values, [](const Json& one) { return one.is_string(); });
    if (const Json* value = member("const")) return value->is_string();
    for (const char* name : {"anyOf", "oneOf"}) {
      if (const Json* ways = member(name); ways != nullptr && ways->is_array())
        return std::ranges::any_of(*ways, &MayBeText);
    }
    return true;
  }
  std::string Strings(const Json& property) const {
    if (!property.is_object() || !property.contains("enum") || !property["enum"].is_array())
      return Until(syntax_.parameter_end);
    std::string ways;
    for (const Json& one : property["enum"]) {
      if (!one.is_string()) return Until(syntax_.parameter_end);
      ways += (ways.empty() ? "" : "| ") + QuotedLiteral(one.get<std::string>()) + " ";
    }
    return "( " + ways + ") " + Literal(syntax_.parameter_end);
  }

  const AnswerFormat& format_;
  const CallSyntax& syntax_;
  const std::vector<Tool>& tools_;
  const CallGrammarOptions& options_;
};

wire::GrammarPart TriggeredPart(const AnswerFormat& format, const Writer& writer) {
  wire::GrammarPart part = {.kind = wire::GrammarKind::kGbnf};
  if (format.calls.form == CallForm::kChannels) {
    part.begin = " to=functions.";
    part.text = "root ::= call\n" + writer.Rules();
    return part;
  }
  // The calls without what has begun them.
  const std::string& opener = writer.Opener();
  auto parts = writer.Parts(opener);
  const std::string calls = writer.Calls();
  const std::string whole = Writer::Sequence(parts);
  if (parts.size() > 1 && Trimmed(parts.front().text).empty()) parts.erase(parts.begin());
  std::string rest = Writer::Sequence({parts.begin() + 1, parts.end()});
  if (parts.front().control != nullptr) {
    part.begin_token = parts.front().control->id;
  } else {
    std::string_view begin = parts.front().text;
    while (!begin.empty() && IsSpace(begin.front())) begin.remove_prefix(1);
    std::string_view trimmed = Trimmed(begin);
    part.begin = trimmed;
    const std::string_view space = begin.substr(trimmed.size());
    if (!space.empty()) rest = QuotedLiteral(space) + " " + rest;
  }
  part.text = "root ::= " + rest + calls.substr(whole.size()) + "\n" + writer.Rules();
  return part;
}

}  // namespace

std::optional<wire::Grammar> CallGrammar(const AnswerFormat& format, const std::vector<Tool>& tools,
                                         const CallGrammarOptions& options) {
  const Writer writer(format, tools, options);
  if (format.calls.form == CallForm::kValues || tools.empty()) return std::nullopt;
  if (options.required) {
    return wire::Grammar{.parts = {{.kind = wire::GrammarKind::kGbnf,
                                    .text = "root ::= " + writer.Root() + "\n" + writer.Rules()}}};
  }
  const bool channels = format.calls.form == CallForm::kChannels;
  if (!channels && (format.calls.bare() || writer.Parts(writer.Opener()).empty()))
    return std::nullopt;
  wire::Grammar grammar = {.parts = {TriggeredPart(format, writer)}, .triggered = true};
  grammar.repeated = options.many && !channels;
  return grammar;
}

}  // namespace exo::chat
