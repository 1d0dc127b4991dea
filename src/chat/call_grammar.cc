#include "chat/call_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "chat/literal.h"
#include "chat/schema_view.h"
#include "chat/values_grammar.h"

namespace exo::chat {
namespace {

using Json = OrderedJson;

// Whether a value may be a string, which is written as it is: any text is one, also where other
// types are allowed beside it.
bool MayBeText(const Json& property) {
  if (!property.is_object()) return true;
  if (const Json* type = MemberOf(property, "type"))
    return type->is_array() ? std::ranges::find(*type, Json("string")) != type->end()
                            : *type == "string";
  if (const Json* values = MemberOf(property, "enum"); values != nullptr && values->is_array())
    return std::ranges::any_of(*values, [](const Json& one) { return one.is_string(); });
  if (const Json* value = MemberOf(property, "const")) return value->is_string();
  for (const char* name : {"anyOf", "oneOf"}) {
    if (const Json* ways = MemberOf(property, name); ways != nullptr && ways->is_array())
      return std::ranges::any_of(*ways, &MayBeText);
  }
  return true;
}

// Of a value whose text is written as it is, only a list of texts is held.
std::string NotHeldOfText(const Json& property) {
  if (!property.is_object() || !MayBeText(property)) return "";
  const Json* values = MemberOf(property, "enum");
  if (values != nullptr &&
      !std::ranges::all_of(*values, [](const Json& one) { return one.is_string(); }))
    return "enum";
  return OtherThan(property, {"type", "enum"});
}

class Writer {
 public:
  Writer(const AnswerFormat& format, const std::vector<Tool>& tools,
         const CallGrammarOptions& options)
      : format_(format),
        syntax_(format.calls),
        tools_(tools),
        options_(options),
        texts_(options.controls) {}

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
  // The whole answer, where a call begins like no text; empty: nothing tells them apart.
  std::string CallsOrText() const {
    const std::string begin = syntax_.section_begin + syntax_.call_begin + syntax_.object_begin;
    const std::string_view mark = Trimmed(begin);
    if (mark.empty()) return "";
    const std::string other = Literal(format_.other_begin);
    const std::string no_call =
        fmt::format("[^ \\n\\r\\t{}{}] .* ", mark.front() == '[' ? "\\" : "", mark.front());
    const ReasoningSyntax& reasoning = format_.reasoning;
    std::string thought;
    if (!reasoning.end.empty()) {
      thought = Until(reasoning.end);
      if (!options_.thinking) thought = "( " + Literal(reasoning.begin) + thought + ")? ";
    }
    return thought + "[ \\n]{0,2} ( " + (other.empty() ? "" : "( " + other + ")? ") + Calls() +
           "| " + no_call + ")? ";
  }
  // Rules for `call` and what it needs. Names are alternatives within one rule, so that they become
  // one tree of bytes, however many there are; tools with the same arguments share theirs.
  std::string Rules() const {
    std::map<std::string, size_t> known;
    std::string names, rules;
    for (const Tool& tool : tools_) {
      const auto [at, is_new] = known.try_emplace(tool.parameters, known.size());
      if (is_new) rules += Arguments(tool, fmt::format("arguments-{}", at->second));
      names += fmt::format("{}{} behind-name arguments-{} ", names.empty() ? "" : "| ",
                           QuotedLiteral(NameOf(tool)), at->second);
    }
    return "call ::= " + Literal(syntax_.object_begin) + "( " + names + ")\n" +
           "behind-name ::= " + BehindName() + "\n" + rules;
  }

  const GbnfTexts& texts() const { return texts_; }
  // The text that begins calls, without what is left to the part's body.
  const std::string& Opener() const {
    return Trimmed(syntax_.section_begin).empty() ? syntax_.call_begin : syntax_.section_begin;
  }

 private:
  std::string Literal(std::string_view text) const { return texts_.Literal(text); }
  std::string Until(std::string_view end) const { return texts_.Until(end); }
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
  // The rule `name` and those that it needs.
  std::string Arguments(const Tool& tool, const std::string& name) const {
    Json schema = Json::parse(tool.parameters, nullptr, false);
    if (!schema.is_object()) schema = Json::object();
    if (syntax_.form == CallForm::kValues) return ValueRules(syntax_, texts_, schema, name);
    std::string body;
    if (syntax_.form == CallForm::kParameters) {
      body = Parameters(schema);
    } else {
      if (!schema.contains("type")) schema["type"] = "object";
      body = "%json " + Dump(schema);
    }
    return name + " ::= " + body + "\n";
  }
  std::string Parameters(const Json& schema) const {
    const auto properties = schema.find("properties");
    if (properties == schema.end() || !properties->is_object()) return AnyParameters();
    std::string all = "\"\" ";
    for (const auto& [key, property] : properties->items())
      all += "( " + Parameter(key, property, schema) + (IsRequired(schema, key) ? ") " : ")? ");
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
  const GbnfTexts texts_;
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
  auto parts = writer.texts().Parts(opener);
  const std::string calls = writer.Calls();
  const std::string whole = GbnfTexts::Sequence(parts);
  if (parts.size() > 1 && Trimmed(parts.front().text).empty()) parts.erase(parts.begin());
  std::string rest = GbnfTexts::Sequence({parts.begin() + 1, parts.end()});
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

std::string KeywordNotHeld(const AnswerFormat& format, const Tool& tool) {
  const CallForm form = format.calls.form;
  const Json schema = Json::parse(tool.parameters, nullptr, false);
  if (!schema.is_object()) return "";
  if (form == CallForm::kValues) return NotHeldOfValues(format.calls, schema);
  return form == CallForm::kParameters ? KeywordNotHeldOfObject(schema, &NotHeldOfText) : "";
}

std::optional<wire::Grammar> CallGrammar(const AnswerFormat& format, const std::vector<Tool>& tools,
                                         const CallGrammarOptions& options) {
  const Writer writer(format, tools, options);
  if (tools.empty()) return std::nullopt;
  if (options.required) {
    return wire::Grammar{.parts = {{.kind = wire::GrammarKind::kGbnf,
                                    .text = "root ::= " + writer.Root() + "\n" + writer.Rules()}}};
  }
  const bool channels = format.calls.form == CallForm::kChannels;
  if (!channels && (format.calls.bare() || writer.texts().Parts(writer.Opener()).empty())) {
    const std::string root = options.strict ? writer.CallsOrText() : "";
    if (root.empty()) return std::nullopt;
    return wire::Grammar{.parts = {{.kind = wire::GrammarKind::kGbnf,
                                    .text = "root ::= " + root + "\n" + writer.Rules()}}};
  }
  wire::Grammar grammar = {.parts = {TriggeredPart(format, writer)}, .triggered = true};
  grammar.repeated = options.many && !channels;
  return grammar;
}

}  // namespace exo::chat
